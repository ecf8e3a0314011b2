"""Numbers in sentences that refer to rows, and a list of those that refer to none.

    `ndp-oja` reaches 0.99<!-- = middle cue-ppo policy=ndp-oja -->, which is higher by
    0.19 [0.14, 0.24]<!-- = difference cue-ppo policy=ndp-oja other=lstm-tuned -->.

A comment after a number names a kind of value, files of results without `.csv`, and
what their rows are to have: those of the clean task, unless `condition` is given. The
number has to be what the rows say, at its own count of decimals. All other numbers of a
page, such as settings, versions and trials without rows, are on file in
`docs/numbers.txt`, paragraph by paragraph, so that none changes unseen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from spikepropamine import statistics
from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.report.compared import tasks_of
from spikepropamine.report.markers import read_marker
from spikepropamine.report.results import (
    accuracy_or_return,
    lines_on_file,
    of_one_task,
    once,
    values_of,
)

LIST = Path("docs/numbers.txt")
"""Numbers that refer to no rows."""
NUMBER = r"-?\d(?:[\d,]*\d)?(?:\.\d+)?"
MINUS = "\N{MINUS SIGN}"
REFERENCE = re.compile(
    rf"(?P<number>{NUMBER})(?P<share> %)?"
    rf"(?:(?P<before>\s+)\[{NUMBER},(?P<inside>\s+){NUMBER}\])?(?P<bold>\**)"
    r"(?P<comment><!-- = (?P<words>.*?) -->)",
    re.DOTALL,
)
MARK = re.compile(r"<!-- = .*? -->", re.DOTALL)
DIGITS = re.compile(rf"(?:(?<![\w.\]\)])[-{MINUS}])?\d(?:[\d.,]*\d)?")
"""With a minus, unless it joins words or numbers, as in "cue-2" or "1-2"."""
WORDS = 6
"""Of a paragraph, which name it in the list."""


class Value(NamedTuple):
    """What rows say."""

    value: float
    interval: tuple[float, float] | None = None
    """95 %."""


def middle(lines: pl.DataFrame, measure: str) -> Value:
    """The interquartile mean over runs, as in tables."""
    return Value(float(stats.trim_mean(_runs(lines, measure), 0.25)))


def mean(lines: pl.DataFrame, measure: str) -> Value:
    """The mean over runs, with its interval."""
    values = _runs(lines, measure)
    return Value(float(values.mean()), statistics.interval(values))


def lowest(lines: pl.DataFrame, measure: str) -> Value:
    """Of the runs."""
    return Value(float(_runs(lines, measure).min()))


def highest(lines: pl.DataFrame, measure: str) -> Value:
    """Of the runs."""
    return Value(float(_runs(lines, measure).max()))


def runs(lines: pl.DataFrame, measure: str) -> Value:
    """How many runs there are."""
    return Value(float(len(_runs(lines, measure))))


def fact(lines: pl.DataFrame, measure: str) -> Value:
    """What is the same in all runs, such as their `parameters`."""
    values = np.unique(_runs(lines, measure))
    if len(values) > 1:
        raise UsageError(f"{measure} differs: {', '.join(map(str, values))}")
    return Value(float(values[0]))


OF_POLICY: Mapping[str, Callable[[pl.DataFrame, str], Value]] = {
    kind.__name__: kind for kind in (middle, mean, lowest, highest, runs, fact)
}
"""Kinds of value of one policy."""


def ratio(one: np.ndarray, other: np.ndarray) -> Value:
    """Of the interquartile means."""
    return Value(float(stats.trim_mean(one, 0.25) / stats.trim_mean(other, 0.25)))


def _p(p: float | None) -> Value:
    if p is None:
        raise UsageError("too few runs are tested")
    return Value(p)


def _of_difference(
    value_of_difference: Callable[[statistics.Difference], Value],
) -> Callable[[np.ndarray, np.ndarray], Value]:
    return lambda one, other: value_of_difference(statistics.difference(one, other))


OF_PAIR: Mapping[str, Callable[[np.ndarray, np.ndarray], Value]] = {
    "difference": _of_difference(lambda of: Value(of.mean, of.interval)),
    "improvement": _of_difference(lambda of: Value(of.better, of.better_interval)),
    "p": _of_difference(lambda of: _p(of.p)),
    "rank-p": _of_difference(lambda of: _p(of.rank_p)),
    "ratio": ratio,
}
"""Kinds of value of two policies, `policy` and `other`: float64 [runs] of each."""
KINDS = (*OF_POLICY, *OF_PAIR, "pooled")


def value_of(words: str, results: Path) -> Value:
    """What a reference refers to.

    Args:
        words: of its comment.
        results: folder of the files.

    Raises:
        UsageError: the reference is wrong, or rows do not have it.
    """
    asked = read_marker(words)
    kind = asked.kind
    check_known("kind of number", kind, KINDS)
    files = asked.files(results)
    wanted = {"condition": CLEAN_KEY} | dict(asked.wanted)
    measure = wanted.pop("measure", None)
    scale = float(wanted.pop("times", "1"))
    if kind == fact.__name__:
        lines = _trained(files, wanted)
        value = fact(lines, measure or accuracy_or_return(lines))
    elif kind in OF_POLICY:
        _check_given(wanted, "policy")
        lines = of_one_task(_trained(files, wanted))
        value = OF_POLICY[kind](lines, measure or accuracy_or_return(lines))
    else:
        _check_given(wanted, "policy", "other")
        one, other = wanted.pop("policy"), wanted.pop("other")
        if kind == "pooled":
            value = _pooled(files, wanted, one, other, measure or "return")
        else:
            first, second = (
                _trained(files, wanted | {"policy": policy}) for policy in (one, other)
            )
            of_one_task(pl.concat([first, second], how="diagonal"))
            measure = measure or accuracy_or_return(first)
            value = OF_PAIR[kind](_runs(first, measure), _runs(second, measure))
    edges = value.interval and (value.interval[0] * scale, value.interval[1] * scale)
    if edges is not None and scale < 0:
        edges = edges[1], edges[0]
    return Value(value.value * scale, edges)


def _check_given(wanted: Mapping[str, str], *needed: str) -> None:
    """Raises UsageError where a policy that a number is of is not named."""
    for name in needed:
        if name not in wanted:
            raise UsageError(f"such a number is of one policy: add {name}=POLICY")


def _trained(files: Sequence[Path], wanted: Mapping[str, str]) -> pl.DataFrame:
    lines = once(lines_on_file(files, wanted))
    trained = lines.filter(pl.col("seed").is_not_null())
    return trained if trained.height else lines


def _runs(lines: pl.DataFrame, measure: str) -> np.ndarray:
    check_known("measure", measure, lines.columns)
    values = values_of(lines, measure)
    if not len(values):
        raise UsageError(f"no run has {measure} there")
    return values


def _pooled(
    files: Sequence[Path],
    wanted: Mapping[str, str],
    policy: str,
    other: str,
    measure: str,
) -> Value:
    """The difference over all tasks of the files, relative to the mean return of
    `other` above that of random actions.
    """
    lines = _trained(files, wanted)
    values, unit = tasks_of(lines, measure, other)
    for name in (policy, other):
        check_known("policy", name, values)
    both = values[policy].keys() & values[other].keys()
    shared = {task: scale for task, scale in unit.items() if task in both}
    tested = statistics.pooled(values[policy], values[other], shared)
    return Value(tested.mean, tested.interval)


def written(value: Value, like: re.Match[str]) -> str:
    """A value as a page writes it.

    Args:
        value: what rows say.
        like: the match of the reference, whose decimals, percent sign and interval the
            text takes.

    Raises:
        UsageError: the page has an interval, and there is none.
    """
    decimals = len(like["number"].partition(".")[2])
    scale = 100 if like["share"] else 1
    thousands = "," if "," in like["number"] else ""

    def text(number: float) -> str:
        rounded = f"{number * scale:{thousands}.{decimals}f}"
        return rounded.lstrip("-") if not re.search("[1-9]", rounded) else rounded

    whole = text(value.value) + (like["share"] or "")
    if like["before"] is None:
        return whole
    if value.interval is None:
        raise UsageError("there is no interval")
    low, high = map(text, value.interval)
    return f"{whole}{like['before']}[{low},{like['inside']}{high}]"


def with_references(page: str, results: Path) -> str:
    """A page whose references have the numbers of the rows.

    Args:
        page: Markdown.
        results: folder of the files.

    Raises:
        UsageError: a reference is wrong, or stands behind no number.
    """

    def replaced(match: re.Match[str]) -> str:
        if page[: match.start()].endswith(MINUS):
            raise UsageError(
                f"{match['comment']}: the minus before its number is no hyphen, so "
                "that nobody would check it: write -"
            )
        try:
            text = written(value_of(match["words"], results), match)
        except UsageError as error:
            raise UsageError(f"{match['comment']}: {error}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"{match['comment']}: what it refers to is not in these files "
                f"({type(error).__name__}: {error})"
            ) from error
        return text + match["bold"] + match["comment"]

    marks = len(MARK.findall(page))
    referring = len(REFERENCE.findall(page))
    if marks != referring:
        alone = next(
            mark[0]
            for mark in MARK.finditer(page)
            if not any(mark.end() == match.end() for match in REFERENCE.finditer(page))
        )
        raise UsageError(f"{alone}: there is no number before it")
    return REFERENCE.sub(replaced, page)


def listed_numbers(page: str, tables: re.Pattern[str]) -> list[str]:
    """The numbers of a page that refer to no rows, a line for each paragraph that has
    any: its first words, and the numbers in their order.

    Args:
        page: Markdown.
        tables: matches generated tables; their markers count, their cells do not.
    """
    text = tables.sub(lambda match: match[1], page)
    text = REFERENCE.sub(lambda match: f"# {match['comment']}", text)
    lines = []
    for paragraph in re.split(r"\n\s*\n|\n(?=[-|#] ?)", text):
        numbers = DIGITS.findall(paragraph)
        words = re.findall(r"[^\W\d_]+", paragraph)[:WORDS]
        if numbers:
            lines.append(f"{' '.join(words)} | {' '.join(numbers)}")
    return lines
