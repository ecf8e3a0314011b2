"""Live objects as data: their state taken as plain values and arrays, and given back bit for bit.

`Snapshot.of` walks through environments, wrappers, simulators and generators of random numbers by
their attributes; `Snapshot.give_back` walks through the same objects, made anew by the same code,
and sets what it finds. So nothing is ever built out of what a file says but numbers, texts, arrays
and containers of these, and reading a file runs no code of whoever made it.

An object may say that attributes of it are no state, but follow from others, in a class attribute
`not_state`, and find them again in a method `state_given_back`.

Every value that is not a plain number or text is a node of a table, and where it occurs stands its
index, so that what was one object stays one.
"""

import contextlib
import enum
import functools
import hashlib
import io
import itertools
import logging
import os
import random
import re
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import VecEnvWrapper

CONSTANTS = (
    type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType,
    types.MappingProxyType, functools.partial, property, np.dtype, np.ufunc, re.Pattern,
    os.PathLike, EnvSpec, torch.device, torch.dtype, slice, range, io.IOBase,
    logging.Logger, weakref.ReferenceType, type(...),
)  # fmt: skip
"""What an object is made with and does not change, or what only takes output: left as it is. Of
what could have been another one (`_name_of`) it is checked that it is the same."""

CONTAINERS: dict[str, type] = {
    cls.__name__: cls
    for cls in (list, tuple, set, frozenset, deque, dict, OrderedDict, defaultdict)
}
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
KEPT = {"kept": True}
_MISSING = object()


class CannotRestore(Exception):
    """The live objects are not those that the snapshot is of; the message says where."""


@dataclass
class Snapshot:
    """The state of some objects, as it is written to a file.

    Attributes:
        parts: name to a value: a number, a text, None, or the index of a node.
        nodes: JSON values, each with its "kind".
        arrays: what nodes name as their "array".
        missing: where something was found whose state cannot be taken, and what it is.
    """

    parts: dict[str, Any] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> "Snapshot":
        """Takes the state of the named parts; what two of them share stays shared."""
        snapshot = cls()
        taking = _Taking(snapshot)
        for name, part in parts.items():
            snapshot.parts[name] = taking.value(part, name)
        taking.check_overlaps()
        taking.check_functions()
        return snapshot

    def give_back(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Sets the state of live objects, of some of the parts or of all.

        Args:
            parts: name to what is there now, which is changed where it is an object, and only
                serves as a pattern where it is a value.

        Returns:
            Each part as it was: the same object, or the value.

        Raises:
            CannotRestore: the objects differ in their making.
        """
        giving = _Giving(self)
        try:
            given = {
                name: giving.value(self.parts[name], part, name) for name, part in parts.items()
            }
            for thing in giving.done.values():
                if hasattr(type(thing), "state_given_back"):
                    thing.state_given_back()
            return given
        except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise CannotRestore(f"the snapshot is not well formed: {error}") from error


def _fields(thing: Any) -> Iterator[tuple[str, Any]]:
    """Attributes that an object itself holds."""
    if isinstance(thing, spaces.Space):  # bounds and shapes are constants
        for name in ("_np_random", "spaces"):
            if name in vars(thing):
                yield name, vars(thing)[name]
        return
    omitted = getattr(type(thing), "not_state", ())
    if isinstance(thing, VecEnvWrapper):
        omitted = (*omitted, "class_attributes")
    for name, value in getattr(thing, "__dict__", {}).items():
        if name not in omitted:
            yield name, value
    for name in _slots(type(thing)):
        if hasattr(thing, name):
            yield name, getattr(thing, name)


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _is_path(text: str) -> bool:
    """Whether a text says where something lies on this machine, which is no state."""
    return os.path.isabs(text) or (("/" in text or "\\" in text) and os.path.exists(text))


def _is_text_array(thing: Any) -> bool:
    """Whether it is an array of texts, as tables of names and maps are, which do not change."""
    return isinstance(thing, np.ndarray | np.generic) and thing.dtype.kind in "SU"


def _name_of(constant: Any) -> str | None:
    """Tells a constant from others that could be in its place; None where none could."""
    if isinstance(constant, str):
        return hashlib.sha256(constant.encode(errors="surrogatepass")).hexdigest()
    if _is_text_array(constant):
        array = np.asarray(constant)
        return _name_of(f"{array.dtype} {array.shape} {array.tobytes()!r}")
    if isinstance(constant, functools.partial):
        return _name_of(constant.func)
    if isinstance(constant, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return constant.__qualname__
    if isinstance(constant, range | slice | re.Pattern):
        return repr(constant)
    return None


def _behind(function: Any) -> Iterator[Any]:
    """What a function has bound: its object, its arguments, and the variables around it."""
    if isinstance(function, functools.partial):
        yield from (*function.args, *function.keywords.values(), *_behind(function.func))
    yield getattr(function, "__self__", None)
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an empty one
            yield cell.cell_contents


def _class_of(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _is_plain_object(thing: Any) -> bool:
    """Whether all that an object is lies in its attributes: no part of it is made in C."""
    heap = 1 << 9  # set for classes that a `class` statement made
    if not all(base.__flags__ & heap for base in type(thing).__mro__[:-1]):
        return False
    return hasattr(thing, "__dict__") or bool(_slots(type(thing)))


def _simulator_part(thing: Any) -> str | None:
    """The name of a class of MuJoCo, if `thing` is of one."""
    cls = type(thing)
    return cls.__name__ if cls.__module__.split(".")[0] == "mujoco" else None


def _belongs_to_simulator(array: np.ndarray) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    # views of a simulator's memory stand on an object that is neither theirs nor NumPy's
    return base is not None and not isinstance(base, torch.Tensor | bytes | bytearray | memoryview)


def _generator_state(generator: Any) -> tuple[str, Any]:
    """The name of the kind of random numbers, and where in their sequence a generator is."""
    if isinstance(generator, np.random.Generator):
        return type(generator.bit_generator).__name__, generator.bit_generator.state
    if isinstance(generator, np.random.RandomState):
        return "RandomState", generator.get_state(legacy=False)
    if isinstance(generator, random.Random):
        return "Random", generator.getstate()
    return "torch", generator.get_state()


def _set_generator(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:  # NumPy's older kind, and PyTorch's
        generator.set_state(state)


MAKERS: dict[str, Callable[[], Any]] = {
    name: functools.partial(lambda kind: np.random.Generator(kind()), getattr(np.random, name))
    for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
} | {"RandomState": np.random.RandomState, "Random": random.Random, "torch": torch.Generator}


class _Taking:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []  # an identity is only unique while its object lives
        self.contents: dict[Any, str] = {}
        self.taken: list[tuple[str, np.ndarray]] = []
        self.constants: list[tuple[str, Any]] = []

    def value(self, thing: Any, where: str) -> Any:
        if thing is None or type(thing) in (bool, int, float):
            return thing
        if type(thing) is str:
            if _is_path(thing):
                return KEPT
            # nothing that a file says may become a path
            return {"kept": _name_of(thing)} if "/" in thing or "\\" in thing else thing
        if isinstance(thing, enum.Enum):
            return {"member": thing.name, "of": _class_of(thing)}
        if isinstance(thing, CONSTANTS) or _is_text_array(thing):
            self.constants.append((where, thing))
            return {"kept": _name_of(thing) or True}
        if isinstance(thing, np.ndarray) and _belongs_to_simulator(thing):
            return KEPT
        if id(thing) not in self.seen:
            index = len(self.snapshot.nodes)
            self.seen[id(thing)] = index
            self.alive.append(thing)
            self.snapshot.nodes.append(None)
            self.snapshot.nodes[index] = self.node(thing, where)
        return {"at": self.seen[id(thing)]}

    def node(self, thing: Any, where: str) -> Any:
        if isinstance(thing, np.ndarray | np.generic):
            return self.array(thing, where)
        if isinstance(thing, torch.nn.Module):
            return {"kind": "module", "items": self.value(dict(thing.state_dict()), where)}
        if isinstance(thing, torch.Tensor):
            array = self.store(thing.detach().cpu().numpy())
            return {"kind": "tensor", "array": array}
        if isinstance(thing, GENERATORS):
            return self.generator(thing, where)
        if (name := _simulator_part(thing)) is not None:
            return self.simulator(name, thing, where)
        for kind, cls in CONTAINERS.items():
            if type(thing) is cls or (cls is tuple and hasattr(thing, "_fields")):
                return self.container(kind, thing, where)
        if _is_plain_object(thing):
            fields = {name: self.value(x, f"{where}.{name}") for name, x in _fields(thing)}
            return {"kind": "object", "class": _class_of(thing), "fields": fields}
        return self.cannot(thing, where)

    def cannot(self, thing: Any, where: str, why: str = "") -> Any:
        self.snapshot.missing.append(f"{where} ({why or _class_of(thing)})")
        return {"kind": "missing"}

    def array(self, thing: Any, where: str) -> Any:
        if thing.dtype.kind not in "biuf" or thing.dtype.itemsize > 8:
            return self.cannot(thing, where, f"an array of {thing.dtype}")
        if isinstance(thing, np.generic):
            return {"kind": "scalar", "array": self.store(np.asarray(thing))}
        self.taken.append((where, thing))
        return {"kind": "array", "array": self.store(thing)}

    def store(self, array: np.ndarray) -> str:
        """Keeps a copy, one of all that are equal; environments have much in common."""
        array = np.array(array, order="C", copy=True)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.contents:
            self.contents[key] = f"{len(self.contents)}"
            self.snapshot.arrays[self.contents[key]] = array
        return self.contents[key]

    def container(self, kind: str, thing: Any, where: str) -> Any:
        node: dict[str, Any] = {"kind": kind}
        if hasattr(thing, "_fields"):
            node["named"] = _class_of(thing)
        if isinstance(thing, Mapping):
            pairs = ((key, x, f"{where}[{key!r}]") for key, x in thing.items())
            node["items"] = [
                [key if type(key) is str else self.value(key, at), self.value(x, at)]
                for key, x, at in pairs
            ]
        else:
            node["items"] = [self.value(x, f"{where}[{i}]") for i, x in enumerate(thing)]
        if isinstance(thing, deque):
            node["maxlen"] = thing.maxlen
        return node

    def generator(self, thing: Any, where: str) -> Any:
        name, state = _generator_state(thing)
        if name not in MAKERS:
            return self.cannot(thing, where, name)
        if isinstance(thing, np.random.Generator):
            seeds = thing.bit_generator.seed_seq
            if getattr(seeds, "n_children_spawned", 0):
                return self.cannot(thing, where, "a generator that has spawned others")
        return {"kind": "generator", "name": name, "state": self.value(state, where)}

    def simulator(self, name: str, thing: Any, where: str) -> Any:
        from spikepropamine.training import simulator

        if name == "MjData":
            state = simulator.data_state(thing)
        elif name == "MjModel":
            state = simulator.model_state(thing)
        else:  # what draws
            return {"kind": "kept"}
        return {"kind": name, "arrays": {key: self.store(x) for key, x in state.items()}}

    def check_overlaps(self) -> None:
        """Two arrays in the same memory would be two afterwards."""
        spans = sorted(
            (*np.lib.array_utils.byte_bounds(x), where) for where, x in self.taken if x.size
        )
        for (_, end, one), (start, _, other) in itertools.pairwise(spans):
            if start < end:
                self.snapshot.missing.append(f"{one} and {other} (which share memory)")

    def check_functions(self) -> None:
        """Random numbers that nothing but a function knows would begin anew."""
        for where, thing in self.constants:
            if any(isinstance(x, GENERATORS) and id(x) not in self.seen for x in _behind(thing)):
                self.cannot(thing, where, "a function with random numbers of its own")


class _Giving:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.done: dict[int, Any] = {}
        self.claimed: dict[int, int] = {}

    def value(self, saved: Any, existing: Any, where: str) -> Any:
        if isinstance(saved, str) and ("/" in saved or "\\" in saved):
            raise CannotRestore(f"{where} is to become a path")
        if not isinstance(saved, dict):
            return saved
        if "member" in saved:
            return self.member(saved, existing, where)
        if "at" not in saved:
            return self.kept(existing, where, saved["kept"])
        index = saved["at"]
        if index not in self.done:
            self.done[index] = self.made(index, self.snapshot.nodes[index], existing, where)
        return self.done[index]

    def kept(self, existing: Any, where: str, name: str | bool = True) -> Any:
        if existing is _MISSING:
            raise CannotRestore(f"{where} is not there")
        if name is not True and name != _name_of(existing):
            raise CannotRestore(f"{where} is another one")
        return existing

    def member(self, saved: Any, existing: Any, where: str) -> Any:
        if not isinstance(existing, enum.Enum) or _class_of(existing) != saved["of"]:
            raise CannotRestore(f"{where} is no {saved['of']}")
        return type(existing)[saved["member"]]

    def made(self, index: int, node: Any, existing: Any, where: str) -> Any:
        kind = node["kind"]
        if kind == "array":
            return self.snapshot.arrays[node["array"]].copy()
        if kind == "scalar":
            return self.snapshot.arrays[node["array"]][()]
        if kind == "tensor":
            tensor = torch.from_numpy(self.snapshot.arrays[node["array"]].copy())
            return tensor.to(existing.device) if isinstance(existing, torch.Tensor) else tensor
        if kind in CONTAINERS:
            return self.container(index, kind, node, existing, where)
        if kind == "generator":
            return self.generator(index, node, existing, where)
        if kind == "kept":
            return self.kept(existing, where)
        if kind == "missing":
            raise CannotRestore(f"{where} could not be taken")
        return self.live(index, node, existing, where)

    def container(self, index: int, kind: str, node: Any, existing: Any, where: str) -> Any:
        cls: Any = CONTAINERS[kind]
        items = node["items"]
        if not isinstance(existing, cls):
            existing = None
        named = node.get("named")
        if (kind == "defaultdict" and existing is None) or (
            named and (existing is None or _class_of(existing) != named)
        ):
            raise CannotRestore(f"{where} is no {named or kind} before an episode has begun")
        if issubclass(cls, dict):
            made: Any = cls(existing.default_factory) if kind == "defaultdict" else cls()
            self.done[index] = made
            for saved_key, saved in items:
                is_text = isinstance(saved_key, str)
                key = saved_key if is_text else self.value(saved_key, None, where)
                pattern = _MISSING if existing is None else existing.get(key, _MISSING)
                made[key] = self.value(saved, pattern, f"{where}[{key!r}]")
            return made
        patterns = [] if existing is None or kind in ("set", "frozenset") else list(existing)
        patterns += [_MISSING] * (len(items) - len(patterns))
        if kind == "list":
            self.done[index] = made = []
        else:
            made = []
        for i, (saved, pattern) in enumerate(zip(items, patterns)):
            made.append(self.value(saved, pattern, f"{where}[{i}]"))
        if kind == "deque":
            return deque(made, node["maxlen"])
        if hasattr(existing, "_fields"):  # a named tuple
            return existing._make(made)
        return made if kind == "list" else cls(made)

    def claim(self, index: int, existing: Any, where: str) -> None:
        """One live object can only become one of those that were."""
        if self.claimed.setdefault(id(existing), index) != index:
            raise CannotRestore(f"{where} is one object with another, and was not")

    def generator(self, index: int, node: Any, existing: Any, where: str) -> Any:
        state = self.value(node["state"], None, where)
        if isinstance(existing, GENERATORS) and _generator_state(existing)[0] == node["name"]:
            generator = existing
            self.claim(index, generator, where)
        else:
            generator = MAKERS[node["name"]]()
        _set_generator(generator, state)
        return generator

    def live(self, index: int, node: Any, existing: Any, where: str) -> Any:
        """Sets the state of an object that is there."""
        if existing is _MISSING or existing is None:
            raise CannotRestore(f"{where} is not there")
        self.claim(index, existing, where)
        self.done[index] = existing
        if node["kind"] == "module":
            patterns = dict(existing.state_dict())
            existing.load_state_dict(self.value(node["items"], patterns, where))
            return existing
        if node["kind"] in ("MjData", "MjModel"):
            from spikepropamine.training import simulator

            give = simulator.set_data if node["kind"] == "MjData" else simulator.set_model
            arrays = {key: self.snapshot.arrays[name] for key, name in node["arrays"].items()}
            if _simulator_part(existing) != node["kind"] or not give(existing, arrays):
                raise CannotRestore(f"{where} is of another model")
            return existing
        if node["kind"] != "object" or node["class"] != _class_of(existing):
            raise CannotRestore(f"{where} is a {_class_of(existing)}")
        present, fields = dict(_fields(existing)), node["fields"]
        slots = _slots(type(existing))
        for name, saved in fields.items():
            value = self.value(saved, present.get(name, _MISSING), f"{where}.{name}")
            if value is present.get(name, _MISSING):
                continue
            if name in slots:
                object.__setattr__(existing, name, value)
            else:
                vars(existing)[name] = value
        for name in present.keys() - fields.keys():
            if not isinstance(existing, spaces.Space):
                vars(existing).pop(name, None)
        return existing
