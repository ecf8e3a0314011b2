"""The code that makes the numbers of an evaluation, as one digest.

It is taken anew for each evaluation, since a notebook or a script may change an
environment while it runs: its file (and load it again), or a value of its module.
"""

import hashlib
import os
import site
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import gymnasium as gym
import numpy as np

from spikepropamine.envs.making import make
from spikepropamine.versions import digest_of

ROOT = Path(__file__).parents[2]
FOLDERS = ("envs", "policies", "evaluation")
"""Of this project, those whose code makes numbers."""
NOT_OF_USERS = ("spikepropamine", "gymnasium")
PLAIN = (bool, int, float, complex, str, bytes, type(None))
DEEPEST = 8  # levels of values in values that are looked at


def module_of(environment: str) -> str:
    """The name of the module that has an environment."""
    entry = gym.spec(environment).entry_point
    if isinstance(entry, str):
        return entry.partition(":")[0]
    return str(getattr(entry, "__module__", ""))


def is_in_notebook(environment: str) -> bool:
    """Whether it was made in a notebook or a console, whose code is in no file."""
    main = sys.modules["__main__"]
    return module_of(environment) == "__main__" and not hasattr(main, "__file__")


def digest_of_code(environment: str) -> str:
    """A digest of this project's code and of the user's: what is not installed, and the
    package of the environment, as files have it and as this process does.
    """
    files = {str(ROOT / "envs" / "spreads.json")}
    for name in FOLDERS:
        files |= {str(file) for file in (ROOT / name).rglob("*.py")}
    modules = dict(users_modules(environment))
    files |= {str(module.__file__) for module in modules.values()}
    total = hashlib.sha256(digest_of(sorted(files)).encode())
    for name in sorted(modules):
        total.update(digest_of_module(modules[name]).encode())
    return total.hexdigest()


def users_modules(environment: str) -> Iterator[tuple[str, ModuleType]]:
    """The user's own modules as far as they are loaded, by name; each has a file."""
    package = module_of(environment).partition(".")[0]
    installed = [sys.base_prefix, sys.prefix, *site.getsitepackages()]
    for name, module in list(sys.modules.items()):
        root = name.partition(".")[0]
        file = str(getattr(module, "__file__", None))
        if root in NOT_OF_USERS or not (os.path.isabs(file) and os.path.isfile(file)):
            continue
        # a script is a module, too, but counts as the user's if it has the environment
        if root == package or (
            root != "__main__" and not any(map(Path(file).is_relative_to, installed))
        ):
            yield name, module


def digests_after_making(
    environment: str, arguments: Mapping[str, object]
) -> dict[str, str]:
    """The digests of the user's modules, for comparison with those of another process.

    Args:
        environment: Gymnasium id; making it imports what it needs.
        arguments: of the environment's constructor.

    Returns:
        By the name of a module of the user's in this process, once it has made the
        environment.
    """
    make(environment, arguments).close()
    return digests_of_modules(environment)


def digests_of_modules(environment: str) -> dict[str, str]:
    """The digest of each of the user's modules, by name."""
    modules = users_modules(environment)
    return {name: digest_of_module(module) for name, module in modules}


def digest_of_module(module: ModuleType) -> str:
    """A digest of the functions, classes and plain values of a module as they
    are now.
    """
    total = hashlib.sha256()
    for part in _parts(vars(module), module.__name__, DEEPEST):
        total.update(part.encode(errors="replace") + b"\0")
    return total.hexdigest()


def _parts(value: object, module: str, levels: int) -> Iterator[str]:
    """Texts that tell a value apart from others; those of other modules, and of values
    that are nested deeper than so many levels, are left out.
    """
    if levels == 0:
        return
    if isinstance(value, PLAIN):
        yield repr(value)
    elif isinstance(value, np.ndarray | np.generic):
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        yield f"{value.dtype} {np.shape(value)} {digest}"
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item, module, levels - 1)
    elif isinstance(value, set | frozenset):
        yield str(sorted(map(repr, value)))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not str(name).startswith("__"):
                yield repr(name)
                yield from _parts(item, module, levels - 1)
    elif isinstance(value, CodeType):
        yield value.co_code.hex()
        yield str(value.co_names)
        for item in value.co_consts:
            yield from _parts(item, module, levels - 1)
    elif isinstance(value, FunctionType):
        if value.__module__ == module:
            yield from _parts(value.__code__, module, levels - 1)
            yield from _parts(value.__defaults__, module, levels - 1)
            yield from _parts(value.__kwdefaults__, module, levels - 1)
    elif isinstance(value, property):
        for function in (value.fget, value.fset):
            yield from _parts(function, module, levels - 1)
    elif isinstance(value, staticmethod | classmethod):
        yield from _parts(value.__func__, module, levels - 1)
    elif isinstance(value, type):
        if value.__module__ == module:
            yield from _parts(dict(vars(value)), module, levels - 1)
    elif type(value).__module__ == module and hasattr(value, "__dict__"):
        yield from _parts(vars(value), module, levels - 1)
