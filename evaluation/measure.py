"""What is known of a measure, in one record; and the rows that it is computed as."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import polars as pl

from spikepropamine.evaluation.run.work import Outcome
from spikepropamine.words import number, percent

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)
SHARE: Bounds = (0.0, 1.0)
POSITIVE: Bounds = (0.0, np.inf)

Source = TypeVar("Source")


class Number(NamedTuple):
    """A row of the results table, less what it is of."""

    value: float
    at: int | None = None  # step of the episode, trial, or training step
    episode: int | None = None  # its seed


Numbers = Iterator[Number]


@dataclass(frozen=True)
class Measure(Generic[Source]):
    """What is known of a measure."""

    name: str  # in the column `measure` of the results table
    title: str  # heads its column
    sentence: str  # what it is
    # of what it is computed from: a run, an episode's outcome, or an actor's deeds
    rows: Callable[[Source], Numbers] | None = None
    # rows out of others, once results are read: by run, or with true by episode
    derive: Callable[[pl.DataFrame, bool], pl.DataFrame] | None = None
    axis: str = ""  # names it beside a plot; empty: the title
    short: str = ""  # names it in the terminal and in cards; empty: the title
    unit: str = ""  # empty: a share, or what the task pays
    bounds: Bounds = UNBOUNDED  # of its values, and so of intervals
    higher_is_better: bool | None = None  # None: neither is
    as_percent: bool = False
    # which table of the report has a column of it, "results" where it has no other
    section: str = "results"
    on_file: bool = False  # whether a matrix keeps it
    on_file_of_teacher: bool = False  # and that of a teacher that is told
    # of those that tell how good a policy is, the most telling has the lowest; 0: none
    tells: int = 0
    of_contexts: bool = False  # which have to be found out
    # whether a teacher has nothing of it to show, since it is told
    found_out: bool = False

    def text(self, value: float) -> str:
        """A value as people read it."""
        return percent(value) if self.as_percent else number(value)

    @property
    def of_axis(self) -> str:
        """Its name beside a plot."""
        return self.axis or self.title

    @property
    def label(self) -> str:
        """Its name in the terminal and in cards."""
        return self.short or self.title


def at_places(places: Iterable[int], values: Iterable[float]) -> Numbers:
    """A number at each place of a curve where there is a finite one."""
    for place, value in zip(places, values):
        if np.isfinite(value):
            yield Number(float(value), at=int(place))


def by_episode(
    outcome: Outcome, values: Iterable[float], at: int | None = None
) -> Numbers:
    """A number for each episode that has a finite one."""
    for seed, value in zip(outcome["seed"], values):
        if np.isfinite(value):
            yield Number(float(value), at=at, episode=int(seed))


def known(value: float | None) -> Numbers:
    """The value, where there is one."""
    if value is not None:
        yield Number(float(value))
