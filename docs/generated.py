"""Pages of the reference that are made from the code: every setting, and every option
of every command, as tables.
"""

import argparse
import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

from spikepropamine.__main__ import COMMANDS, main
from spikepropamine.agents.algorithms import ALGORITHMS, TrainerSettings
from spikepropamine.common import Parser
from spikepropamine.options import INFINITY, docstrings, flag
from spikepropamine.policies.config import RANGES, NetworkConfig
from spikepropamine.training.settings import Settings

Row = Sequence[str]
OPENING = """# Settings

Every setting (hyperparameter) of a training, with its default. Options of `train`,
sections of YAML files and arguments of `spikepropamine.train` have the same names:
`--trainer.gamma 0.9`, `trainer: {gamma: 0.9}` and `trainer={"gamma": 0.9}` are one
thing.

The files in `configs/` have other defaults for some tasks and policies. `train --help`
with `--env`, `--policy` and `--trainer.kind` shows those that hold. The `config.yaml`
of a run has all that held."""
OF_TRAINER = """The settings of the learning algorithm. Their names are those of
Stable-Baselines3, where it has them. An algorithm ignores what is not its own: the
second column says whose a setting is."""
OF_NETWORK = """The spiking actor. In Python it is
`policy_kwargs=dict(network=dict(...))`. Actors without spikes take `hidden` alone."""


def settings_page() -> str:
    """All settings, as Markdown."""
    parts = [
        OPENING,
        "## Run",
        table(("setting", "values", "default", "what it is"), of(Settings)),
        "## Trainer",
        OF_TRAINER,
        trainer_table(),
        "## Network",
        OF_NETWORK,
        table(
            ("setting", "values", "default", "what it is"),
            of(NetworkConfig, "network."),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def trainer_table() -> str:
    """The settings of all algorithms, with the names of those that have each."""
    owners = {part.name: list(ALGORITHMS) for part in fields(TrainerSettings)}
    common = owners.keys() - {
        part.name for one in ALGORITHMS.values() for part in fields(one.settings)
    }
    for name in owners.keys() - common:
        owners[name] = [
            kind
            for kind, one in ALGORITHMS.items()
            if name in {part.name for part in fields(one.settings)}
        ]
    rows = []
    for row, part in zip(of(TrainerSettings, "trainer."), fields(TrainerSettings)):
        name, *rest = row
        whose = ", ".join(owners[part.name])
        rows.append((name, "all" if part.name in common else whose, *rest))
    rows.sort(key=lambda row: row[1] != "all")
    return table(("setting", "of", "values", "default", "what it is"), rows)


def of(cls: type, prefix: str = "") -> list[Row]:
    """The settings of a dataclass: option, values, default, explanation.

    Args:
        cls: a dataclass; what is a dataclass in it is left out.
        prefix: of the options.
    """
    hints = get_type_hints(cls, include_extras=True)
    texts = docstrings(cls)
    rows = []
    for part in fields(cls):
        if not is_dataclass(_bare(hints[part.name])):
            values = allowed(hints[part.name], part.name)
            rows.append(
                (f"`{flag(part, prefix)}`", values, default(part), texts[part.name])
            )
    return rows


def default(part: Field) -> str:
    """The default of a setting; empty where it has to be given or is none."""
    value: Any = part.default
    if part.default_factory is not MISSING:
        value = part.default_factory()
    if value is MISSING:
        return "has to be given"
    if value is None:
        return ""
    if isinstance(value, tuple | dict):
        return " ".join(map(str, value)) or "none"
    return f"{value:,}" if type(value) is int else str(value)


def allowed(hint: Any, name: str = "") -> str:
    """The values that a type has, in words.

    Args:
        hint: a type, with its ranges.
        name: of the setting, whose range `policies.config` may know.
    """
    for one in RANGES:
        if name in one.names:
            return one.words
    kind = get_origin(hint)
    if kind is Annotated:
        inner, *marks = get_args(hint)
        limits = " ".join(filter(None, map(_limit, marks)))
        return f"{allowed(inner)} {limits}".strip()
    if kind in (Union, type(int | str)):
        kinds = [allowed(one) for one in get_args(hint) if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if kind is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if kind is tuple:
        return f"several: {allowed(get_args(hint)[0])}"
    words = {
        bool: "yes or no",
        int: "whole number",
        float: "number",
        str: "text",
        dict: "names and values",
    }
    return words.get(kind or hint, "file or folder")


def _limit(mark: Any) -> str:
    """A range in words; empty for what is none."""
    words = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
    limits = []
    for name, text in words.items():
        bound = getattr(mark, name, None)
        if bound is not None and bound != INFINITY:
            limits.append(text.format(f"{bound:,}"))
    return " ".join(limits)


def _bare(hint: Any) -> Any:
    """A type without its annotations."""
    return _bare(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def commands_page() -> str:
    """The arguments and options of every command, as Markdown."""
    parts = [
        "# Commands",
        "`spikepropamine COMMAND --help` prints the same. [Settings](settings.md) has "
        "the options of `train` for every algorithm.",
    ]
    for name, (_, summary) in COMMANDS.items():
        parts += [f"## {name}", f"{summary[0].upper()}{summary[1:]}."]
        parts.append(help_of(name))
    return "\n\n".join(parts) + "\n"


def help_of(command: str) -> str:
    """What `--help` of a command prints, as Markdown."""
    said = io.StringIO()
    with (
        patch.object(Parser, "format_help", _as_markdown),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        main([command, "--help"])
    return said.getvalue().strip()


def _as_markdown(parser: Parser) -> str:
    """The help of a parser: its usage, what it says, and a table for each group."""
    usage = parser.format_usage().partition(": ")[2].strip()
    if len(usage) > 200:  # of options that the table has
        usage = f"{parser.prog} ..."
    parts = [f"```text\n{usage}\n```", parser.description or ""]
    for group in parser._action_groups:
        actions = [
            action
            for action in group._group_actions
            if action.help != argparse.SUPPRESS and action.dest != "help"
        ]
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            parts.append(f"**{group.title}**")
        formatter = parser._get_formatter()
        rows = [_row(action, formatter) for action in actions]
        parts.append(table(("argument", "what it is"), rows))
    if parser.epilog:
        parts.append(parser.epilog)
    return "\n\n".join(filter(None, parts)) + "\n"


def _row(action: argparse.Action, formatter: argparse.HelpFormatter) -> Row:
    """An argument with its value, and what it is."""
    name = formatter._format_action_invocation(action)
    text = formatter._expand_help(action) if action.help else ""
    return f"`{name}`", text


def table(heads: Row, rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A text in one line, whose angle brackets and bars are no markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
}
"""By their places in docs/."""
