"""Step sizes that follow the policy: they shrink where an update moved it too far."""

from typing import TYPE_CHECKING, Any

from stable_baselines3 import PPO
from stable_baselines3.common.utils import update_learning_rate

from agents.plastic_ppo import PlasticPPO

if TYPE_CHECKING:
    _Base = PPO  # a mixin over either of two algorithms; to the type checker it is over one
else:
    _Base = object

SMALLEST, LARGEST = 1e-5, 1e-2


class _Adaptive(_Base):
    """Holds the KL divergence of an update near `desired_kl` by the step size.

    After every update the step size is multiplied by sqrt(desired_kl / kl), since the divergence
    grows with the square of it, but by no more than 1.5 either way, and kept in [1e-5, 1e-2]. The
    divergence is between the policies before and after the update, which SB3 logs as
    `train/approx_kl`. (Schulman et al. 2017, section 4, adapt a penalty by the same measure.)

    Args:
        desired_kl: above 0.
        learning_rate: the first step size.
    """

    def __init__(self, *args: Any, desired_kl: float = 0.01, **kwargs: Any) -> None:
        self.desired_kl = desired_kl
        self.step_size: float | None = None
        super().__init__(*args, **kwargs)

    def _update_learning_rate(self, optimizers: Any) -> None:
        if self.step_size is None:
            self.step_size = self.lr_schedule(1.0)
        self.logger.record("train/learning_rate", self.step_size)
        update_learning_rate(optimizers, self.step_size)

    def train(self) -> None:
        """The algorithm's own update, and the step size of the next one."""
        super().train()
        divergence = max(float(self.logger.name_to_value["train/approx_kl"]), 1e-8)
        factor = min(max((self.desired_kl / divergence) ** 0.5, 1 / 1.5), 1.5)
        self.step_size = min(max(self.step_size * factor, SMALLEST), LARGEST)


class AdaptivePlasticPPO(_Adaptive, PlasticPPO):
    """`PlasticPPO` with adaptive step sizes; its arguments, and `desired_kl`."""


class AdaptivePPO(_Adaptive, PPO):
    """SB3's PPO with adaptive step sizes; its arguments, and `desired_kl`."""
