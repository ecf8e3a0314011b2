"""Markdown tables out of results on file; each function is a kind of table that a page can ask for.

All take the files and what their rows are to have: `env`, `setting` and so on. Statistics are those
of `spikepropamine.statistics`, of one value for each training seed.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from spikepropamine import statistics, table
from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.evaluation.judge.cost import KINDS, PARTS
from spikepropamine.words import number, p_value, percent

MILD = 0.5  # severity up to which a condition is no extreme one
COMPARED = ("result", "other", "difference", "p", "p (Holm)", "p (rank)",
            "probability of improvement")  # fmt: skip
CASE = [*table.RUN, "condition", "at"]  # what tells the cases of a benchmark apart
Cell = Callable[[pl.DataFrame], str]


def seeds(files: Sequence[Path], **where: str) -> str:
    """By policy and condition, the interquartile mean and every seed, by `measure` where one is
    given.
    """
    asked = where.pop("measure", None)
    lines = table.of_one_task(table.once(table.lines_where(files, where)))
    measure = asked or table.measure_of(lines)
    digits, columns = digits_of(lines, measure), {}
    for which in ("last", "best") if measure == "return" else ():
        name = "training_return" if which == "last" else "best_training_return"
        columns[f"{which} training return"] = every(
            name, digits, {"condition": CLEAN_KEY}
        )
    for condition in lines["condition"].unique(maintain_order=True):
        columns[condition] = every(measure, digits, {"condition": condition})
    return grouped(lines, {"policy": "name"}, columns)


def returns(files: Sequence[Path], **where: str) -> str:
    """By policy and environment, the interquartile mean and every seed; of plastic policies also
    with their plasticity off.
    """
    lines = table.once(table.lines_where(files, where))
    for _, of in table.groups(lines, "environment"):
        table.of_one_task(of)
    clean = pl.col("condition") == CLEAN_KEY
    switched = pl.col("condition") == "plasticity-off"
    off = pl.when(~clean).then(pl.lit("the same, plasticity off"))
    lines = lines.filter(clean | switched).with_columns(name=off.otherwise("name"))
    envs = lines["environment"].unique(maintain_order=True)
    columns = {env: every("return", 0, {"environment": env}) for env in envs}
    return grouped(lines, {"": "policy", "policy": "name"}, columns)


def comparisons(files: Sequence[Path], **where: str) -> str:
    """Each two policies that have several seeds, in the clean task or another condition, by
    `measure` where one is given; where the condition is "perturbed", suite by suite, by the mean
    over all conditions that perturb. Holm's correction is over the comparisons of a task.
    """
    asked = where.pop("measure", None)
    lines = table.lines_where(files, {"condition": CLEAN_KEY} | where)
    together = where.get("condition") == table.PERTURBED
    if not together:
        table.once(lines)
    rows: list[Sequence[object]] = []
    what = [where.get("condition"), asked and asked.replace("_", " ")]
    lines = lines.filter(pl.col("seed").is_not_null())
    for task, of in table.groups(lines, *table.TASK, *["suite"] * together):
        measure = asked or table.measure_of(of)
        values, names = {}, {}
        for (policy,), some in table.groups(of, "policy"):
            if len(found := table.values_of(some, measure)) > 1:
                values[policy] = found
                names[policy] = f"`{policy}`" + _without_a_value(found, some)
        tests = {
            (names[x], names[y]): statistics.difference(values[x], values[y])
            for x, y in itertools.combinations(values, 2)
        }
        rows += _compared(
            table.task_name([*task, *what]), tests, digits_of(of, measure)
        )
    return _markdown(["task", "policy", *COMPARED], rows)


def overall(files: Sequence[Path], reference: str = "mlp-sized", **where: str) -> str:
    """Each two policies over all tasks together: their returns in the clean task, above that of
    random actions, relative to the mean return of a reference; `condition` and `measure` as in
    `comparisons`, other measures as they are.
    """
    measure = where.pop("measure", "return")
    lines = table.once(table.lines_where(files, {"condition": CLEAN_KEY} | where))
    lines = lines.filter(pl.col("seed").is_not_null())
    values: dict[str, dict[str, np.ndarray]] = {}
    for key, some in table.groups(lines, *table.TASK, "policy"):
        if len(found := table.values_of(some, measure)) > 1:
            values.setdefault(key[2], {})[table.task_name(key[:2])] = found
    if measure == "return" and reference not in values:
        raise UsageError(
            f"no runs of the reference {reference!r}: add reference=POLICY"
        )
    unit = {}
    for task, of in table.groups(lines, *table.TASK):
        name = table.task_name(task)
        if measure != "return":
            unit[name] = 1.0
        elif name in values[reference]:
            unit[name] = values[reference][name].mean() - of["random_return"].mean()
            if unit[name] <= 0:
                raise UsageError(
                    f"{name}: {reference!r} earns no more than random actions there"
                )
    tests, names = {}, {}
    for policy, by_task in values.items():
        known = np.concatenate(list(by_task.values()))
        own = lines.filter(pl.col("policy") == policy)
        names[policy] = f"`{policy}`" + _without_a_value(known, own)
    for one, other in itertools.combinations(values, 2):
        tasks = values[one].keys() & values[other].keys()
        shared = {name: size for name, size in unit.items() if name in tasks}
        if len(shared) > 1:
            pooled = statistics.pooled(values[one], values[other], shared)
            tests[names[one], names[other]] = pooled
    return _markdown(["tasks", "policy", *COMPARED], _compared("all", tests, 2))


def behind_observer(files: Sequence[Path], **where: str) -> str:
    """By policy and condition, how much less late accuracy than the ideal observer's, with its
    interval over training seeds.
    """
    lines = table.once(table.of_one_task(table.lines_where(files, where)))
    best = lines.filter(pl.col("seed").is_null()).select(
        "condition", best="late_accuracy"
    )
    lines = lines.filter(pl.col("seed").is_not_null())
    lines = lines.join(best, on="condition", maintain_order="left")
    lines = lines.with_columns(behind=pl.col("best") - pl.col("late_accuracy"))
    columns = {c: mean("behind", 2, {"condition": c}) for c in best["condition"]}
    return grouped(lines, {"policy": "name"}, columns)


def retention(files: Sequence[Path], **where: str) -> str:
    """By policy, suite and lesion: mean retention over perturbed conditions with its interval, of
    those that training may use, of those held out, and of the mild ones among these, with its
    interquartile mean over conditions and runs; and the mean return under all of them.
    """
    lines = table.of_one_task(table.lines_where(files, where))
    lines = lines.filter(~pl.col("condition").str.starts_with(CLEAN_KEY))
    lesion = pl.when(pl.col("lesion").is_not_null()).then(
        pl.format(", plasticity {}", "lesion")
    )
    lines = lines.with_columns(name=pl.concat_str("name", lesion.otherwise(pl.lit(""))))
    lines = lines.with_columns(mild=pl.col("severity") <= MILD)
    mild = {"split": "held-out", "mild": True}
    columns = {
        "all": mean("retention", 2),
        "train": mean("retention", 2, {"split": "train"}),
        "held out": mean("retention", 2, {"split": "held-out"}),
        f"held out, severity up to {MILD}": mean("retention", 2, mild),
        "interquartile mean": every("retention", 2, mild, alone=True),
        "return": mean("return", 0),
    }
    return grouped(lines, {"": "suite", "policy": "name", "suite": "suite"}, columns)


def adaptation(files: Sequence[Path], **where: str) -> str:
    """By task, condition and policy: the pace, relative to random actions (0) and to the teacher
    that is told (1), that is settled on after the first context of an episode and after later ones,
    the share of changes after which the rate is back, and what plasticity adds to the reward per
    step of the opening, where there is plasticity.
    """
    named = ("settled_pace", "later_settled_pace", "regained", "opening_over_off")
    lines = table.once(table.lines_where(files, where))
    known = [name for name in named if name in lines.columns]
    if not known:
        raise KeyError(named[0])
    there = pl.any_horizontal(pl.col(known).is_not_null())
    lines = lines.filter(there.any().over(*table.TASK, "condition", "name"))
    lines = lines.with_columns(
        task=pl.concat_str(table.TASK, separator=" ", ignore_nulls=True)
    )
    titles = ("settled pace", "after a change", "regained", "opening")
    columns = {title: mean(name, 2) for title, name in zip(titles, named)}
    return grouped(
        lines, {"task": "task", "condition": "condition", "policy": "name"}, columns
    )


def contexts(files: Sequence[Path], **where: str) -> str:
    """By policy, in contexts held out of training: how many parameters are trained, the settled
    pace, the same with plasticity off where there is plasticity, and the changes made good.
    """
    lines = table.of_one_task(
        table.once(table.lines_where(files, {"split": "held-out"} | where))
    )
    off = {"lesion": "off"}
    columns: dict[str, Cell] = {
        "trainable parameters": lambda some: (
            "" if (count := some["parameters"][0]) is None else f"{count:,.0f}"
        ),
        "pace": mean("settled_pace", 2, {"lesion": None}),
        "plasticity off": mean("settled_pace", 2, off),
        "changes made good": mean("regained", 2, {"lesion": None}),
    }
    return grouped(lines, {"policy": "name"}, columns)


def relative(files: Sequence[Path], to: str, **where: str) -> str:
    """By policy and condition, the return above that of random actions, where the mean of policy
    `to` is 1.
    """
    lines = table.of_one_task(table.once(table.lines_where(files, where)))
    lines = lines.filter(pl.col("lesion").is_null(), pl.col("seed").is_not_null())
    check_known("policy", to, lines["policy"].unique())
    lines = lines.with_columns(above=pl.col("return") - pl.col("random_return").mean())
    one = pl.col("above").filter(pl.col("policy") == to).mean().over("condition")
    lines = lines.with_columns(share=pl.col("above") / one)
    conditions = lines["condition"].unique(maintain_order=True)
    columns = {c: mean("share", 2, {"condition": c}) for c in conditions}
    return grouped(lines, {"policy": "name"}, columns)


def reached(files: Sequence[Path], level: str, **where: str) -> str:
    """By policy, the steps after which the return in training first is as high as `level`: of each
    seed that there is, of the points on file, a dash where it never is.
    """
    rows = table.where(table.read(files), measure="training_return")
    rows = table.matching(rows, where).filter(pl.col("at").is_not_null())
    table.of_one_task(rows)
    steps = pl.col("at").filter(pl.col("value") >= float(level)).min()
    found, seeds = [], rows["seed"].unique(maintain_order=True)
    for (policy,), some in table.groups(rows, "policy"):
        firsts = {seed: "-" if at is None else f"{at:,}"
                  for seed, at in some.group_by("seed").agg(steps).rows()}  # fmt: skip
        found.append([f"`{policy}`", *(firsts.get(seed, "") for seed in seeds)])
    return _markdown(["policy", *(f"seed {seed}" for seed in seeds)], found)


def revisions(files: Sequence[Path], **where: str) -> str:
    """By file and policy, how many runs there are, and the revisions of the code that trained them;
    "dirty" are those beside which something was not committed.
    """
    rows = []
    for file in files:
        lines = table.lines_where([file], where).filter(pl.col("seed").is_not_null())
        for (name,), some in table.groups(lines, "name"):
            found = " ".join(some["revision"].unique(maintain_order=True).drop_nulls())
            rows.append([file.stem, name, some.select(table.RUN).n_unique(), found])
    return _markdown(["results", "policy", "runs", "revisions"], rows)


def speed(files: Sequence[Path], **where: str) -> str:
    """Environment steps per second of training, by policy and size, and where the time goes."""
    cases = _cases(files, where)
    parts = [name for name in cases[0] if name.endswith("_us")]
    titles = {"policy": "`{policy}`", "settings": "{setting}",
              "steps a second": "{steps_per_second:,.0f}",
              "times SB3's": "{relative_to_sb3:.2f}",
              "of the physics limit": "{share_of_physics_limit:.2f}"}  # fmt: skip
    titles |= {f"{part.removesuffix('_us')}, µs": f"{{{part}:.1f}}" for part in parts}
    titles |= {"parameters of the actor": "{actor_parameters:,.0f}"}
    return _markdown(
        titles, [[form.format(**x) for form in titles.values()] for x in cases]
    )


def costs(files: Sequence[Path], **where: str) -> str:
    """Operations per environment step, accumulates + multiply-accumulates, and memory."""
    titles = [
        "task",
        "policy",
        *PARTS,
        "energy, nJ",
        "weights, kB",
        "state, kB",
        "silent",
    ]
    rows = []
    for case in _cases(files, {"setting": ""} | where):
        counts = [
            " + ".join(number(case[f"{part}_{kind}"]) for kind in KINDS)
            for part in PARTS
        ]
        thousands = [
            case["energy_nJ"],
            case["parameter_bytes"] / 1000,
            case["state_bytes"] / 1000,
        ]
        silent = percent(case["activation_sparsity"])
        policy = f"`{case['policy']}`"
        rows.append(
            [case["environment"], policy, *counts, *map(number, thousands), silent]
        )
    return _markdown(titles, rows)


def answers(files: Sequence[Path], **where: str) -> str:
    """Shares of right answers, of `benchmarks.memory_tasks`, by episode, policy and question."""
    lines = table.once(table.lines_where(files, where))
    questions = lines["condition"].unique(maintain_order=True)
    columns = {q: every("accuracy", 2, {"condition": q}, q != "all") for q in questions}
    return grouped(lines, {"episodes": "setting", "policy": "name"}, columns)


def simulated(files: Sequence[Path], **where: str) -> str:
    """Shares of simulations, of `benchmarks.coverage`, by population and seeds a side."""
    cases = _cases(files, where)
    shares = list(cases[0])[len(CASE) :]
    rows = [
        [x["environment"], x["at"], *(f"{x[s]:.3f}" for s in shares)] for x in cases
    ]
    return _markdown(["population", "seeds", *shares], rows)


TABLES = {
    kind.__name__: kind
    for kind in (seeds, returns, comparisons, overall, behind_observer, retention,
                 adaptation, contexts, relative, reached, revisions, speed, costs,
                 answers, simulated)
}  # fmt: skip


def grouped(
    lines: pl.DataFrame, by: Mapping[str, str], columns: Mapping[str, Cell]
) -> str:
    """A row for each group of lines. `by` has titles of the columns that tell the groups apart, and
    what these are; those without a title are not shown. `columns` has titles, and what makes the
    cell.
    """
    shown, apart, rows = list(filter(None, by)), list(dict.fromkeys(by.values())), []
    for key, some in table.groups(lines, *apart):
        told = dict(zip(apart, key))
        rows.append(
            [*(told[by[t]] for t in shown), *(make(some) for make in columns.values())]
        )
    return _markdown([*shown, *columns], rows)


def mean(measure: str, digits: int, where: Mapping[str, object] | None = None) -> Cell:
    """Makes cells of a mean over runs, each the mean of its lines, with its interval."""

    def cell(lines: pl.DataFrame) -> str:
        lines = _those(lines, where)
        values = table.values_of(lines, measure)
        if not len(values):
            return ""
        text = _between(values.mean(), statistics.interval(values), digits)
        return text + _without_a_value(values, lines)

    return cell


def every(
    measure: str,
    digits: int,
    where: Mapping[str, object] | None = None,
    alone: bool = False,
) -> Cell:
    """Makes cells of the interquartile mean over lines, and, unless that stands alone, each seed;
    where seeds are missing there is no mean, and a dash for each of them.
    """

    def cell(lines: pl.DataFrame) -> str:
        some = _those(lines, where)
        if measure not in some.columns or not some[measure].count():
            return ""
        known = some.filter(pl.col(measure).is_not_null())
        middle = f"{stats.trim_mean(known[measure], 0.25):.{digits}f}"
        if alone or known["seed"][0] is None:
            return middle
        value = dict(zip(known["seed"], known[measure]))
        trained = lines.filter(pl.col("environment") == known["environment"][0])["seed"]
        each = [
            f"{value[seed]:.{digits}f}" if seed in value else "-"
            for seed in trained.unique(maintain_order=True)
        ]
        return " ".join(each) if "-" in each else f"{middle} ({' '.join(each)})"

    return cell


def digits_of(lines: pl.DataFrame, measure: str) -> int:
    """Decimals to show of a measure."""
    large = measure in lines.columns and (lines[measure].abs() > 10).any()
    return 0 if large else 2


def _those(lines: pl.DataFrame, where: Mapping[str, object] | None) -> pl.DataFrame:
    for name, value in (where or {}).items():
        lines = lines.filter(pl.col(name).eq_missing(pl.lit(value)))
    return lines


def _compared(
    task: str, tests: Mapping[tuple[str, str], statistics.Difference], digits: int
) -> list[Sequence[object]]:
    corrected = statistics.holm(
        [statistics.decisive(found) for found in tests.values()]
    )
    return [
        [task, one, statistics.verdict(x, p), other, _between(x.mean, x.interval, digits),
         *("" if y is None else p_value(y) for y in (x.p, p, x.rank_p)), f"{x.better:.2f}"]
        for ((one, other), x), p in zip(tests.items(), corrected)
    ]  # fmt: skip


def _cases(files: Sequence[Path], where: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of a benchmark: columns of the case, and all that was measured in it."""
    rows = table.matching(table.read(files), where)
    if rows.is_empty():
        raise UsageError(f"no rows with {dict(where)} in {', '.join(map(str, files))}")
    return rows.pivot(
        "measure", index=CASE, values="value", maintain_order=True
    ).to_dicts()


def _without_a_value(values: Sequence[float] | np.ndarray, lines: pl.DataFrame) -> str:
    """Says so where some runs have none, as those that found out nothing have nothing to lose."""
    runs = lines.select(table.RUN).n_unique()
    return "" if len(values) == runs else f" ({len(values)} of {runs} seeds)"


def _between(value: float, edges: tuple[float, float] | None, digits: int) -> str:
    """With its interval, where there is one."""
    text = f"{value:.{digits}f}"
    return (
        text
        if edges is None
        else f"{text} [{', '.join(f'{x:.{digits}f}' for x in edges)}]"
    )


def _markdown(titles: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    head = [*titles]
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
