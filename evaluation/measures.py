"""The measures of an evaluation: all that is known of each, in one record.

A new measure is one more record, in the file of what it is computed from. The results
table then has its rows, the report its column, and a matrix keeps it where it is to be
`on_file`. Whatever reads results asks here, and refuses a measure that has no record.
"""

from typing import Any

from spikepropamine.common import check_known
from spikepropamine.evaluation.derived import DERIVED
from spikepropamine.evaluation.measure import POSITIVE, SHARE, Measure
from spikepropamine.evaluation.of_acting import OF_BASELINES, OF_EPISODES
from spikepropamine.evaluation.of_contexts import OF_CONTEXTS
from spikepropamine.evaluation.of_runs import OF_RUNS

OF_ACTING = (*OF_EPISODES, *OF_CONTEXTS)
"""Computed from what an actor did in a condition."""

DIVERGED: Measure[None] = Measure(
    "diverged",
    "diverged",
    "1 where training broke down, so that there is no policy to evaluate; other runs "
    "have no such row.",
    bounds=SHARE,
    higher_is_better=False,
    section="",
)
EPISODES: Measure[None] = Measure(
    "episodes",
    "episodes",
    "Over how many episodes in each condition the other measures are means.",
    bounds=POSITIVE,
    section="",
)
OF_MATRICES = (DIVERGED, EPISODES)
"""What a matrix adds to the measures of its evaluations."""

EVERY: tuple[Measure[Any], ...] = (
    *OF_RUNS,
    *OF_BASELINES.values(),
    *OF_ACTING,
    *DERIVED,
    *OF_MATRICES,
)
MEASURES = {measure.name: measure for measure in EVERY}
"""All, by name."""


def measure_named(name: str) -> Measure[Any]:
    """The record of a measure. Raises UsageError: there is none; the message has the
    nearest name.
    """
    check_known("measure", name, MEASURES)
    return MEASURES[name]


def of_section(section: str) -> list[Measure[Any]]:
    """The measures that a table of the report has columns of."""
    return [measure for measure in MEASURES.values() if measure.section == section]


def telling() -> list[Measure[Any]]:
    """The measures that tell how good a policy is, the most telling one first."""
    every = [measure for measure in MEASURES.values() if measure.tells]
    return sorted(every, key=lambda measure: measure.tells)
