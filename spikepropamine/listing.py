"""`spikepropamine list`: the names that the other commands take, each with what it is."""

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spikepropamine.common import add_import, import_modules, run_command

TRAINED = Path(__file__).parents[1] / "trained"
"""The trained policies of the checkout; the installed package has none."""

Rows = Iterator[tuple[str, str]]


def environments() -> Rows:
    """Ids that Gymnasium knows: this project's own, then all others."""
    import gymnasium

    entries = {name: str(spec.entry_point) for name, spec in gymnasium.registry.items()}
    ours = {name for name, entry in entries.items() if entry.startswith("spikepropamine.")}
    for name in sorted(entries, key=lambda name: (name not in ours, name)):
        yield name, entries[name]


def policies() -> Rows:
    """What `--policy` takes."""
    from spikepropamine.agents.zoo import agents

    for name, agent in agents().items():
        yield name, agent.summary


def rules() -> Rows:
    """The rules of synaptic plasticity."""
    from spikepropamine.policies.rules import RULES

    for name, rule in RULES.items():
        yield name, first_line(rule.formula)


def suites() -> Rows:
    """What `--suite` takes, besides `standard`."""
    from spikepropamine.envs.perturbations.suites import suite_names

    for name in suite_names():
        yield name, ""


def perturbations() -> Rows:
    """The families that a perturbation's text is made of."""
    from spikepropamine.envs.perturbations import CATALOGUE

    for family in CATALOGUE.values():
        low, high = family.bounds
        values = f"{low:g} to {high:g}, nominal {family.nominal:g} ({family.unit})"
        yield family.name, f"{family.group}: {family.summary} {values}"


def trained() -> Rows:
    """Folders of trained policies, for `evaluate`."""
    for file in sorted(TRAINED.rglob("policy.json")):
        yield str(file.parents[1]), ""


LISTS: dict[str, Callable[[], Rows]] = {
    "envs": environments,
    "policies": policies,
    "rules": rules,
    "suites": suites,
    "perturbations": perturbations,
    "trained": trained,
}


def main(arguments: Sequence[str], program: str = "spikepropamine list") -> int:
    """Runs the command line; returns its exit code.

    Args:
        arguments: after the command's name.
        program: the command's name, as it was typed.
    """
    parser = argparse.ArgumentParser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=LISTS)
    add_import(parser)
    options = parser.parse_args(arguments)
    return run_command(program, lambda: _print(options.what, options.imports), "interrupted")


def _print(what: str, modules: Sequence[str]) -> int:
    import_modules(modules)
    rows = list(LISTS[what]())
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        print(f"{name:{width}}  {summary}".rstrip())
    return 0


def first_line(thing: object) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]
