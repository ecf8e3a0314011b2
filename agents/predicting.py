"""What `predict` of an algorithm refuses, as SB3's algorithms do."""

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from spikepropamine.policies.spaces import refuse_reset

if TYPE_CHECKING:
    # a mixin over several algorithms; to the type checker it is over one
    _Base = BaseAlgorithm
else:
    _Base = object


class Predicting(_Base):
    """An algorithm whose `predict` names what Gymnasium's `reset` returns."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """As in SB3.

        Args:
            observation: as in SB3.
            args: as in SB3.
            kwargs: as in SB3.

        Raises:
            BadObservation: the observation is what `reset` of Gymnasium returns.
        """
        refuse_reset(observation)
        return super().predict(observation, *args, **kwargs)
