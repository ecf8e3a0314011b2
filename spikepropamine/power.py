"""The power of a table of comparisons: which differences it can see, after Holm's
correction.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import stats

from spikepropamine.resampling import studentised
from spikepropamine.statistics import FEWEST, LEVEL, MANY

POWER = 0.8
"""The share of tables in which a difference counts as one that can be seen."""
PAIRS = 300
"""Of simulated policies; the result has a standard error of about 0.05."""
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
    if max(one, other) > MANY:
        quantiles = stats.norm.ppf([1 - LEVEL / contrasts / 2, POWER])
        return float(quantiles.sum() * np.sqrt(1 / one + 1 / other))
    few, more = sorted((one, other))
    most = max(AT_ONCE, 1 << (contrasts - 1).bit_length())
    return float(_visible_by_contrasts(few, more, most)[contrasts - 1])


@lru_cache(maxsize=64)
def _visible_by_contrasts(one: int, other: int, most: int) -> np.ndarray:
    """For 1, 2, ... contrasts; float64 [most]."""
    random = np.random.default_rng(0)
    levels = LEVEL / np.arange(1, most + 1)
    needed = []
    for _ in range(PAIRS):
        pair = studentised(random.normal(size=one), random.normal(size=other))
        # what has to be added to the first policy, to be found to be higher
        needed.append(pair.thresholds(levels, side=1) * pair.error - pair.mean)
    by_contrasts: np.ndarray = np.quantile(needed, POWER, axis=0)
    return by_contrasts


def sentence(contrasts: Iterable[tuple[int, int, int]]) -> str:
    """What a table can see, in words.

    Args:
        contrasts: of each one, the runs of both policies, and for how many contrasts
            its p is corrected.
    """
    known = [visible(*contrast) for contrast in contrasts]
    seen = sorted(f"{value:.1f}" for value in known if value is not None)
    if not seen:
        return (
            f"With fewer than {FEWEST} runs of a policy nothing is tested: these are "
            "estimates and intervals."
        )
    span = seen[0]
    if seen[-1] != seen[0]:
        span = f"{seen[0]} to {seen[-1]}"
    return (
        f"This table can see differences of {span} standard deviations of a run, in "
        f"{100 * POWER:.0f} % of cases, after correction."
    )
