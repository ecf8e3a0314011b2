"""`spikepropamine list`: the names that the other commands take, each with what it is."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spikepropamine.common import (
    Parser,
    UsageError,
    add_import,
    did_you_mean,
    import_modules,
    run_command,
)
from spikepropamine.folder import RunFolder

TRAINED = Path(__file__).parents[1] / "trained"
"""The trained policies of the checkout; the installed package has none."""

Rows = Iterator[tuple[str, str]]


def environments() -> Rows:
    """Ids that `--env` takes: this project's own, then the newest version of Gymnasium's."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    newest: dict[tuple[str | None, str], gymnasium.envs.registration.EnvSpec] = {}
    for spec in gymnasium.registry.values():
        entry = spec.entry_point
        if not isinstance(entry, str):
            # in Gymnasium a version that only says where it has gone, else a class of the user's
            if entry is not None and not entry.__module__.startswith("gymnasium."):
                yield spec.id, first_line(entry)
            continue
        if entry.startswith("spikepropamine."):
            yield spec.id, first_line(load_env_creator(entry))
            continue
        known = newest.setdefault((spec.namespace, spec.name), spec)
        if (spec.version or 0) > (known.version or 0):
            newest[spec.namespace, spec.name] = spec
    for spec in sorted(newest.values(), key=lambda spec: spec.id):
        yield spec.id, str(spec.entry_point)


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
    from spikepropamine.envs.perturbations.suites import SUITES, suite_names

    for name in suite_names():
        lines = (SUITES / f"{name}.yaml").read_text().splitlines()
        comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
        yield name, " ".join(line.lstrip("# ") for line in comment).partition(". ")[0]


def perturbations() -> Rows:
    """The families that a perturbation's text is made of."""
    from spikepropamine.envs.perturbations import CATALOGUE

    for family in CATALOGUE.values():
        low, high = family.bounds
        values = f"{low:g} to {high:g}, nominal {family.nominal:g} ({family.unit})"
        yield family.name, f"{family.group}: {family.summary} {values}"


def matrices() -> Rows:
    """What `matrix` takes, besides files."""
    from spikepropamine.matrix.file import MATRICES

    for file in sorted(MATRICES.glob("*.yaml")):
        yield file.stem, file.read_text().partition("\n")[0].lstrip("# ")


def trained() -> Rows:
    """Names that `enjoy` and `evaluate` take for trained policies, with what their cards say."""
    for folder in trained_runs():
        yield name_of(folder), what_card_says(RunFolder(folder).card)


LISTS: dict[str, Callable[[], Rows]] = {
    "envs": environments,
    "policies": policies,
    "rules": rules,
    "suites": suites,
    "perturbations": perturbations,
    "matrices": matrices,
    "trained": trained,
}


def main(arguments: Sequence[str], program: str = "spikepropamine list") -> int:
    """Runs the command line; returns its exit code.

    Args:
        arguments: after the command's name.
        program: the command's name, as it was typed.
    """
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=LISTS, metavar="|".join(LISTS))
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


def trained_runs() -> list[Path]:
    """Run folders in trained/."""
    return sorted(file.parents[1] for file in TRAINED.rglob("policy.json"))


def name_of(folder: Path) -> str:
    """By which `find` finds it: without what all in trained/ have in common."""
    whole = folder.resolve()
    return (whole.relative_to(TRAINED) if whole.is_relative_to(TRAINED) else folder).as_posix()


def find(name: str | Path) -> Path:
    """The folder of this path, or the first run in trained/ whose path has these parts.

    Raises:
        UsageError: there is none; the message has the nearest one.
    """
    if Path(name).exists():
        return Path(name)
    wanted = f"/{str(name).strip('/')}/"
    for folder in trained_runs():
        if wanted in f"/{name_of(folder)}/":
            return folder
    known = [name_of(folder.parent) for folder in trained_runs()]
    known += [name.partition("/")[2] for name in known]  # which are enough
    nearest = did_you_mean(str(name), sorted(set(known)))
    raise UsageError(
        f"{str(name)!r} is neither a run folder nor in trained/; {nearest}"
        "`spikepropamine list trained` lists them"
    )


def what_card_says(card: Path) -> str:
    """The first sentence below the title of a card; empty where there is no card."""
    try:
        text = card.read_text(encoding="utf-8").partition("\n# ")[2]
    except FileNotFoundError:
        return ""
    said = text.partition("\n\n")[2].partition("\n")[0]
    return said.partition(". ")[0].rstrip(".")


def first_line(thing: object) -> str:
    """The first line of its own docstring, which is none of a class above it."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "").partition("\n")[0]
