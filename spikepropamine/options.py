"""Settings in nested dataclasses, out of plain values (YAML) and out of command lines.

Both go the same way: names are checked, then Pydantic brings every value to the type of
its field and checks its range, which the types below say. What is wrong is one line.
"""

import argparse
import ast
import inspect
import itertools
import numbers
import os
import re
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import BeforeValidator, PlainValidator, TypeAdapter, ValidationError

from spikepropamine.common import Parser, UsageError, did_you_mean, shown

T = TypeVar("T")
INFINITY = float("inf")


def _whole(value: object) -> object:
    """A whole number where a text says one with an exponent, as 1e5 does."""
    if not isinstance(value, str) or "e" not in value.lower():
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if abs(number) < 1e15 and number.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Ge(1)]
Few = Annotated[Whole, Ge(1), Le(10_000)]  # of what takes memory: environments, neurons
Number = Annotated[Whole, Ge(0)]
# NumPy takes it, and those of the environments
Seed = Annotated[int, Ge(0), Lt(2**31)]
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0), Lt(INFINITY)]
NotNegative = Annotated[float, Ge(0), Lt(INFINITY)]
Logarithm = Annotated[float, Ge(-20), Le(20)]


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a number, true, false or a text, got {shown(value)}")
    return value


Scalar = Annotated[int | float | bool | str, PlainValidator(_scalar)]
"""A value whose type only its reader knows."""


_adapter: Any = cache(TypeAdapter)  # making one takes forty times as long as using it


def updated(settings: T, changes: Any, where: str | None = None) -> T:
    """A copy of a (nested) settings dataclass with changes, of the right types.

    Args:
        settings: a dataclass.
        changes: nested mapping, from names to values.
        where: the changes come from, for messages; None: the command line.

    Raises:
        UsageError: a name is unknown, or a value is refused.
    """
    cls: Any = type(settings)
    values = _merged(settings, changes, where or "command line")
    try:
        return _adapter(cls).validate_python(values)
    except ValidationError as error:
        message = _message(cls, error.errors()[0], where is None)
        raise UsageError(message if where is None else f"{where}: {message}") from error


def plain(settings: Any) -> dict[str, Any]:
    """A (nested) settings dataclass as plain values, for YAML and JSON."""
    return _adapter(type(settings)).dump_python(settings, mode="json", warnings=False)


def _merged(settings: Any, changes: Any, where: str) -> dict[str, Any]:
    if not isinstance(changes, Mapping):
        raise UsageError(
            f"{where}: must be a mapping of settings, got {shown(changes)}"
        )
    names = [f.name for f in fields(settings)]
    for name in changes:
        if name not in names:
            hint = did_you_mean(str(name), names).strip()
            raise UsageError(
                f"{where}: unknown setting {shown(name)}; {hint}".rstrip("; ")
            )
    return {
        name: _merged(current, changes.get(name, {}), f"{where}, {name}")
        if is_dataclass(current := getattr(settings, name))
        else changes.get(name, current)
        for name in names
    }


WORDS = {
    "Input should be": "must be",
    "less than inf": "a finite number",
    "a valid integer": "a whole number",
    "a valid tuple": "a list",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid ": "a ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}


def _message(cls: Any, error: Any, as_option: bool) -> str:
    """What Pydantic found, in this project's words: the setting, what is wrong, what
    was given.
    """
    name = ""
    prefix = ""
    for part in error[
        "loc"
    ]:  # what follows the name of a field is the place in its value
        if not is_dataclass(cls):
            break
        member = {f.name: f for f in fields(cls)}[part]
        name = flag(member, prefix) if as_option else prefix + part
        prefix += f"{part}."
        cls = get_type_hints(cls)[part]
    text = error["msg"]
    given = f", got {shown(error['input'])}"
    if error["type"] == "value_error":
        # raised by a dataclass as a whole, which names its settings itself, or for one
        # value
        text = text.removeprefix("Value error, ")
        return text if is_dataclass(cls) else f"{name} {text}"
    for theirs, ours in WORDS.items():
        text = text.replace(theirs, ours)
    text = text.partition(", unable")[0]
    if error["type"] == "literal_error":
        near = did_you_mean(str(error["input"]), re.findall("'(.*?)'", text))
        given += f"; {near}" if near else ""
    return f"{name} {text}{given}".strip()


def add_options(
    parser: argparse.ArgumentParser,
    settings: Any,
    concerned: Callable[[str], bool],
    prefix: str = "",
) -> None:
    """Adds an option for every setting of a dataclass, named like it, as
    --trainer.gamma.

    Options that are not given leave nothing in the namespace.

    Args:
        parser: gets the options.
        settings: a dataclass, whose values --help shows as defaults.
        concerned: says of a setting's dotted name whether --help shows it.
        prefix: of the names of options, with a dot at its end.
    """
    cls: Any = type(settings)
    hints = get_type_hints(cls, include_extras=True)
    helps = docstrings(cls)
    group: Any = parser if not prefix else parser.add_argument_group(prefix.rstrip("."))
    for part in fields(settings):
        name = prefix + part.name
        value = getattr(settings, part.name, None)
        if is_dataclass(value):
            add_options(parser, value, concerned, f"{name}.")
            continue
        text = helps.get(part.name, "").replace("%", "%%")
        if part.default is not MISSING or part.default_factory is not MISSING:
            text += "" if value is None else f" ({_default(value)})".replace("%", "%%")
        text = text if concerned(name) else argparse.SUPPRESS
        kwargs = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        group.add_argument(flag(part, prefix), **kwargs, **_shape(hints[part.name]))


def flag(part: Field, prefix: str = "") -> str:
    """The option of a setting.

    Args:
        part: the field of a dataclass.
        prefix: of the names of options, with a dot at its end.
    """
    return f"--{prefix}{part.metadata.get('flag', part.name)}".replace("_", "-")


def _default(value: object) -> str:
    if isinstance(value, dict):
        value = tuple(itertools.chain(*value.items()))
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _shape(hint: Any) -> dict[str, Any]:
    """How argparse takes a value of a type; the type itself is checked later."""
    hint, kinds = _bare(hint)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is dict:
        return {"nargs": "*", "metavar": "NAME VALUE", "type": literal, "action": Pairs}
    if get_origin(hint) is tuple:
        inner, kinds = _bare(get_args(hint)[0])
        kind = literal if len(kinds) > 1 else str
        return {"nargs": "*", "metavar": _metavar(inner), "type": kind}
    return {"metavar": _metavar(hint), "type": str if kinds == [hint] else literal}


def _bare(hint: Any) -> tuple[Any, list[Any]]:
    """A type without annotations and without None, and its alternatives."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_bare(kind)[0] for kind in get_args(hint) if kind is not type(None)]
        return kinds[0], kinds
    return hint, [hint]


def is_whole(cls: type, name: str) -> bool:
    """Whether a field of a dataclass takes whole numbers alone."""
    hint, _ = _bare(get_type_hints(cls, include_extras=True)[name])
    return hint is int


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    return {
        str: "TEXT",
        Path: "FOLDER",
        float: "X",
        int: "N",
        bool: "{true,false}",
    }.get(hint, "X")


def literal(text: str) -> Any:
    """A number, true or false where the text is one, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


class Pairs(argparse.Action):
    """NAME VALUE NAME VALUE ... as a dict."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Puts the dict into the namespace."""
        if len(values) % 2:
            parser.error(
                f"{option_string} takes pairs of NAME and VALUE, got {shown(values)}"
            )
        pairs = dict(zip(map(str, values[::2]), values[1::2], strict=True))
        setattr(
            namespace, self.dest, (getattr(namespace, self.dest, None) or {}) | pairs
        )


def parsed(parser: Parser, arguments: Sequence[str]) -> dict[str, Any]:
    """The values that were given, nested like the settings.

    Args:
        parser: with the options of `add_options`.
        arguments: of the command line.

    Raises:
        UsageError: an option is unknown or lacks its value.
        SystemExit: after --help.
    """
    # options may be spelt with underscores, as in YAML
    spelt = [
        re.sub("^--[^=]*", lambda name: name[0].replace("_", "-"), x) for x in arguments
    ]
    return nested(vars(parser.parse_args(spelt)))


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name, nested like the settings."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        place = result
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return result


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by dotted name; the arguments of an environment stay together."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        parts = value if isinstance(value, Mapping) and name != "env_kwargs" else {}
        result |= {f"{name}.{key}": part for key, part in parts.items()} or {
            name: value
        }
    return result


Typed = str | numbers.Real | os.PathLike  # of which a bool is one
"""A single value that can be typed."""


def words(settings: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """Settings as what would be typed at the command line.

    Args:
        settings: values by the names of options; a mapping has those of a group, None
            says that there is no value.
        prefix: of the options.

    Raises:
        UsageError: a value cannot be typed.
    """
    for name, value in settings.items():
        option = f"{prefix}{name.rstrip('_').replace('_', '-')}"
        if name == "env_kwargs" and isinstance(value, Mapping):
            yield from _pairs(option, value)
        elif isinstance(value, Mapping):
            yield from words(value, f"{option}.")
        elif isinstance(value, bool):
            yield option if value else option.replace("--", "--no-", 1)
        elif value is not None:
            yield from _values(option, value)


def _pairs(option: str, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Arguments of an environment as typed. Raises UsageError: one cannot be."""
    for name, value in arguments.items():
        if type(literal(str(value))) is not type(value):
            raise UsageError(
                f"env_kwargs {name}: must be a number, true, false or a text that is "
                f"none of these, got {shown(value)}"
            )
    yield option
    for name, value in arguments.items():
        yield str(name)
        yield str(value)


def _values(option: str, value: Any) -> Iterator[str]:
    """A value, or several, as typed. Raises UsageError: it cannot be."""
    if isinstance(value, Typed):
        single = str(value)
        if single.startswith("-"):  # -1e-05 is no number to argparse
            yield f"{option}={single}"
        else:
            yield option
            yield single
        return
    is_list = isinstance(value, Iterable) and not isinstance(value, bytes)
    several = list(value) if is_list else [value]
    for one in several:
        if not isinstance(one, Typed):
            name = option.lstrip("-")
            raise UsageError(
                f"{name}: must be a number, a text, true, false or a list of such, "
                f"got {shown(value)}"
            )
    yield option
    yield from map(str, several)


@cache
def docstrings(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass, which is its explanation; those that it
    inherits included.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__bases__):
        if is_dataclass(base):
            texts |= docstrings(base)
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    for pair in itertools.pairwise(tree.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                ast.Constant(str(text))
            ):
                texts[name] = " ".join(text.split())
    return texts
