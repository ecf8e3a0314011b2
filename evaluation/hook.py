"""What may look at a policy's state, or change it, between the steps of its episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Infos = Mapping[int, Mapping[str, Any]]


class Hook:
    """Told of every step of a wave of episodes, which are the rows of one batch.

    `state` is what `predict` takes and returns; `starts`, bool [width], tells it which rows start
    an episode. The methods of this class do nothing.
    """

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Before the policy acts at a step (from 0); may change state and starts in place.

        `infos` has what the environments of the running rows said last.
        """

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """After a step of the rows `running`, of which those of `over` ended their episode."""
