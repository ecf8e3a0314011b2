"""`PlasticTQC`: truncated quantile critics (Kuznetsov et al. 2020) for actors with a
memory.
"""

from dataclasses import dataclass, replace

import torch
from sb3_contrib import TQC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from spikepropamine.agents import off_policy_record, sac
from spikepropamine.agents.algorithm import Actor, Arguments, Blueprint
from spikepropamine.agents.sac import SACSettings, SoftActorCritic
from spikepropamine.options import Few, Number


@dataclass(frozen=True)
class TQCSettings(SACSettings):
    """Settings of truncated quantile critics."""

    n_quantiles: Few = 25
    """TQC: quantiles that each critic gives."""
    top_quantiles_to_drop_per_net: Number = 2
    """TQC: of these, the largest that the target leaves out."""


class PlasticTQC(SoftActorCritic, TQC):
    """sb3-contrib's TQC for actors with a memory; arguments as for `PlasticSAC` and
    `TQC`.
    """

    def _setup_model(self) -> None:
        self.policy_kwargs = {"n_quantiles": 25} | self.policy_kwargs
        dropped = self.top_quantiles_to_drop_per_net
        quantiles = self.policy_kwargs["n_quantiles"]
        if not 0 <= dropped < quantiles:
            raise ValueError(
                "top_quantiles_to_drop_per_net must be at least 0 and less than "
                f"n_quantiles, {quantiles}, got {dropped}"
            )
        super()._setup_model()

    def _pooled(self, next_values: Tensor) -> Tensor:
        """The quantiles of all target critics, without the largest."""
        count, _, quantiles = next_values.shape
        kept = count * (quantiles - self.top_quantiles_to_drop_per_net)
        pooled = next_values.transpose(0, 1).flatten(1)
        return pooled.sort(dim=1).values[:, :kept]

    def _for_actor(self, values: Tensor) -> tuple[Tensor, Tensor]:
        count, _, quantiles = values.shape
        slopes = torch.full_like(values, 1 / (count * quantiles))
        return values.mean(dim=(0, 2)), slopes

    def _critic_loss(
        self, values: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Quantile Huber loss (Dabney et al. 2018; Kuznetsov et al. 2020)."""
        count, _, quantiles = values.shape
        # [critics, N, quantiles, targets]
        errors = targets[None, :, None, :] - values[..., None]
        bounded = errors.clamp(-1, 1)
        huber = bounded * (errors - 0.5 * bounded)
        levels = (torch.arange(quantiles, device=errors.device) + 0.5) / quantiles
        is_above = (errors < 0).to(values.dtype)
        of_huber = (levels[:, None] - is_above).abs()
        losses = (of_huber * huber).mean(dim=(0, 2, 3))
        slopes = (of_huber * bounded).mean(dim=3) * weights[:, None]
        return losses @ weights, slopes / -(count * quantiles)


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments of the constructor of `PlasticTQC`, but for policy and
    environments.
    """
    dropped = blueprint.trainer.top_quantiles_to_drop_per_net
    return sac.arguments(blueprint) | {"top_quantiles_to_drop_per_net": dropped}


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return off_policy_record.make_off_policy(
        actor,
        blueprint,
        PlasticTQC,
        arguments(blueprint),
        n_quantiles=blueprint.trainer.n_quantiles,
    )


ALGORITHM = replace(
    sac.ALGORITHM,
    name="tqc",
    settings=TQCSettings,
    arguments=arguments,
    make=_make,
    sections=("sac", "tqc"),
)
