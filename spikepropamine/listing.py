"""`spikepropamine list`: the names that the other commands take, each with what it
is.
"""

import inspect
import itertools
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spikepropamine.common import Parser, UsageError
from spikepropamine.folder import RunFolder, name_of, trained_runs
from spikepropamine.reading import Unreadable, read_text
from spikepropamine.table import RESULTS
from spikepropamine.versions import add_import, import_modules

Rows = Iterator[tuple[str, str]]


def envs() -> Rows:
    """Ids that `--env` takes, of several versions the newest, and what they are."""
    import gymnasium
    from gymnasium.envs.registration import find_highest_version, load_env_creator

    for spec in gymnasium.registry.values():
        if spec.version != find_highest_version(spec.namespace, spec.name):
            continue
        entry = spec.entry_point
        summary = str(entry)
        if isinstance(entry, str) and entry.startswith("spikepropamine."):
            variant = ", ".join(
                f"{name} {value}" for name, value in spec.kwargs.items()
            )
            summary = first_line(load_env_creator(entry)) + (
                f" ({variant})" if variant else ""
            )
        elif entry is not None and not isinstance(entry, str):
            summary = first_line(entry)
        yield spec.id, summary


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
    """What `--suite` takes."""
    from spikepropamine.envs.perturbations.notation import SUITES, suite_names
    from spikepropamine.evaluation.ask.conditions import STANDARD

    yield (
        STANDARD,
        "Noise in what is observed, two severities, and plasticity off; the default.",
    )
    for name in suite_names():
        yield name, _says_of_itself(SUITES / f"{name}.yaml")


def perturbations() -> Rows:
    """The families that a perturbation's text is made of."""
    from spikepropamine.envs.perturbations import CATALOGUE

    for family in CATALOGUE.values():
        low, high = family.bounds
        values = f"{low:g} to {high:g}, nominal {family.nominal:g} ({family.unit})"
        if family.contexts:
            values = f"After ~ a {family.unit}, after = seen, held_out or a code"
        yield family.name, f"{family.group}: {family.summary} {values}"


def matrices() -> Rows:
    """What `matrix` takes, besides files, with how many of its cells have rows on
    file.
    """
    from spikepropamine.matrix.definition import load_matrix
    from spikepropamine.matrix.rows import missing
    from spikepropamine.report.contrasts import MATRICES

    for file in sorted(MATRICES.glob("*.yaml")):
        matrix = load_matrix(file.stem)
        every = len(matrix.labels())
        done = every - len(missing(matrix, RESULTS / f"{file.stem}.csv"))
        yield file.stem, f"{done} of {every} cells on file: {_says_of_itself(file)}"


def _says_of_itself(file: Path) -> str:
    """The first sentence of the comment that a YAML file begins with."""
    lines = read_text(file).splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return (
        " ".join(line.lstrip("# ") for line in comment).partition(". ")[0].rstrip(".")
    )


def trained() -> Rows:
    """Names that `enjoy` and `evaluate` take for trained policies, with what their
    cards say.
    """
    for folder in trained_runs():
        yield name_of(folder), what_card_says(RunFolder(folder).card)


LISTS = {
    kind.__name__: kind
    for kind in (envs, policies, rules, suites, perturbations, matrices, trained)
}


def main(arguments: Sequence[str], program: str = "spikepropamine list") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=LISTS, metavar="|".join(LISTS))
    parser.add_argument(
        "part", nargs="?", default="", help="list names with this in them alone"
    )
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    rows = [
        row for row in LISTS[options.what]() if options.part.lower() in row[0].lower()
    ]
    if options.part and not rows:
        raise UsageError(f"{options.what}: no name has {options.part!r} in it")
    width = max((len(name) for name, _ in rows), default=0)
    # in a terminal a line each; elsewhere lines are whole
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for name, summary in rows:
        line = f"{name:{width}}  {summary}".rstrip()
        print(line if room is None or len(line) <= room else f"{line[: room - 1]}…")
    return 0


def what_card_says(card: Path) -> str:
    """The first sentence below the title of a card; empty where there is no card."""
    try:
        text = read_text(card, inside=card.parent).partition("\n# ")[2]
    except Unreadable:
        return ""
    said = text.partition("\n\n")[2].partition("\n")[0]
    return said.partition(". ")[0].rstrip(".")


def first_line(thing: object) -> str:
    """The first line of its own docstring, which is none of a class above it."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "").partition("\n")[0]
