"""`spikepropamine cards`: writes the card of each run, README.md, out of an evaluation of it; that
of a run in trained/ out of the results of its matrix. The Hugging Face Hub shows it first.
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
from spikepropamine.report.evaluation import Evaluation
from spikepropamine.report.page import templates
from spikepropamine.versions import add_import, import_modules
from spikepropamine.words import number

TITLES = {"settled_pace": "pace", "late_accuracy": "late accuracy", "return": "return",
          "retention": "retention"}  # fmt: skip
NAME = re.compile(
    r"[A-Za-z][\w./:-]*\w"
)  # of an environment, as YAML has it without quotes


def card_of(run: RunFolder, lines: pl.DataFrame, name: str) -> str:
    """Markdown with the front matter that the Hub reads, of the lines of a run (`lines_evaluated`,
    `lines_on_file`), and the name by which `enjoy` and `evaluate` will find it.
    """
    metadata, metrics = _metadata(run), _metrics(run, lines)
    env = metadata["settings"]["env"]
    said = "; ".join(f"{kind} {number(x)}" for kind, x in metrics.items())
    facts = {
        "env": env if NAME.fullmatch(env) else json.dumps(env),
        "env_kwargs": json.dumps(metadata["settings"]["env_kwargs"]),
        "said": said.replace("_", " ").capitalize(),
        "parameters": lines["parameters"].first()
        if "parameters" in lines.columns
        else None,
        "results": _results(lines) if lines.height else "",
    }
    card = templates().get_template("card.jinja")
    return card.render(metadata=metadata, metrics=metrics, name=name, **facts)


def latest_evaluation(run: RunFolder) -> Path:
    """The folder of it, in the run folder, of those with deterministic actions and episodes of the
    usual length. Raises UsageError: there is none.
    """
    found = sorted(
        run.evaluations.glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime
    )
    for path in reversed(found):
        made = Evaluation.read(path.parent)
        if set(made.frame["suite"].drop_nulls()) == {made.asked["suite"] or "perturb"}:
            return path.parent
    command = f"spikepropamine evaluate {run.path}"
    modules = _metadata(run)["settings"].get("imports", [])
    if modules:
        command += f" --import {' '.join(modules)}"
    raise UsageError(
        f"{run.path} has no usual evaluation in its folder, which its card is made from; name one "
        f"by --evaluation, or run: {command}"
    )


def lines_evaluated(run: RunFolder, evaluation: Path) -> pl.DataFrame:
    """The lines of a run in an evaluation, a folder. Raises UsageError: no evaluation there, or one
    of other runs, or from before more training.
    """
    found = Evaluation.read(evaluation)
    mine = [x for x in found.asked["runs"]
            if (evaluation / x["folder"]).resolve() == run.path.resolve()]  # fmt: skip
    if not mine:
        raise UsageError(f"{evaluation} is not an evaluation of {run.path}")
    steps = _metadata(run)["steps"]
    if mine[0]["steps"] != steps:
        raise UsageError(
            f"{evaluation} is of the policy after {mine[0]['steps']:,} steps, and {run.path} has "
            f"one of {steps:,}: evaluate it again"
        )
    lines = table.lines_of(
        table.where(found.frame, policy=mine[0]["policy"], seed=mine[0]["seed"])
    )
    return lines.with_columns(episodes=pl.lit(float(found.episodes)))


def lines_on_file(folder: Path) -> pl.DataFrame:
    """The lines of a run in trained/MATRIX in the results of that matrix, if it has any."""
    matrix, *labels, environment, policy, seed = name_of(folder).split("/")
    file = TRAINED.parent / table.RESULTS / f"{matrix}.csv"
    if not file.is_file():
        return pl.DataFrame()
    lines = _lines(file).filter(pl.col("seed") == int(seed.removeprefix("seed-")))
    for (env, setting, name), own in lines.group_by("environment", "setting", "policy"):
        told = [
            setting,
            env if env != environment else None,
            name if name != policy else None,
        ]
        if [label for label in told if label] == labels:
            return own
    return lines.clear()


def _metadata(run: RunFolder) -> Mapping[str, Any]:
    with bad_input("", FileNotFoundError):
        return load_policy(run.policy).metadata


@functools.cache
def _lines(file: Path) -> pl.DataFrame:
    return table.lines_of(table.read(file))


def _metrics(run: RunFolder, lines: pl.DataFrame) -> dict[str, float]:
    """What tells how good it is, and its return, by the Hub's word for it."""
    if not lines.height:
        returns = read_curve(run.progress, RETURN)[1]
        return {"training_return": round(float(returns[-1]), 2)} if len(returns) else {}
    measure, condition = table.main_measure(lines)
    found = {measure: _value(lines, condition, measure)} if measure != "return" else {}
    found |= {"mean_reward": _value(lines, CLEAN_KEY, "return")}
    return {name: round(x, 3) for name, x in found.items() if x is not None}


def _value(lines: pl.DataFrame, condition: str, measure: str) -> float | None:
    own = lines.filter(pl.col("condition") == condition, pl.col("lesion").is_null())
    return own[measure][0] if measure in own.columns and own.height else None


def _results(lines: pl.DataFrame) -> str:
    """A table of the intact network, with plasticity off beside it; of a perturbation that has
    severities the highest.
    """
    shown = [name for name in TITLES if name in lines.columns and lines[name].count()]
    kept = pl.col("severity") == pl.col("severity").max().over("suite", "name")
    # "seen [off]" is "seen" with a lesion, and "plasticity-off" is the clean task
    name = (
        pl.col("condition")
        .str.replace(r" \[.*\]$", "")
        .str.replace("plasticity-off", CLEAN_KEY)
    )
    lines = lines.with_columns(base=name, name=name.str.replace(r" [\d.]+$", ""))
    intact = lines.filter(pl.col("lesion").is_null())
    intact = intact.filter(pl.col("severity").is_null() | kept).unique(
        "base", maintain_order=True
    )
    off = {(x["suite"], x["base"]): x for x in lines.to_dicts() if x["lesion"] == "off"}
    columns = ["condition", *(TITLES[name] for name in shown)]
    columns += [f"{TITLES[shown[0]]}, plasticity off"] * bool(off)
    rows = [columns, ["---"] * len(columns)]
    for x in intact.to_dicts():
        values = [x[name] for name in shown]
        values += [off.get((x["suite"], x["base"]), {}).get(shown[0])] * bool(off)
        rows.append(
            [x["base"], *("" if value is None else number(value) for value in values)]
        )
    episodes = (
        {f"{x:.0f}" for x in intact["episodes"].drop_nulls()}
        if "episodes" in intact
        else ""
    )
    told = (
        f"Means over {' and '.join(sorted(episodes))} episodes" if episodes else "Means"
    )
    if "settled_pace" in shown:
        told += "; a pace of 1 is that of the teacher that is told, 0 that of random actions"
    return f"{told}.\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
    for path in map(find, options.runs) if options.runs else trained_runs():
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
