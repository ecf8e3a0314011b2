"""Tables of policies, in Markdown; each function is a kind of table that a page can ask
for, and `TABLES` lists all kinds.

All take the files and what their rows have to have: `env`, `setting` and so on.
Statistics are those of `report.estimates`, of one value for each training seed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY, check_known
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.compared import comparisons, overall
from spikepropamine.report.grouped import Make, grouped, mean_cells, seed_cells
from spikepropamine.report.measured import (
    actions,
    budget,
    costs,
    frameworks,
    simulated,
    speed,
    stepping,
)
from spikepropamine.report.results import (
    above_random,
    accuracy_or_return,
    decimals_of,
    groups,
    lines_on_file,
    matching,
    of_one_task,
    once,
)

MILD = 0.5  # severity up to which a condition is no extreme one


def seeds(files: Sequence[Path], **wanted: str) -> str:
    """By policy and condition, the interquartile mean and every seed, by `measure`
    where one is given.
    """
    measure = wanted.pop("measure", None)
    lines = of_one_task(once(lines_on_file(files, wanted)))
    if measure is None:
        measure = accuracy_or_return(lines)
    check_known("measure", measure, lines.columns)
    decimals = decimals_of(lines, measure)
    columns: dict[str, Make] = {}
    if measure == "return":
        clean = {"condition": CLEAN_KEY}
        for which, name in (
            ("last", "training_return"),
            ("best", "best_training_return"),
        ):
            columns[f"{which} training return"] = seed_cells(name, decimals, clean)
    for condition in lines["condition"].unique(maintain_order=True):
        columns[condition] = seed_cells(measure, decimals, {"condition": condition})
    return grouped(lines, ["name"], {"policy": "name"}, columns)


def returns(files: Sequence[Path], **wanted: str) -> str:
    """By policy and environment, the interquartile mean and every seed; of plastic
    policies also with their plasticity off.
    """
    lines = once(lines_on_file(files, wanted))
    for _, of_environment in groups(lines, "environment"):
        of_one_task(of_environment)
    clean = pl.col("condition") == CLEAN_KEY
    off = pl.col("condition") == "plasticity-off"
    name = pl.when(~clean).then(pl.lit("the same, plasticity off")).otherwise("name")
    lines = lines.filter(clean | off).with_columns(name=name)
    environments = lines["environment"].unique(maintain_order=True)
    columns = {
        environment: seed_cells("return", 0, {"environment": environment})
        for environment in environments
    }
    return grouped(lines, ["policy", "name"], {"policy": "name"}, columns)


def behind_observer(files: Sequence[Path], **wanted: str) -> str:
    """By policy and condition, how much less late accuracy than the ideal observer's,
    with its interval over training seeds.
    """
    lines = once(of_one_task(lines_on_file(files, wanted)))
    observer = lines.filter(pl.col("seed").is_null())
    best = observer.select("condition", best="late_accuracy")
    lines = lines.filter(pl.col("seed").is_not_null())
    lines = lines.join(best, on="condition", maintain_order="left")
    lines = lines.with_columns(behind=pl.col("best") - pl.col("late_accuracy"))
    columns = {
        condition: mean_cells("behind", 2, {"condition": condition})
        for condition in best["condition"]
    }
    return grouped(lines, ["name"], {"policy": "name"}, columns)


def retention(files: Sequence[Path], **wanted: str) -> str:
    """By policy, suite and lesion: mean retention over perturbed conditions with its
    interval, of those that training may use, of those held out, and of the mild ones
    among these, with its interquartile mean over conditions and runs; and the mean
    return under all of them.
    """
    lines = of_one_task(lines_on_file(files, wanted))
    lines = lines.filter(~pl.col("condition").str.starts_with(CLEAN_KEY))
    has_lesion = pl.col("lesion").is_not_null()
    lesion = pl.when(has_lesion).then(pl.format(", plasticity {}", "lesion"))
    name = pl.concat_str("name", lesion.otherwise(pl.lit("")))
    lines = lines.with_columns(name=name, mild=pl.col("severity") <= MILD)
    mild = {"split": "held-out", "mild": True}
    columns = {
        "all": mean_cells("retention", 2),
        "train": mean_cells("retention", 2, {"split": "train"}),
        "held out": mean_cells("retention", 2, {"split": "held-out"}),
        f"held out, severity up to {MILD}": mean_cells("retention", 2, mild),
        "interquartile mean": seed_cells("retention", 2, mild, alone=True),
        "return": mean_cells("return", 0),
    }
    shown = {"policy": "name", "suite": "suite"}
    return grouped(lines, ["suite", "name"], shown, columns)


ADAPTATION = {
    "settled pace": "settled_pace",
    "after a change": "later_settled_pace",
    "regained": "regained",
    "opening": "opening_over_off",
}


def adaptation(files: Sequence[Path], **wanted: str) -> str:
    """By task, condition and policy: the pace, relative to random actions (0) and to
    the teacher that is told (1), that is settled on after the first context of an
    episode and after later ones, the share of changes after which the rate is back, and
    what plasticity adds to the reward per step of the opening, where there is
    plasticity.
    """
    lines = once(lines_on_file(files, wanted))
    known = [name for name in ADAPTATION.values() if name in lines.columns]
    if not known:
        raise KeyError(ADAPTATION["settled pace"])
    there = pl.any_horizontal(pl.col(known).is_not_null())
    lines = lines.filter(there.any().over(*table.TASK, "condition", "name"))
    task = pl.concat_str(table.TASK, separator=" ", ignore_nulls=True)
    lines = lines.with_columns(task=task)
    columns = {title: mean_cells(name, 2) for title, name in ADAPTATION.items()}
    shown = {"task": "task", "condition": "condition", "policy": "name"}
    return grouped(lines, ["task", "condition", "name"], shown, columns)


def contexts(files: Sequence[Path], **wanted: str) -> str:
    """By policy, in contexts held out of training: how many parameters are trained, the
    settled pace, the same with plasticity off where there is plasticity, and the
    share of changes that are recovered from.
    """
    lines = lines_on_file(files, {"split": "held-out"} | wanted)
    lines = of_one_task(once(lines))

    def parameters(some: pl.DataFrame) -> str:
        count = some["parameters"][0]
        return "" if count is None else f"{count:,.0f}"

    columns: dict[str, Make] = {
        "trainable parameters": parameters,
        "pace": mean_cells("settled_pace", 2, {"lesion": None}),
        "plasticity off": mean_cells("settled_pace", 2, {"lesion": "off"}),
        "changes recovered from": mean_cells("regained", 2, {"lesion": None}),
    }
    return grouped(lines, ["name"], {"policy": "name"}, columns)


def relative(files: Sequence[Path], to: str, **wanted: str) -> str:
    """By policy and condition, the return above that of random actions.

    Args:
        files: tables of results.
        to: the policy whose mean is 1.
        wanted: what rows have to have.
    """
    lines = of_one_task(once(lines_on_file(files, wanted)))
    lines = lines.filter(pl.col("lesion").is_null(), pl.col("seed").is_not_null())
    check_known("policy", to, lines["policy"].unique())
    means = (
        lines.filter(pl.col("policy") == to)
        .group_by("condition")
        .agg(pl.col("return").mean())
    )
    one = {
        condition: above_random(mean, lines, f"{condition}: {to!r}")
        for condition, mean in means.iter_rows()
    }
    above = pl.col("return") - pl.col("random_return").mean()
    unit = pl.col("condition").replace_strict(one, default=None)
    lines = lines.with_columns(share=above / unit)
    conditions = lines["condition"].unique(maintain_order=True)
    columns = {name: mean_cells("share", 2, {"condition": name}) for name in conditions}
    return grouped(lines, ["name"], {"policy": "name"}, columns)


def reached(files: Sequence[Path], level: str, **wanted: str) -> str:
    """By policy, the steps after which the return in training first is as high as a
    level: of each seed that there is, of the points on file, a dash where it never is.

    Args:
        files: tables of results.
        level: the return.
        wanted: what rows have to have.
    """
    rows = table.where(table.read(files), measure="training_return")
    rows = matching(rows, wanted).filter(pl.col("at").is_not_null())
    of_one_task(rows)
    first = pl.col("at").filter(pl.col("value") >= float(level)).min()

    def of_seed(seed: int) -> Make:
        """What makes the cells of one seed."""

        def cell(some: pl.DataFrame) -> str:
            points = some.filter(pl.col("seed") == seed)
            if points.is_empty():
                return ""
            steps = points.select(first).item()
            return "-" if steps is None else f"{steps:,}"

        return cell

    seeds = rows["seed"].unique(maintain_order=True)
    columns = {f"seed {seed}": of_seed(seed) for seed in seeds}
    named = rows.with_columns(name=pl.format("`{}`", "policy"))
    return grouped(named, ["name"], {"policy": "name"}, columns)


class TrainedRuns(NamedTuple):
    """The runs of a policy in a file."""

    results: str
    policy: str
    runs: int
    revisions: str


def revisions(files: Sequence[Path], **wanted: str) -> str:
    """By file and policy, how many runs there are, and the revisions of the code that
    trained them; "dirty" are those beside which something was not committed.
    """
    rows = []
    for file in files:
        lines = lines_on_file([file], wanted).filter(pl.col("seed").is_not_null())
        for (name,), some in groups(lines, "name"):
            runs = some.select(table.RUN).n_unique()
            every = some["revision"].unique(maintain_order=True).drop_nulls()
            rows.append(TrainedRuns(file.stem, name, runs, " ".join(every)))
    columns: list[Column[TrainedRuns]] = [
        Column("results", lambda row: row.results),
        Column("policy", lambda row: row.policy),
        Column("runs", lambda row: row.runs),
        Column("revisions", lambda row: row.revisions),
    ]
    return markdown(columns, rows)


def answers(files: Sequence[Path], **wanted: str) -> str:
    """Shares of right answers, of `benchmarks.memory_tasks`, by episode, policy and
    question.
    """
    return _by_condition(files, wanted, "episodes", "accuracy", ["all"])


def wirings(files: Sequence[Path], **wanted: str) -> str:
    """Shares of commands that are explained, of `benchmarks.motor_maps`, by changes in
    training, policy and wiring.
    """
    whole = ["wiring 1", "wiring 10"]
    return _by_condition(files, wanted, "changes", "explained", whole)


def _by_condition(
    files: Sequence[Path],
    wanted: Mapping[str, str],
    setting: str,
    measure: str,
    whole: Sequence[str],
) -> str:
    """A column for each condition of a benchmark.

    Args:
        files: of results.
        wanted: which lines of them.
        setting: title of the column of settings.
        measure: that is shown.
        whole: conditions of which every run is shown, and not the middle alone.
    """
    lines = once(lines_on_file(files, wanted))
    conditions = lines["condition"].unique(maintain_order=True)
    columns = {
        condition: seed_cells(
            measure, 2, {"condition": condition}, condition not in whole
        )
        for condition in conditions
    }
    shown = {setting: "setting", "policy": "name"}
    return grouped(lines, ["setting", "name"], shown, columns)


TABLES = {
    kind.__name__: kind
    for kind in (
        seeds,
        returns,
        comparisons,
        overall,
        behind_observer,
        retention,
        adaptation,
        contexts,
        relative,
        reached,
        revisions,
        speed,
        frameworks,
        stepping,
        budget,
        actions,
        costs,
        answers,
        wirings,
        simulated,
    )
}
