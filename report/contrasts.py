"""The comparisons that matrices name before their runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spikepropamine.common import UsageError
from spikepropamine.reading import read_yaml

MATRICES = Path(__file__).parent.parent / "configs" / "matrices"
"""Those of this project."""


class Contrast(NamedTuple):
    """A comparison that was planned before the runs."""

    policy: str
    """Label of the policy of interest."""
    baseline: str
    """Label of the policy that it is held against."""


def contrasts_of(by_policy: Mapping[str, Sequence[str]]) -> list[Contrast]:
    """The contrasts of a matrix, in the order of its file.

    Args:
        by_policy: baselines of each policy of interest.
    """
    return [
        Contrast(policy, baseline)
        for policy, baselines in by_policy.items()
        for baseline in baselines
    ]


def planned_contrasts(results: Path) -> list[Contrast]:
    """The contrasts that were planned for the results of a matrix of this project.

    Args:
        results: its file, NAME.csv.

    Returns:
        The contrasts; none where no matrix has this name, or where it plans none.

    Raises:
        UsageError: the file of the matrix is no mapping.
    """
    file = MATRICES / f"{results.stem}.yaml"
    if not file.is_file():
        return []
    content = read_yaml(file)
    if not isinstance(content, Mapping):
        raise UsageError(f"{file.name}: must be a mapping")
    return contrasts_of(content.get("contrasts") or {})
