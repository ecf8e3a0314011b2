"""The door for files: what it lets in, what it refuses in one line, and that there is
no other.
"""

import ast
import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from spikepropamine.reading import (
    LARGEST_YAML,
    Missing,
    Unreadable,
    read_bytes,
    read_json,
    read_tensors,
    read_text,
    read_yaml,
)

ROOT = Path(__file__).parent.parent
ALIASES = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdef", "bcdefg")
)
MERGES = "a: &a {x: 1}\n" + "b:\n  <<: [*a, *a]\n"
YAML = {
    "aliases": (ALIASES, "aliases too often"),
    "a cycle": ("a: &a [*a]", "nested deeper"),
    "depth": ("a: " + "[" * 2000, "no YAML"),
    "a key twice": ("a: 1\nb: {x: 1, x: 2}", "'x' stands there twice"),
    "merges": (MERGES, "<< takes one mapping"),
    "a key that is no text": ("{1: 2}", "a key is a text"),
    "a key that is a list": ("? [1]\n: 2", "no YAML"),
    "a date": ("a: 2020-01-01", "neither a text nor a number"),
    "half a character": ('a: "\\ud800"', "no YAML|no text"),
    "a long number": ("a: " + "9" * 400, "too large"),
    "code": ("a: !!python/object/apply:os.system [ls]", "no YAML"),
    "size": ("#" * LARGEST_YAML + "\n", "may have"),
    "bytes": (b"\xff\xfe", "no text in UTF-8"),
}
JSON = {
    "more depth than anyone needs": ("[" * 60 + "]" * 60, "nested deeper"),
    "depth": ("[" * 5000 + "]" * 5000, "no JSON"),
    "a key twice": ('{"a": 1, "b": {"x": 1, "x": 2}}', "'x' stands there twice"),
    "half a character": ('["\\ud800"]', "no text"),
    "a long number": ("[" + "9" * 400 + "]", "too large"),
    "an end": ('{"a": ', "no JSON"),
}


def refused(read, path, message, **more):
    with pytest.raises(Unreadable, match=message) as caught:
        read(path, **more)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said and len(said) < 500


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [(read_yaml, *case) for case in YAML.values()]
    + [(read_json, *case) for case in JSON.values()],
    ids=[f"YAML {name}" for name in YAML] + [f"JSON {name}" for name in JSON],
)
def test_what_no_plain_file_has_is_refused_in_one_line(
    tmp_path, read, content, message
):
    file = tmp_path / "file"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(read, file, message)


def test_plain_files_come_in(tmp_path):
    file = tmp_path / "file"
    file.write_text("a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  x: 2\n  y: é\n")
    assert read_yaml(file) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 2, "y": "é"}}
    file.write_text('{"a": [1, 2.5, null, true]}')
    assert read_json(file) == {"a": [1, 2.5, None, True]}
    save_file({"a": np.ones(2, np.float32)}, file, {"of": "me"})
    digest = sha256(file.read_bytes()).hexdigest()
    tensors, about = read_tensors(file, 10_000, digest=digest[:16])
    assert tensors["a"].tolist() == [1, 1] and about == {"of": "me"}


@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, read_yaml])
def test_only_regular_files_are_opened(tmp_path, read):
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for ever
    for name in ("fifo", "."):
        refused(read, tmp_path / name, "no regular file")
    with pytest.raises(Missing):
        read(tmp_path / "missing")
    with pytest.raises(Unreadable):
        read("a\0b")


def test_size_digest_and_links(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside").write_text("secret")
    (run / "link").symlink_to(tmp_path / "outside")
    (run / "file").write_text("text")
    (run / "own").symlink_to("file")
    (tmp_path / "other").symlink_to(run)
    refused(read_text, run / "link", "leads out", inside=run)
    assert read_text(run / "link") == "secret"  # which the person has named
    assert read_text(run / "own", inside=run) == "text"
    assert read_text(tmp_path / "other" / "file", inside=tmp_path / "other") == "text"
    refused(read_text, run / "file", "may have 3", most=3)
    refused(read_bytes, run / "file", "not what was written", digest="0" * 16)
    with (run / "large").open("wb") as file:
        file.truncate(2**40)  # which takes no place
    refused(read_json, run / "large", "may have")


READERS = {
    "read_text", "read_bytes", "load", "loads", "safe_load", "full_load", "unsafe_load",
    "load_all",
    "loadtxt", "genfromtxt", "fromfile", "memmap", "safe_open", "load_file", "read_csv",
    "scan_csv",
    "read_parquet", "ZipFile", "read_table",
}  # fmt: skip
WRITERS = {
    "write_text", "write_bytes", "write_csv", "write_parquet", "touch", "symlink_to",
    "savez",
    "savez_compressed", "savefig", "save_file", "tofile", "copy", "copy2", "copyfile",
    "copytree",
    "move", "truncate", "mkstemp", "NamedTemporaryFile", "save", "dump", "rename",
    "replace",
    "write",
}  # fmt: skip
# those whose names are also of something else, by what they are of
MODULES = {"copy": {"shutil"}, "move": {"shutil"}, "save": {"np", "torch", "image"},
           "dump": {"json", "yaml", "pickle"}, "write": {"nir"},
           "rename": {"os"}, "replace": {"os"}}  # fmt: skip
# what is in memory, or comes from the process that began this one
IN_MEMORY = re.compile(r"read_bytes\(|BytesIO\(|StringIO\(|dumps\(|^(packed|parts)$")
OTHERS = {"webbrowser"}  # whose `open` is of something else
WRITING = {
    "whole_file",
    "whole_folder",
    "TemporaryDirectory",
}  # in a new folder there are no links
DOORS = {"spikepropamine/reading.py", "spikepropamine/common.py", "export/example.py"}
FOLDERS = sorted(
    {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"benchmarks", "docs"}
)


def calls():
    """Where something is called, what, on what, with what, and the names of what the
    file has of the doors for writing.
    """
    for file in (
        file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))
    ):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        given = set(WRITING)
        for node in nodes:
            if (
                isinstance(node, ast.withitem)
                and node.optional_vars
                and names(node) & given
            ):
                given.add(ast.unparse(node.optional_vars))
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(
                node.func, ast.Name | ast.Attribute
            ):
                of, _, name = ast.unparse(node.func).rpartition(".")
                with_ = [
                    ast.unparse(x)
                    for x in [*node.args, *(x.value for x in node.keywords)]
                ]
                where = f"{file.relative_to(ROOT)}:{node.lineno}"
                yield where, of, name, with_, given & names(node)


def names(node):
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}


def mode_of(arguments):
    """The letters of a call of `open` that say what is done, of a method of paths or a
    function.
    """
    return "".join(x for x in arguments if re.fullmatch("'[rwaxbt+]+'|.*os.O_.*", x))


def reads(of, name, arguments, given):
    """Whether a call reads a file by itself."""
    if any(IN_MEMORY.search(x) for x in arguments):
        return False
    if name == "open":
        return of not in OTHERS and not (
            given and re.search("[wax]", mode_of(arguments))
        )
    # what extends SB3's `load` reads SB3's files, by SB3
    return bool(of) and of != "super()" and name in READERS


def writes(of, name, arguments, given):
    """Whether a call writes a file by itself."""
    if name == "open":
        return bool(re.search("[wax+]|WR|CREAT", mode_of(arguments))) and not given
    known = name in WRITERS and of.partition(".")[0] in MODULES.get(
        name, {of.partition(".")[0]}
    )
    return bool(of) and known and not given


@pytest.mark.parametrize(("by_itself", "doors"), [(reads, DOORS), (writes, DOORS)])
def test_nothing_reads_or_writes_but_through_the_door(by_itself, doors):
    found = [one for one in calls() if by_itself(*one[1:])]
    inside = [one for one in found if one[0].partition(":")[0] in doors]
    assert len(inside) > 3  # such code is found
    assert not [one for one in found if one not in inside]
