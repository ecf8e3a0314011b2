"""`spikepropamine cards`: writes the card of each run, README.md, out of an evaluation
of it; that of a run in trained/ out of the results of its matrix. The Hugging Face Hub
shows it first.
"""

import functools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY, Parser, UsageError, bad_input, write_text
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import telling
from spikepropamine.folder import (
    RESULTS,
    RETURN,
    TRAINED,
    RunFolder,
    find,
    name_of,
    read_curve,
    trained_runs,
)
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import read_text
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.page import templates
from spikepropamine.report.results import has, lines_of, main_measure
from spikepropamine.versions import add_import, import_modules
from spikepropamine.words import number

NAME = re.compile(r"[A-Za-z][\w./:-]*\w")
"""Of an environment, as YAML has it without quotes."""
RULE = " --- "
"""Below the heads of columns, as in the cards on file."""
HUB_RETURN = "mean_reward"
"""The Hub's word for the return."""


def card_of(run: RunFolder, lines: pl.DataFrame, name: str) -> str:
    """The card of a run.

    Args:
        run: its folder.
        lines: of its results, see `lines_evaluated` and `lines_on_file`; may be empty.
        name: by which `enjoy` and `evaluate` will find it.

    Returns:
        Markdown with the front matter that the Hub reads.

    Raises:
        UsageError: the policy cannot be loaded.
    """
    metadata = _metadata(run)
    metrics = _metrics(run, lines)
    env = metadata["settings"]["env"]
    said = "; ".join(f"{kind} {number(value)}" for kind, value in metrics.items())
    parameters = None
    if "parameters" in lines.columns:
        parameters = lines["parameters"].first()
    return (
        templates()
        .get_template("card.jinja")
        .render(
            metadata=metadata,
            metrics=metrics,
            name=name,
            env=env if NAME.fullmatch(env) else json.dumps(env),
            env_kwargs=json.dumps(metadata["settings"]["env_kwargs"]),
            said=said.replace("_", " ").capitalize(),
            parameters=parameters,
            results=_results(lines) if lines.height else "",
        )
    )


def latest_evaluation(run: RunFolder) -> Path:
    """The folder of it, in the run folder, of those with deterministic actions and
    episodes of the usual length. Raises UsageError: there is none.
    """
    files: list[Path] = sorted(
        run.evaluations.glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime
    )
    for path in reversed(files):
        results = EvaluationResults.read(path.parent)
        suites = set(results.frame["suite"].drop_nulls())
        if suites == {results.description.suite_or_texts}:
            return path.parent
    command = f"spikepropamine evaluate {run.path}"
    modules = _metadata(run)["settings"].get("imports", [])
    if modules:
        command += f" --import {' '.join(modules)}"
    raise UsageError(
        f"{run.path} has no usual evaluation in its folder, which its card is made "
        f"from; name one by --evaluation, or run: {command}"
    )


def lines_evaluated(run: RunFolder, evaluation: Path) -> pl.DataFrame:
    """The lines of a run in an evaluation.

    Args:
        run: its folder.
        evaluation: a folder.

    Raises:
        UsageError: no evaluation is there, or one of other runs, or from before more
            training.
    """
    results = EvaluationResults.read(evaluation)
    runs = [
        one
        for one in results.description.runs
        if (evaluation / one.folder).resolve() == run.path.resolve()
    ]
    if not runs:
        raise UsageError(f"{evaluation} is not an evaluation of {run.path}")
    described = runs[0]
    steps = _metadata(run)["steps"]
    if described.steps != steps:
        raise UsageError(
            f"{evaluation} is of the policy after {described.steps:,} steps, and "
            f"{run.path} has one of {steps:,}: evaluate it again"
        )
    rows = table.where(results.frame, policy=described.policy, seed=described.seed)
    episodes = pl.lit(float(results.description.episodes))
    return lines_of(rows).with_columns(episodes=episodes)


def lines_on_file(folder: Path) -> pl.DataFrame:
    """The lines of a run in trained/MATRIX in the results of that matrix, if it has
    any.
    """
    matrix, *labels, environment, policy, seed = name_of(folder).split("/")
    file = TRAINED.parent / table.RESULTS / f"{matrix}.csv"
    if not file.is_file():
        return pl.DataFrame()
    lines = _lines(file).filter(pl.col("seed") == int(seed.removeprefix("seed-")))
    keys = ("environment", "setting", "policy")
    for (env, setting, name), of_run in lines.group_by(keys):
        folders = [setting]
        if env != environment:
            folders.append(env)
        if name != policy:
            folders.append(name)
        if [label for label in folders if label] == labels:
            return of_run
    return lines.clear()


def _metadata(run: RunFolder) -> Mapping[str, Any]:
    with bad_input("", FileNotFoundError):
        return load_policy(run.policy).metadata


@functools.cache
def _lines(file: Path) -> pl.DataFrame:
    return lines_of(table.read(file))


def _metrics(run: RunFolder, lines: pl.DataFrame) -> dict[str, float]:
    """What tells how good it is, and its return, by the Hub's word for it."""
    if not lines.height:
        _, returns = read_curve(run.progress, RETURN)
        return {"training_return": round(float(returns[-1]), 2)} if len(returns) else {}
    measure, condition = main_measure(lines)
    values = {}
    if measure.name != "return":
        values[measure.name] = _value(lines, condition, measure.name)
    values[HUB_RETURN] = _value(lines, CLEAN_KEY, "return")
    return {
        name: round(value, 3) for name, value in values.items() if value is not None
    }


def _value(lines: pl.DataFrame, condition: str, measure: str) -> float | None:
    intact = lines.filter(pl.col("condition") == condition, pl.col("lesion").is_null())
    if measure not in intact.columns or not intact.height:
        return None
    value: float | None = intact[measure][0]
    return value


def _results(lines: pl.DataFrame) -> str:
    """A table of the intact network, with plasticity off beside it; of a perturbation
    that has severities the highest.
    """
    shown = [measure for measure in telling() if has(lines, measure.name)]
    # "seen [off]" is "seen" with a lesion, and "plasticity-off" is the clean task
    base = pl.col("condition").str.replace(r" \[.*\]$", "")
    base = base.str.replace("plasticity-off", CLEAN_KEY)
    label = base.str.replace(r" [\d.]+$", "")
    lines = lines.with_columns(base=base, name=label)
    highest = pl.col("severity") == pl.col("severity").max().over("suite", "name")
    intact = lines.filter(pl.col("lesion").is_null())
    intact = intact.filter(pl.col("severity").is_null() | highest)
    intact = intact.unique("base", maintain_order=True)
    off = {
        (line["suite"], line["base"]): line
        for line in lines.to_dicts()
        if line["lesion"] == "off"
    }

    def text(value: float | None) -> str:
        return "" if value is None else number(value)

    def of_measure(measure: Measure[Any]) -> Column[dict[str, Any]]:
        return Column(measure.label, lambda line: text(line[measure.name]))

    def with_off(line: dict[str, Any]) -> str:
        same = off.get((line["suite"], line["base"]), {})
        return text(same.get(shown[0].name))

    columns: list[Column[dict[str, Any]]] = [
        Column("condition", lambda line: line["base"]),
        *map(of_measure, shown),
    ]
    if off:
        columns.append(Column(f"{shown[0].label}, plasticity off", with_off))
    about = "Means"
    if has(intact, "episodes"):
        counts = {f"{count:.0f}" for count in intact["episodes"].drop_nulls()}
        about += f" over {' and '.join(sorted(counts))} episodes"
    if any(measure.of_contexts for measure in shown):
        about += (
            "; a pace of 1 is that of the teacher that is told, 0 that of random "
            "actions"
        )
    return f"{about}.\n\n{markdown(columns, intact.to_dicts(), rule=RULE)}"


def main(arguments: Sequence[str], program: str = "spikepropamine cards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "runs",
        nargs="*",
        metavar="RUN|NAME",
        help="folder of a run, or one in trained/ (all)",
    )
    add(
        "--evaluation",
        type=Path,
        metavar="FOLDER",
        help="(the latest in the run folder)",
    )
    add("--check", action="store_true", help="change nothing; 1 where one differs")
    add_import(parser)
    options = parser.parse_args(arguments)
    import_modules(options.imports)
    wrong = 0
    paths = [find(run) for run in options.runs] if options.runs else trained_runs()
    for path in paths:
        run = RunFolder(path)
        if path.resolve().is_relative_to(TRAINED) and options.evaluation is None:
            lines = lines_on_file(path)
        else:
            lines = lines_evaluated(run, options.evaluation or latest_evaluation(run))
        card = card_of(run, lines, name_of(path))
        if run.card.is_file() and read_text(run.card) == card:
            continue
        if options.check:
            print(
                f"{run.card} is not up to date; run `spikepropamine cards`",
                file=sys.stderr,
            )
            wrong = 1
        else:
            write_text(run.card, card)
            print(run.card)
    return wrong
