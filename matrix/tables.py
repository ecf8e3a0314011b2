"""Markdown tables out of results on file; each function is a kind of table that a page can ask for.

All take the files and what their rows are to have: `env`, `setting` and so on. Statistics are those
of `evaluation.judge`, over training seeds, of one value for each: that of a ratio, as of retention,
is the run's own, where an evaluation of several runs has the ratio of their mean returns.
"""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spikepropamine.common import UsageError, unknown
from spikepropamine.evaluation.judge.cost import PARTS
from spikepropamine.evaluation.judge.statistics import (
    DIFFERENCE_OF_SHARES,
    SHARE,
    UNBOUNDED,
    Units,
    difference,
    probability_of_improvement,
)
from spikepropamine.evaluation.schema import CLEAN_KEY, Estimate, Score
from spikepropamine.matrix.rows import OBSERVER, Row, read_rows
from spikepropamine.reading import read_text
from spikepropamine.report.words import number, percent

AHEAD, BEHIND, EVEN = "ahead of", "behind", "cannot be told from"
UNKNOWN = "has no interval against"
PLASTIC = ("dp-", "ndp-")
PERTURBED = "perturbed"
"""Stands for all conditions of a suite that perturb."""
MILD = 0.5
"""Severity up to which a condition is no extreme one."""


def rows_where(files: Sequence[Path], **where: str) -> list[Row]:
    """The rows of the files that have these values.

    Raises:
        UsageError: there are none, or rows have no such value.
    """
    for name in where:
        if name not in Row.__dataclass_fields__:
            raise UsageError(unknown("column", name, Row.__dataclass_fields__))
    rows = [
        row
        for file in files
        for row in read_rows(file)
        if all(str(getattr(row, name)) == value for name, value in where.items())
    ]
    if not rows:
        raise UsageError(f"no rows with {where} in {', '.join(map(str, files))}")
    _check_alike(rows)
    return rows


def _check_alike(rows: Sequence[Row]) -> None:
    """Raises UsageError where a run counts twice, or runs of a policy were made otherwise."""
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        what = row.env, row.setting, row.policy, row.suite, row.condition, row.lesion
        other = first.setdefault(what, row)
        name = " ".join(filter(None, what))
        if (row.steps, row.episodes) != (other.steps, other.episodes):
            raise UsageError(
                f"{name}: seed {other.seed} has {other.steps} steps and {other.episodes} episodes, "
                f"seed {row.seed} {row.steps} and {row.episodes}; run the matrix for all its seeds"
            )
        if first.setdefault((*what, row.seed), row) is not row:
            raise UsageError(f"{name}, seed {row.seed}: it is there twice, of two evaluations")


def measure_of(rows: Sequence[Row]) -> tuple[str, int]:
    """What to show of them, and with how many decimals: accuracies where the task has trials."""
    if any(row.late_accuracy is not None for row in rows):
        return "late_accuracy", 2
    return "ret", _digits(rows, "ret")


def _digits(rows: Sequence[Row], measure: str) -> int:
    return 0 if any(abs(getattr(row, measure) or 0) > 10 for row in rows) else 2


def score_of(values: Sequence[float], bounds: tuple[float, float] = UNBOUNDED) -> Score:
    """Of one value for each training seed, and the bounds of what it can be."""
    array = np.array(values, dtype=float)
    if len(array) == 1:
        bounds = UNBOUNDED  # one seed, at whichever end, says nothing of others
    score = Units(len(array), 1).score(lambda weights: weights @ array, bounds)
    assert score is not None  # there are no NaN in a file
    return score


def seeds(files: Sequence[Path], **where: str) -> str:
    """By policy and condition, the interquartile mean and every seed."""
    rows = of_one_task(once(rows_where(files, **where)))
    measure, digits = measure_of(rows)
    conditions = list(dict.fromkeys(row.condition for row in rows))
    training = {} if measure == "late_accuracy" else {
        "training_return": "last training return", "best_training_return": "best training return",
    }  # fmt: skip
    lines = _head("policy", *training.values(), *conditions)
    for policy, mine in _by_policy(rows):
        intact = [row for row in mine if row.condition == CLEAN_KEY]
        cells = [_every(intact, key, digits) for key in training]
        cells += [
            _every([r for r in mine if r.condition == c], measure, digits, intact)
            for c in conditions
        ]
        lines.append(_line(_code(policy, mine), *cells))
    return "\n".join(lines)


def summary(files: Sequence[Path], **where: str) -> str:
    """By task, where there are several, policy and condition, the interquartile mean over seeds."""
    rows = once(rows_where(files, **where))
    measure, digits = measure_of(rows)
    conditions = list(dict.fromkeys(row.condition for row in rows))
    tasks = list(dict.fromkeys((row.env, row.setting) for row in rows))
    several = len(tasks) > 1
    lines = _head(*["task"] * several, "policy", *conditions)
    for task in tasks:
        name = " ".join(filter(None, task))
        for policy, mine in _by_policy([row for row in rows if (row.env, row.setting) == task]):
            values = [_values([r for r in mine if r.condition == c], measure) for c in conditions]
            cells = [f"{score_of(v)['interquartile_mean']:.{digits}f}" if v else "" for v in values]
            lines.append(_line(*[name] * several, _code(policy, mine), *cells))
    return "\n".join(lines)


def returns(files: Sequence[Path], **where: str) -> str:
    """By policy and environment, the interquartile mean and every seed; of plastic policies also
    with their plasticity off.
    """
    rows = once(rows_where(files, **where))
    envs = list(dict.fromkeys(row.env for row in rows))
    for env in envs:
        of_one_task([row for row in rows if row.env == env])
    lines = _head("policy", *envs)
    for policy, mine in _by_policy(rows):
        for condition, name in (
            (CLEAN_KEY, _code(policy, mine)),
            ("plasticity-off", "the same, plasticity off"),
        ):
            if condition != CLEAN_KEY and not policy.startswith(PLASTIC):
                continue
            there = [r for r in mine if r.condition == condition]
            lines.append(
                _line(name, *(_every([r for r in there if r.env == e], "ret", 0) for e in envs))
            )
    return "\n".join(lines)


def comparisons(files: Sequence[Path], **where: str) -> str:
    """Each two policies that have several seeds, in the clean task or another condition:
    difference of their means, probability that a seed of the one is better than a seed of the
    other, and what can be said at 95 %. They are compared by `measure`, a column, where one is
    given; where the condition is "perturbed", suite by suite by the mean over all conditions that
    perturb.
    """
    asked, every = where.pop("measure", None), where.get("condition") == PERTURBED
    if every:
        named = {name: value for name, value in where.items() if name != "condition"}
        rows = [r for r in rows_where(files, lesion="", **named) if r.condition != CLEAN_KEY]
    else:
        rows = once(rows_where(files, **{"condition": CLEAN_KEY} | where))
    what = "" if asked is None else asked.replace("_", " ")
    lines = _head("task", "policy", "", "other", "difference", "probability of improvement")
    for task in dict.fromkeys(_compared(row, every) for row in rows):
        mine = [r for r in rows if _compared(r, every) == task and r.seed is not None]
        measure, digits = measure_of(mine) if asked is None else (asked, _digits(mine, asked))
        by_policy, named = {}, {}
        for policy, some in _by_policy(mine):
            if len(values := _by_run(some, measure)) > 1:
                by_policy[policy] = values
                named[policy] = f"`{policy}`" + _without_a_value(values, some)
        for (policy, one), (other, two) in itertools.combinations(by_policy.items(), 2):
            samples = np.array(one), np.array(two)
            share = measure in ("late_accuracy", "regained")
            gap = difference(*samples, DIFFERENCE_OF_SHARES if share else UNBOUNDED)
            lines.append(
                _line(
                    " ".join(filter(None, [*task, where.get("condition", ""), what])),
                    named[policy],
                    verdict(gap["interval"]),
                    named[other],
                    _between(gap, digits),
                    _between(probability_of_improvement(*samples), 2),
                )
            )
    return "\n".join(lines)


def _compared(row: Row, suites: bool) -> tuple[str, ...]:
    """What has a comparison of its own."""
    return (row.env, row.setting, row.suite) if suites else (row.env, row.setting)


def behind_observer(files: Sequence[Path], **where: str) -> str:
    """By policy and condition, how much less late accuracy than the ideal observer's, with its
    interval over training seeds.
    """
    rows = of_one_task(rows_where(files, **where))
    best = {row.condition: row.late_accuracy or 0.0 for row in rows if row.policy == OBSERVER}
    lines = _head("policy", *best)
    for policy, mine in _by_policy([row for row in rows if row.policy != OBSERVER]):
        cells = []
        for condition, most in best.items():
            there = _values([r for r in mine if r.condition == condition], "late_accuracy")
            gaps = [most - late for late in there]
            cells.append(_between(score_of(gaps, DIFFERENCE_OF_SHARES), 2) if gaps else "")
        lines.append(_line(f"`{policy}`", *cells))
    return "\n".join(lines)


def verdict(interval: Sequence[float] | None) -> str:
    """What the interval of a difference says."""
    if interval is None:
        return UNKNOWN
    if interval[0] <= 0 <= interval[1]:
        return EVEN
    return AHEAD if interval[0] > 0 else BEHIND


def retention(files: Sequence[Path], **where: str) -> str:
    """By policy, suite and lesion: mean retention over perturbed conditions with its interval, of
    those that training may use, of those held out, and of the mild ones among these, with its
    interquartile mean over conditions and runs; and the mean return under all of them.
    """
    rows = of_one_task(rows_where(files, **where))
    rows = [row for row in rows if not row.condition.startswith(CLEAN_KEY)]
    mild = f"held out, severity up to {MILD}"
    lines = _head(
        "policy", "suite", "all", "train", "held out", mild, "interquartile mean", "return"
    )
    for suite in dict.fromkeys(row.suite for row in rows):
        of_suite = [row for row in rows if row.suite == suite]
        for policy, mine in _by_policy(of_suite):
            for lesion in dict.fromkeys(row.lesion for row in mine):
                some = [row for row in mine if row.lesion == lesion]
                name = f"`{policy}`" + (f", plasticity {lesion}" if lesion else "")
                train, held_out = ([r for r in some if r.split == s] for s in ("train", "held-out"))
                light = [r for r in held_out if r.severity is not None and r.severity <= MILD]
                splits = (some, train, held_out, light)
                cells = [_over_seeds(split, "retention", 2) for split in splits]
                values = _values(light, "retention")
                cells.append(f"{score_of(values)['interquartile_mean']:.2f}" if values else "")
                lines.append(_line(name, suite, *cells, _over_seeds(some, "ret", 0)))
    return "\n".join(lines)


def adaptation(files: Sequence[Path], **where: str) -> str:
    """By task, policy and condition with contexts: the pace, relative to random actions (0) and to
    the teacher that is told (1), that is settled on after the first context of an episode and after
    later ones, the share of changes after which the rate is back, and what plasticity adds to the
    reward per step of the opening, where there is plasticity.
    """
    columns = ("settled_pace", "later_settled_pace", "regained", "opening_over_off")
    rows = [
        row
        for row in once(rows_where(files, **where))
        if any(getattr(row, name) is not None for name in columns)
    ]
    lines = _head(
        "task", "condition", "policy", "settled pace", "after a change", "regained", "opening"
    )
    for env, setting, condition in dict.fromkeys((r.env, r.setting, r.condition) for r in rows):
        there = [r for r in rows if (r.env, r.setting, r.condition) == (env, setting, condition)]
        task = f"{env} {setting}".strip()
        for policy, mine in _by_policy(there):
            cells = [
                _over_seeds(mine, name, 2, SHARE if name == "regained" else UNBOUNDED)
                for name in columns[:3]
            ]
            # the episodes of a network without plasticity are the same with plasticity off
            added = [row for row in mine if row.opening_over_off != 0.0]
            cells.append(_over_seeds(added, "opening_over_off", 2))
            lines.append(_line(task, condition, _code(policy, mine), *cells))
    return "\n".join(lines)


def contexts(files: Sequence[Path], **where: str) -> str:
    """By policy, in contexts held out of training: how many numbers are learned, the settled pace,
    the same with plasticity off where there is plasticity, and the share of changes made good.
    """
    rows = of_one_task(once(rows_where(files, split="held-out", **where)))
    lines = _head("policy", "learned numbers", "pace", "plasticity off", "changes made good")
    for policy, every in _by_policy(rows):
        intact, off = ([row for row in every if row.lesion == name] for name in ("", "off"))
        lines.append(
            _line(
                _code(policy, every),
                "" if (learned := every[0].parameters) is None else f"{learned:,}",
                _over_seeds(intact, "settled_pace", 2),
                _over_seeds(off, "settled_pace", 2) if policy.startswith(PLASTIC) else "",
                _over_seeds(intact, "regained", 2, SHARE),
            )
        )
    return "\n".join(lines)


def revisions(files: Sequence[Path], **where: str) -> str:
    """By file and policy, how many runs there are, and the revisions of the code that trained them;
    "dirty" are those beside which something was not committed.
    """
    lines = _head("results", "policy", "runs", "revisions")
    for file in files:
        runs = [row for row in rows_where([file], **where) if row.seed is not None]
        for policy, mine in _by_policy(runs):
            names = dict.fromkeys(row.revision for row in mine)
            count = len({row.run for row in mine})
            lines.append(_line(file.stem, f"`{policy}`", str(count), " ".join(names)))
    return "\n".join(lines)


def speed(files: Sequence[Path], **where: str) -> str:
    """Environment steps per second of training, by policy and size, and where the time goes."""
    rows = _lines_where(files, where)
    parts = [name for name in rows[0] if name.endswith("_us")]
    lines = _head(
        "policy",
        "hidden",
        "steps a second",
        "times SB3's PPO",
        "of the physics limit",
        *(f"{part.removesuffix('_us')}, µs" for part in parts),
        "parameters of the actor",
    )
    for row in rows:
        lines.append(
            _line(
                f"`{row['policy']}`",
                row["hidden"],
                f"{int(row['steps_per_second']):,}",
                f"{float(row['relative_to_sb3']):.2f}",
                f"{float(row['share_of_physics_limit']):.2f}",
                *(row[part] for part in parts),
                f"{int(row['actor_parameters']):,}",
            )
        )
    return "\n".join(lines)


def growth(files: Sequence[Path], **where: str) -> str:
    """Microseconds of an environment step of training, by what grows, a column for each policy."""
    rows = _lines_where(files, where)
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    sizes = list(dict.fromkeys((row["grows"], row["to"]) for row in rows))
    found = {(row["grows"], row["to"], row["policy"]): row["microseconds_per_step"] for row in rows}
    lines = _head("", "", *(f"`{policy}`" for policy in policies))
    lines += [_line(*size, *(found[*size, policy] for policy in policies)) for size in sizes]
    return "\n".join(lines)


def costs(files: Sequence[Path], **where: str) -> str:
    """Operations per environment step, accumulates + multiply-accumulates, and memory; of static
    spiking policies also what NeuroBench counts of their spiking layers, beside the same here.
    """
    lines = _head(
        "task",
        "policy",
        *PARTS,
        "energy, nJ",
        "weights, kB",
        "state, kB",
        "silent",
        "spiking layers",
        "NeuroBench",
    )
    for row in _lines_where(files, where):

        def count(part: str, row: Mapping[str, str] = row) -> str:
            found = [row[f"{part}_{kind}"] for kind in ("accumulates", "multiply_accumulates")]
            return " + ".join(number(float(x)) for x in found) if all(found) else ""

        lines.append(
            _line(
                row["env"],
                f"`{row['policy']}`",
                *(count(part) for part in PARTS),
                number(float(row["energy_nJ"])),
                *(number(float(row[f"{kind}_bytes"]) / 1000) for kind in ("parameter", "state")),
                percent(float(row["activation_sparsity"])),
                *(count(part) for part in ("spiking", "neurobench")),
            )
        )
    return "\n".join(lines)


TABLES = {
    "seeds": seeds,
    "summary": summary,
    "returns": returns,
    "comparisons": comparisons,
    "behind_observer": behind_observer,
    "retention": retention,
    "adaptation": adaptation,
    "contexts": contexts,
    "revisions": revisions,
    "speed": speed,
    "growth": growth,
    "costs": costs,
}


def _lines_where(files: Sequence[Path], where: Mapping[str, str]) -> list[dict[str, str]]:
    """Of a file of a benchmark, which has columns of its own."""
    (file,) = files
    found = csv.DictReader(io.StringIO(read_text(file), newline=""))
    lines = [line for line in found if where.items() <= line.items()]
    if not lines:
        raise UsageError(f"no rows with {where} in {file}")
    return lines


def once(rows: list[Row]) -> list[Row]:
    """Several suites have the clean condition, and no run may count twice."""
    if len({(row.run, row.condition) for row in rows}) < len(rows):
        raise UsageError("runs were judged by several suites here: add suite=NAME")
    return rows


def of_one_task(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows themselves. Raises UsageError where they are of several tasks."""
    if len({(row.env, row.setting) for row in rows}) > 1:
        raise UsageError("this is of one environment and setting: add env=ID, or setting=LABEL")
    return rows


def _by_policy(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    policies = dict.fromkeys(row.policy for row in rows)
    return [(policy, [row for row in rows if row.policy == policy]) for policy in policies]


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [value for row in rows if (value := getattr(row, name)) is not None]


def _by_run(rows: Sequence[Row], name: str) -> list[float]:
    """The mean over the rows of each run that have a value."""
    runs = dict.fromkeys(row.run for row in rows if getattr(row, name) is not None)
    return [float(np.mean(_values([r for r in rows if r.run == run], name))) for run in runs]


def _every(
    rows: Sequence[Row], name: str, digits: int, trained: Sequence[Row] | None = None
) -> str:
    """The interquartile mean, and each seed; of what is not known of each that was trained there is
    no mean, and a dash for those that are missing.
    """
    values = _values(rows, name)
    if not values:
        return ""
    middle = f"{score_of(values)['interquartile_mean']:.{digits}f}"
    if rows[0].seed is None:
        return middle
    there = [row for row in rows if getattr(row, name) is not None]
    known = {row.seed: f"{value:.{digits}f}" for row, value in zip(there, values)}
    each = " ".join(known.get(row.seed, "-") for row in (trained or there))
    return each if "-" in each.split() else f"{middle} ({each})"


def _over_seeds(
    rows: Sequence[Row], name: str, digits: int, bounds: tuple[float, float] = UNBOUNDED
) -> str:
    """The mean over conditions, with its interval over the runs."""
    values = _by_run(rows, name)
    if not values:
        return ""
    score = score_of(values, bounds)
    text = _between(score, digits) if len(values) > 1 else f"{score['mean']:.{digits}f}"
    return text + _without_a_value(values, rows)


def _without_a_value(values: Sequence[float], rows: Sequence[Row]) -> str:
    """Says so where some runs have none, as those that found out nothing have nothing to lose."""
    runs = len({row.run for row in rows})
    return "" if len(values) == runs else f" ({len(values)} of {runs} seeds)"


def _between(score: Score | Estimate, digits: int) -> str:
    """With its interval, or [?] where that cannot be told."""
    edges = ["?"] if score["interval"] is None else [f"{x:.{digits}f}" for x in score["interval"]]
    return f"{score['mean']:.{digits}f} [{', '.join(edges)}]"


def _code(policy: str, rows: Sequence[Row]) -> str:
    return policy if rows[0].seed is None else f"`{policy}`"


def _head(*titles: str) -> list[str]:
    return [_line(*titles), "|---" * len(titles) + "|"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
