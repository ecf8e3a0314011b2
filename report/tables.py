"""Markdown tables out of results on file; each function is a kind of table that a page
can ask for.

All take the files and what their rows have to have: `env`, `setting` and so on.
Statistics are those of `report.estimates`, of one value for each training seed.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from spikepropamine import power, statistics, table
from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.evaluation.judge.cost import KINDS, PARTS
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.contrasts import planned_contrasts
from spikepropamine.report.estimates import (
    Comparison,
    corrected,
    estimate,
    with_worst,
)
from spikepropamine.report.results import (
    PERTURBED,
    accuracy_or_return,
    decimals_of,
    diverged_runs,
    groups,
    has,
    lines_on_file,
    matching,
    of_one_task,
    once,
    task_name,
    values_of,
)
from spikepropamine.words import number, p_value, percent

MILD = 0.5  # severity up to which a condition is no extreme one
CASE = [*table.RUN, "condition", "at"]  # what tells the cases of a benchmark apart

Row = Mapping[str, Any]
Make = Callable[[pl.DataFrame], str]  # a cell out of lines


class Group(NamedTuple):
    """Lines that are one row of a table."""

    key: Mapping[str, str]  # what they have in common, by column
    lines: pl.DataFrame


def _grouped(
    lines: pl.DataFrame,
    by: Sequence[str],
    shown: Mapping[str, str],
    columns: Mapping[str, Make],
) -> str:
    """A table with a row for each group of lines.

    Args:
        lines: of results.
        by: columns whose values tell the groups apart.
        shown: titles of the first columns, and which of `by` they show.
        columns: titles of the other columns, and what makes their cells.
    """

    def of_key(title: str, name: str) -> Column[Group]:
        return Column(title, lambda group: group.key[name])

    def of_lines(title: str, make: Make) -> Column[Group]:
        return Column(title, lambda group: make(group.lines))

    rows = [Group(dict(zip(by, key)), some) for key, some in groups(lines, *by)]
    every = [of_key(title, name) for title, name in shown.items()]
    every += [of_lines(title, make) for title, make in columns.items()]
    return markdown(every, rows)


def _cells(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of rows whose cells are at hand."""

    def at(index: int) -> Column[Sequence[object]]:
        return Column(titles[index], lambda row: row[index])

    return markdown([at(index) for index in range(len(titles))], rows)


# what makes cells


def _those(lines: pl.DataFrame, where: Row | None) -> pl.DataFrame:
    for name, value in (where or {}).items():
        lines = lines.filter(pl.col(name).eq_missing(pl.lit(value)))
    return lines


def _mean(measure: str, decimals: int, where: Row | None = None) -> Make:
    """Makes cells of a mean over runs, of which each is the mean of its lines."""

    def cell(lines: pl.DataFrame) -> str:
        """The mean over runs with its interval, and how many runs have a value."""
        lines = _those(lines, where)
        values = values_of(lines, measure)
        score = estimate(values[:, None]) if len(values) else None
        if score is None:
            return ""
        text = _between(score.mean, score.interval, decimals)
        return text + _without_a_value(len(values), lines)

    return cell


def _every(
    measure: str, decimals: int, where: Row | None = None, alone: bool = False
) -> Make:
    """Makes cells of the interquartile mean over lines, and, unless that stands alone,
    each seed; where seeds are missing there is no mean, and a dash for each of them.
    """

    def cell(lines: pl.DataFrame) -> str:
        """The interquartile mean, and the values of all seeds in brackets."""
        some = _those(lines, where)
        if not has(some, measure):
            return ""
        known = some.drop_nulls(measure)
        middle = f"{stats.trim_mean(known[measure], 0.25):.{decimals}f}"
        if alone or known["seed"][0] is None:
            return middle
        value = dict(zip(known["seed"], known[measure]))
        trained = lines.filter(pl.col("environment") == known["environment"][0])
        seeds = trained["seed"].unique(maintain_order=True)
        texts = [f"{value[s]:.{decimals}f}" if s in value else "-" for s in seeds]
        if "-" in texts:
            return " ".join(texts)
        return f"{middle} ({' '.join(texts)})"

    return cell


def _without_a_value(count: int, lines: pl.DataFrame) -> str:
    """Says so where some runs have none, as those that found out nothing have nothing
    to lose.
    """
    runs = lines.select(table.RUN).n_unique()
    return "" if count == runs else f" ({count} of {runs} seeds)"


def _between(value: float, edges: tuple[float, float] | None, decimals: int) -> str:
    """With its interval, where there is one."""
    text = f"{value:.{decimals}f}"
    if edges is None:
        return text
    low, high = edges
    return f"{text} [{low:.{decimals}f}, {high:.{decimals}f}]"


# the kinds of table


def seeds(files: Sequence[Path], **wanted: str) -> str:
    """By policy and condition, the interquartile mean and every seed, by `measure`
    where one is given.
    """
    measure = wanted.pop("measure", None)
    lines = of_one_task(once(lines_on_file(files, wanted)))
    measure = measure or accuracy_or_return(lines)
    decimals = decimals_of(lines, measure)
    columns: dict[str, Make] = {}
    if measure == "return":
        clean = {"condition": CLEAN_KEY}
        for which, name in (
            ("last", "training_return"),
            ("best", "best_training_return"),
        ):
            columns[f"{which} training return"] = _every(name, decimals, clean)
    for condition in lines["condition"].unique(maintain_order=True):
        columns[condition] = _every(measure, decimals, {"condition": condition})
    return _grouped(lines, ["name"], {"policy": "name"}, columns)


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
        environment: _every("return", 0, {"environment": environment})
        for environment in environments
    }
    return _grouped(lines, ["policy", "name"], {"policy": "name"}, columns)


class TaskComparison(NamedTuple):
    """A row of a table of comparisons."""

    task: str
    comparison: Comparison
    decimals: int


def _comparisons(rows: Sequence[TaskComparison], planned: bool) -> str:
    """A table of comparisons.

    Args:
        rows: all planned, or all exploratory.
        planned: whether they are; then they have a corrected p and a result in words.
    """

    def difference(row: TaskComparison) -> str:
        of = row.comparison.difference
        return _between(of.mean, of.interval, row.decimals)

    def better(row: TaskComparison) -> str:
        of = row.comparison.difference
        return _between(of.better, of.better_interval, 2)

    def p(value: float | None) -> str:
        return "" if value is None else p_value(value)

    columns: list[Column[TaskComparison]] = [
        Column("task", lambda row: row.task),
        Column("policy", lambda row: row.comparison.policy),
    ]
    if planned:
        columns.append(Column("result", lambda row: row.comparison.verdict))
    columns += [
        Column("other", lambda row: row.comparison.other),
        Column("difference", difference),
        Column("p", lambda row: p(row.comparison.difference.p)),
    ]
    if planned:
        columns.append(Column("p (Holm)", lambda row: p(row.comparison.p)))
    columns += [
        Column("p (rank)", lambda row: p(row.comparison.difference.rank_p)),
        Column("probability of improvement", better),
    ]
    return markdown(columns, rows)


class TaskValues(NamedTuple):
    """The runs of a task that are compared."""

    name: str
    values: Mapping[str, np.ndarray]
    """By policy, as it is named in the files."""
    shown: Mapping[str, str]
    """By policy, its name in a table."""
    measure: str
    decimals: int

    def compared(self, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
        """Pairs of policies; those stay out of which one has a single run."""
        return [
            Comparison(
                self.shown[one],
                self.shown[other],
                self.measure,
                statistics.difference(self.values[one], self.values[other]),
            )
            for one, other in pairs
            if one in self.values and other in self.values
        ]

    def runs(self, pair: tuple[str, str]) -> list[int]:
        """Of the policies of a pair, how many runs there are."""
        return [len(self.values[policy]) for policy in pair if policy in self.values]


def comparisons(files: Sequence[Path], **wanted: str) -> str:
    """The planned contrasts of the matrices, in the clean task or another condition, by
    `measure` where one is given; where the condition is "perturbed", suite by suite, by
    the mean over all conditions that perturb. Holm's correction is over the contrasts
    of a task. All other pairs that have several seeds follow, uncorrected. A sentence
    says which differences the contrasts can see.
    """
    contrasts = [pair for file in files for pair in planned_contrasts(file)]
    planned = []
    exploratory = []
    runs: list[tuple[int, int, int]] = []
    for task in _task_values(files, wanted):
        of_task = corrected(task.compared(contrasts))
        planned += [TaskComparison(task.name, one, task.decimals) for one in of_task]
        counts = [task.runs(pair) for pair in contrasts]
        known = [count for count in counts if len(count) == 2]
        runs += [(one, other, len(known)) for one, other in known]
        others = [
            pair
            for pair in itertools.combinations(task.values, 2)
            if pair not in contrasts and pair[::-1] not in contrasts
        ]
        exploratory += [
            TaskComparison(task.name, one, task.decimals)
            for one in task.compared(others)
        ]
    parts = []
    if planned:
        parts += [f"Planned contrasts. {power.sentence(runs)}"]
        parts += [_comparisons(planned, planned=True)]
    if exploratory:
        parts += ["Exploratory: no contrasts of the matrix, p uncorrected."]
        parts += [_comparisons(exploratory, planned=False)]
    if not parts:
        raise UsageError("no two policies have several seeds here")
    return "\n\n".join(parts)


def _task_values(
    files: Sequence[Path], wanted: Mapping[str, str]
) -> Iterator[TaskValues]:
    """Of each task, the values of the policies that have several runs. Those that
    diverged count as the worst.
    """
    filters = dict(wanted)
    given = filters.pop("measure", None)
    condition = filters.get("condition")
    lines = lines_on_file(files, {"condition": CLEAN_KEY} | filters)
    apart = list(table.TASK)
    if condition == PERTURBED:
        apart.append("suite")
    else:
        once(lines)
    diverged = diverged_runs(files, filters)
    lines = lines.filter(pl.col("seed").is_not_null())
    for task, of_task in groups(lines, *apart):
        measure = given or accuracy_or_return(of_task)
        values = {}
        shown = {}
        broke = {}
        for (policy,), of_policy in groups(of_task, "policy"):
            sample = values_of(of_policy, measure)
            worst = diverged.get((*task[: len(table.TASK)], policy), 0)
            if not len(sample) or len(sample) + worst < 2:
                continue
            values[policy] = sample
            broke[policy] = worst
            shown[policy] = f"`{policy}`" + _without_a_value(len(sample), of_policy)
            if worst:
                shown[policy] += f" ({worst} more diverged)"
        words = [condition, given.replace("_", " ") if given else None]
        yield TaskValues(
            name=task_name([*task, *words]),
            values=with_worst(values, broke),
            shown=shown,
            measure=measure,
            decimals=decimals_of(of_task, measure),
        )


def overall(files: Sequence[Path], reference: str = "mlp-sized", **wanted: str) -> str:
    """Each two policies over all tasks together: their returns in the clean task, above
    that of random actions, relative to the mean return of a reference.

    Args:
        files: tables of results.
        reference: the policy that returns are relative to.
        wanted: `condition` and `measure` as in `comparisons`; other measures than the
            return are compared as they are.
    """
    measure = wanted.pop("measure", "return")
    lines = once(lines_on_file(files, {"condition": CLEAN_KEY} | wanted))
    lines = lines.filter(pl.col("seed").is_not_null())
    values: dict[str, dict[str, np.ndarray]] = {}
    for (*task, policy), some in groups(lines, *table.TASK, "policy"):
        sample = values_of(some, measure)
        if len(sample):
            values.setdefault(policy, {})[task_name(task)] = sample
    if measure != "return":
        tasks = {task for by_task in values.values() for task in by_task}
        unit = dict.fromkeys(tasks, 1.0)
    elif reference in values:
        unit = _units(lines, values[reference], reference)
    else:
        raise UsageError(
            f"no runs of the reference {reference!r}: add reference=POLICY"
        )
    names = {}
    for policy, by_task in values.items():
        count = sum(map(len, by_task.values()))
        of_policy = lines.filter(pl.col("policy") == policy)
        names[policy] = f"`{policy}`" + _without_a_value(count, of_policy)
    order = [task_name(task) for task, _ in groups(lines, *table.TASK)]
    compared = []
    for one, other in itertools.combinations(values, 2):
        both = values[one].keys() & values[other].keys() & unit.keys()
        shared = {task: unit[task] for task in order if task in both}
        if len(shared) > 1:
            pooled = statistics.pooled(values[one], values[other], shared)
            compared.append(Comparison(names[one], names[other], measure, pooled))
    rows = [TaskComparison("all", comparison, 2) for comparison in compared]
    text = (
        "Exploratory: no contrasts of the matrix, p uncorrected. The units are tasks, "
        "so the intervals count the choice of tasks."
    )
    return f"{text}\n\n{_comparisons(rows, planned=False)}"


def _units(
    lines: pl.DataFrame, values: Mapping[str, np.ndarray], reference: str
) -> dict[str, float]:
    """By task, the mean return of a reference above that of random actions."""
    units = {}
    for task, of_task in groups(lines, *table.TASK):
        name = task_name(task)
        if name not in values:
            continue
        units[name] = float(values[name].mean() - of_task["random_return"].mean())
        if units[name] <= 0:
            raise UsageError(
                f"{name}: {reference!r} earns no more than random actions there"
            )
    return units


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
        condition: _mean("behind", 2, {"condition": condition})
        for condition in best["condition"]
    }
    return _grouped(lines, ["name"], {"policy": "name"}, columns)


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
        "all": _mean("retention", 2),
        "train": _mean("retention", 2, {"split": "train"}),
        "held out": _mean("retention", 2, {"split": "held-out"}),
        f"held out, severity up to {MILD}": _mean("retention", 2, mild),
        "interquartile mean": _every("retention", 2, mild, alone=True),
        "return": _mean("return", 0),
    }
    shown = {"policy": "name", "suite": "suite"}
    return _grouped(lines, ["suite", "name"], shown, columns)


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
    columns = {title: _mean(name, 2) for title, name in ADAPTATION.items()}
    shown = {"task": "task", "condition": "condition", "policy": "name"}
    return _grouped(lines, ["task", "condition", "name"], shown, columns)


def contexts(files: Sequence[Path], **wanted: str) -> str:
    """By policy, in contexts held out of training: how many parameters are trained, the
    settled pace, the same with plasticity off where there is plasticity, and the
    changes made good.
    """
    lines = lines_on_file(files, {"split": "held-out"} | wanted)
    lines = of_one_task(once(lines))

    def parameters(some: pl.DataFrame) -> str:
        count = some["parameters"][0]
        return "" if count is None else f"{count:,.0f}"

    columns: dict[str, Make] = {
        "trainable parameters": parameters,
        "pace": _mean("settled_pace", 2, {"lesion": None}),
        "plasticity off": _mean("settled_pace", 2, {"lesion": "off"}),
        "changes made good": _mean("regained", 2, {"lesion": None}),
    }
    return _grouped(lines, ["name"], {"policy": "name"}, columns)


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
    lines = lines.with_columns(above=pl.col("return") - pl.col("random_return").mean())
    one = pl.col("above").filter(pl.col("policy") == to).mean().over("condition")
    lines = lines.with_columns(share=pl.col("above") / one)
    conditions = lines["condition"].unique(maintain_order=True)
    columns = {name: _mean("share", 2, {"condition": name}) for name in conditions}
    return _grouped(lines, ["name"], {"policy": "name"}, columns)


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
    return _grouped(named, ["name"], {"policy": "name"}, columns)


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
            rows.append([file.stem, name, runs, " ".join(every)])
    return _cells(["results", "policy", "runs", "revisions"], rows)


def _cases(files: Sequence[Path], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of a benchmark: columns of the case, and all that was measured in it."""
    rows = matching(table.read(files), wanted)
    if rows.is_empty():
        raise UsageError(f"no rows with {dict(wanted)} in {', '.join(map(str, files))}")
    cases = rows.pivot("measure", index=CASE, values="value", maintain_order=True)
    return cases.to_dicts()


def speed(files: Sequence[Path], **wanted: str) -> str:
    """Environment steps per second of training, by policy and size, and where the time
    goes.
    """
    cases = _cases(files, wanted)

    def column(title: str, form: str) -> Column[Row]:
        return Column(title, lambda case: form.format(**case))

    columns = [
        column("policy", "`{policy}`"),
        column("settings", "{setting}"),
        column("steps a second", "{steps_per_second:,.0f}"),
        column("times SB3's", "{relative_to_sb3:.2f}"),
    ]
    if "share_of_physics_limit" in cases[0]:
        limit = column("of the physics limit", "{share_of_physics_limit:.2f}")
        columns.append(limit)
    for name in cases[0]:
        if name.endswith("_us"):
            title = f"{name.removesuffix('_us')}, µs"
            columns.append(column(title, f"{{{name}:.1f}}"))
    columns.append(column("parameters of the actor", "{actor_parameters:,.0f}"))
    return markdown(columns, cases)


def actions(files: Sequence[Path], **wanted: str) -> str:
    """Microseconds of one action, beside ONNX Runtime, by policy."""

    def column(title: str, form: str) -> Column[Row]:
        return Column(title, lambda case: form.format(**case))

    columns = [
        column("task", "{environment}"),
        column("policy", "`{policy}`"),
        column("`act`, µs", "{act_microseconds:.1f}"),
        column("ONNX Runtime, µs", "{onnx_microseconds:.1f}"),
        column("`act` relative to ONNX Runtime", "{act_relative_to_onnx:.2f}"),
    ]
    return markdown(columns, _cases(files, wanted))


def costs(files: Sequence[Path], **wanted: str) -> str:
    """Accumulates + multiply-accumulates per environment step, and memory."""

    def operations(part: str) -> Column[Row]:
        def cell(case: Row) -> str:
            return " + ".join(number(case[f"{part}_{kind}"]) for kind in KINDS)

        return Column(part, cell)

    columns: list[Column[Row]] = [
        Column("task", lambda case: case["environment"]),
        Column("policy", lambda case: f"`{case['policy']}`"),
        *map(operations, PARTS),
        Column("energy, nJ", lambda case: number(case["energy_nJ"])),
        Column("weights, kB", lambda case: number(case["parameter_bytes"] / 1000)),
        Column("state, kB", lambda case: number(case["state_bytes"] / 1000)),
        Column("silent", lambda case: percent(case["activation_sparsity"])),
    ]
    return markdown(columns, _cases(files, {"setting": ""} | wanted))


def answers(files: Sequence[Path], **wanted: str) -> str:
    """Shares of right answers, of `benchmarks.memory_tasks`, by episode, policy and
    question.
    """
    lines = once(lines_on_file(files, wanted))
    questions = lines["condition"].unique(maintain_order=True)
    columns = {
        question: _every("accuracy", 2, {"condition": question}, question != "all")
        for question in questions
    }
    shown = {"episodes": "setting", "policy": "name"}
    return _grouped(lines, ["setting", "name"], shown, columns)


def simulated(files: Sequence[Path], measures: str = "", **wanted: str) -> str:
    """Shares of simulations of `benchmarks.coverage`, by population and runs.

    Args:
        files: tables of results.
        measures: how the names of those that are shown begin.
        wanted: what rows have to have.
    """
    cases = _cases(files, wanted)
    measured = [name for name in cases[0] if name not in CASE]
    shown = [name for name in measured if name.startswith(measures)]
    known = [
        case for case in cases if any(case.get(name) is not None for name in shown)
    ]

    def share(name: str) -> Column[Row]:
        def cell(case: Row) -> str:
            value = case.get(name)
            return "" if value is None else f"{value:.3f}"

        return Column(name.removeprefix(measures).lstrip(", ") or name, cell)

    columns: list[Column[Row]] = [
        Column("population", lambda case: case["environment"]),
        Column("runs", lambda case: case["condition"]),
        *map(share, shown),
    ]
    return markdown(columns, known)


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
        actions,
        costs,
        answers,
        simulated,
    )
}
