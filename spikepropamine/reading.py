"""The one door for files: whatever this project reads, of others or its own, it reads
here.

A file is regular, and in a stranger's folder no link out of it; it is no larger than
its kind needs before a byte is parsed; digests come first; what is in it is plain, and
nested no deeper than a person would. Anything else is one line that names the file.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spikepropamine.common import UsageError, one_line, reason, shown

# bytes of a file
LARGEST_YAML = 2**18
LARGEST_JSON = 2**26
LARGEST_TEXT = 2**28
LARGEST = 2**32
DEEPEST = 50
MOST_VALUES = 200_000
"""Of a YAML file, in which an alias counts as all that it stands for."""
LARGEST_NUMBER = 2**256
NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that neither a file's name nor UTF-8 can have."""


class Unreadable(UsageError, ValueError):
    """A file is not what it should be; the message is one line, and names it."""


class Missing(Unreadable, FileNotFoundError):
    """There is no such file."""


def read_bytes(
    path: Path | str,
    most: int = LARGEST,
    inside: Path | None = None,
    digest: str | None = None,
) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have.
        inside: a folder that may be a stranger's, which no link may lead out of; None:
            the person at the command line, or this project, has named the file.
        digest: what its SHA-256 begins with; None: that is not known.

    Raises:
        Missing: there is none.
        Unreadable: it is none of that.
    """
    try:
        if inside is not None:
            place = os.path.realpath(path)
            root = os.path.realpath(inside)
            if not Path(place).is_relative_to(root):
                raise Unreadable(f"{path} is a link that leads out of {inside}")
        # first, since opening a device or a FIFO may do something
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable(f"{path} is no regular file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", os.O_RDONLY))
        with open(descriptor, "rb") as file:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or opened.st_size > most:
                raise Unreadable(
                    f"{path} has {opened.st_size:,} bytes, and may have {most:,}"
                )
            content = file.read(opened.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(f"there is no file {path}") from error
    except OSError as error:
        why = error.strerror or reason(error)
        raise Unreadable(f"{path} cannot be read: {why}") from error
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{shown(str(path))} is no name of a file") from error
    if digest is not None:
        whole = hashlib.sha256(content).hexdigest()
        if not whole.startswith(digest):
            raise Unreadable(f"{path} is damaged: it is not what was written")
    return content


def read_text(
    path: Path | str,
    most: int = LARGEST_TEXT,
    inside: Path | None = None,
    errors: str = "strict",
) -> str:
    """The text of a file in UTF-8. Arguments and errors as of `read_bytes`."""
    try:
        return read_bytes(path, most, inside).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is no text in UTF-8: {reason(error)}") from error


def read_json(
    path: Path | str, most: int = LARGEST_JSON, inside: Path | None = None
) -> Any:
    """The plain values in a JSON file. Arguments and errors as of `read_bytes`."""
    return parse_json(read_text(path, most, inside), str(path))


def parse_json(text: str | bytes, name: str) -> Any:
    """The plain values in a text.

    Args:
        text: JSON.
        name: that a message begins with.

    Raises:
        Unreadable: it is no JSON, or has a key twice.
    """
    try:
        return _plain(json.loads(text, object_pairs_hook=_once), math.inf)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is no JSON: {one_line(reason(error))}") from error


def read_yaml(path: Path | str, inside: Path | None = None) -> Any:
    """The plain values in a YAML file; keys are texts. Arguments and errors as of
    `read_bytes`.
    """
    try:
        content = yaml.load(read_text(path, LARGEST_YAML, inside), _Loader)
        return _plain(content, MOST_VALUES)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{path} is no YAML: {one_line(error)}") from error


def read_tensors(
    path: Path | str, most: int, inside: Path | None = None, digest: str | None = None
) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """The tensors in a safetensors file, and its metadata. Arguments and errors as of
    `read_bytes`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_bytes(path, most, inside, digest)
    try:
        length = int.from_bytes(content[:8], "little")
        header = parse_json(content[8 : 8 + length], "its header")
        return load(content), header.get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{path} holds no tensors: {reason(error)}") from error


class _Loader(yaml.SafeLoader):
    """Refuses keys that are there twice, and merges (<<) of many mappings, which can
    explode.
    """

    merged = 0

    def flatten_mapping(self, node: Any) -> None:
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge" and not isinstance(
                value, yaml.MappingNode
            ):
                raise ValueError("<< takes one mapping")
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MOST_VALUES:
            raise ValueError("its mappings are merged too often")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        merge = "tag:yaml.org,2002:merge"
        _refuse_twice([str(key.value) for key, _ in node.value if key.tag != merge])
        return super().construct_mapping(node, deep)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice([key for key, _ in pairs])
    return dict(pairs)


def _refuse_twice(keys: list[str]) -> None:
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} stands there twice")


def _plain(content: object, most: float) -> Any:
    """The content itself. Raises ValueError unless it is of mappings with texts as
    keys, lists, texts, numbers, truth values and nothing, no deeper and no more of them
    than there may be.
    """
    left = [(content, 0)]
    count = 0
    while left:
        value, depth = left.pop()
        count += 1
        if depth > DEEPEST or count > most:
            raise ValueError(
                f"it is nested deeper than {DEEPEST} levels, or its aliases too often"
            )
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"a key is a text, not {shown(key)}: quote it")
                left.append((key, depth))
            left += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            left += [(part, depth + 1) for part in value]
        elif isinstance(value, str):
            if NO_TEXT.search(value):
                raise ValueError(f"{shown(value)} has a character that no text has")
        elif isinstance(value, int):
            if abs(value) > LARGEST_NUMBER:
                raise ValueError("a number in it is too large")
        elif value is not None and not isinstance(value, float):
            raise ValueError(f"{shown(value)} is neither a text nor a number: quote it")
    return content
