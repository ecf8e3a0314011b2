"""The power of a table of comparisons: which differences it can see, after Holm's
correction.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

from spikepropamine.resampling import studentised
from spikepropamine.statistics import FEWEST, LEVEL, MANY, error_of
from spikepropamine.words import plural

POWER = 0.8
"""The share of tables in which a difference counts as one that can be seen."""
PAIRS = 300
"""Of simulated policies; the result has a standard error of about 0.05."""
PAIRS_OF_MANY = 3000
"""The same where Welch's test is used, which takes less time than the bootstrap-t."""
AT_ONCE = 64
"""For so many contrasts, at least, the differences are simulated together."""


def visible(one: int, other: int, contrasts: int) -> float | None:
    """The difference that a table can see: that is significant after correction in
    `POWER` of all tables, where runs are normal and no other contrast differs.

    Args:
        one: runs of one policy.
        other: runs of the other one.
        contrasts: for which p is corrected, at least 1.

    Returns:
        It in standard deviations of a run; None where there are too few runs to test.
    """
    if min(one, other) < FEWEST:
        return None
    few, more = sorted((one, other))
    most = max(AT_ONCE, 1 << (contrasts - 1).bit_length())
    return float(_visible_by_contrasts(few, more, most)[contrasts - 1])


@lru_cache(maxsize=64)
def _visible_by_contrasts(one: int, other: int, most: int) -> np.ndarray:
    """For 1, 2, ... contrasts; float64 [most]."""
    random = np.random.default_rng(0)
    levels = LEVEL / np.arange(1, most + 1)
    with_welch = max(one, other) > MANY
    needed = [
        _needed(random.normal(size=one), random.normal(size=other), levels, with_welch)
        for _ in range(PAIRS_OF_MANY if with_welch else PAIRS)
    ]
    by_contrasts: np.ndarray = np.quantile(needed, POWER, axis=0)
    return by_contrasts


def _needed(
    one: np.ndarray, other: np.ndarray, levels: np.ndarray, with_welch: bool
) -> np.ndarray:
    """What has to be added to the first sample, to be found to be higher.

    Args:
        one: float64 [runs].
        other: the same of the other policy.
        levels: of significance, float64 [levels].
        with_welch: whether Welch's test is the one that counts, or the bootstrap-t.
    """
    if with_welch:
        mean, error, freedom = error_of([one, other])
        thresholds = stats.t.isf(levels / 2, freedom)
    else:
        pair = studentised(one, other)
        mean, error = pair.mean, pair.error
        thresholds = pair.thresholds(levels, side=1)
    needed: np.ndarray = thresholds * error - mean
    return needed


def sentence(tasks: Iterable[Sequence[tuple[int, int]]]) -> str:
    """What a table can see, in words.

    Args:
        tasks: of each one, the runs of both policies of each contrast. The correction
            is over the contrasts of a task that are tested.
    """
    seen: list[float] = []
    planned = 0
    for contrasts in tasks:
        planned += len(contrasts)
        tested = [runs for runs in contrasts if min(runs) >= FEWEST]
        for one, other in tested:
            value = visible(one, other, len(tested))
            assert value is not None
            seen.append(value)
    if not seen:
        return (
            f"With fewer than {FEWEST} runs of a policy nothing is tested: these are "
            "estimates and intervals."
        )
    low, high = f"{min(seen):.1f}", f"{max(seen):.1f}"
    span = low if low == high else f"{low} to {high}"
    text = (
        f"This table can see differences of {span} standard deviations of a run, in "
        f"{100 * POWER:.0f} % of cases, after correction."
    )
    untested = planned - len(seen)
    if untested:
        verb = "is" if untested == 1 else "are"
        text += (
            f" {untested} of {plural(planned, 'contrast')} {verb} not tested: a policy "
            f"has fewer than {FEWEST} runs."
        )
    return text
