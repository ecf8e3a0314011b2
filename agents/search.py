"""`Search`: a distribution of parameters that moves to where returns are high.

Parameter-exploring policy gradients (Sehnke et al. 2010) with antithetic pairs, centred
ranks and ClipUp (Toklu et al. 2020) are EvoTorch's: all that its functional form goes
on from is three vectors, which a checkpoint holds and a seed makes exact. The
alternative, cma, is smaller to install, but its state can only be pickled, and its
adaptation is slow for so many parameters.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikepropamine.common import require


class Search:
    """A distribution of parameters: a centre, and a spread of each parameter. A
    generation's members depend on it, the seed and the generation alone.

    Args:
        centre: where it begins, [n] float32.
        population: members of a generation, even.
        spread: standard deviation of all parameters at first; each adapts.
        spread_rate: rate at which these adapt.
        speed: longest step of the centre, in initial radii (spread times sqrt(n));
            ClipUp's step size is half of it.

    Raises:
        UsageError: EvoTorch is not installed.
    """

    def __init__(
        self,
        centre: Tensor,
        population: int,
        spread: float,
        spread_rate: float,
        speed: float,
    ) -> None:
        require("evotorch", "evolution", "evolution")
        from evotorch.algorithms import functional

        self.ask = functional.pgpe_ask
        self.tell = functional.pgpe_tell
        self.population = population
        self.generations = 0
        step = speed * spread * len(centre) ** 0.5
        self.state = functional.pgpe(
            center_init=centre,
            center_learning_rate=step / 2,
            optimizer_config={"max_speed": step},
            stdev_init=spread,
            stdev_learning_rate=spread_rate,
            objective_sense="max",
        )

    @property
    def centre(self) -> Tensor:
        """The mean of the distribution that is searched, [n]."""
        centre: Tensor = self.state.optimizer_state.center
        return centre

    def members(self, seed: int) -> Tensor:
        """Draws the members of the present generation, in antithetic pairs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, self.generations, 0))
            members: Tensor = self.ask(self.state, popsize=self.population)
        return members

    def move(self, members: Tensor, returns: np.ndarray) -> None:
        """Moves on to the next generation.

        Args:
            members: of the present generation, [population, n].
            returns: of each, [population].
        """
        evaluations = torch.as_tensor(returns, dtype=members.dtype)
        self.state = self.tell(self.state, members, evaluations)
        self.generations += 1

    def contents(self) -> dict[str, Any]:
        """All that decides how it goes on, for a checkpoint."""
        optimizer = self.state.optimizer_state
        return {
            "centre": optimizer.center,
            "velocity": optimizer.velocity,
            "spread": self.state.stdev,
            "generations": self.generations,
        }

    def restore(self, contents: dict[str, Any]) -> None:
        """Goes on from `contents`. Raises ValueError where other parameters evolved."""
        for name in ("centre", "velocity", "spread"):
            vector = contents[name]
            same_shape = vector.shape == self.centre.shape
            if not same_shape or vector.dtype != self.centre.dtype:
                raise ValueError(f"{len(self.centre)} parameters evolve")
        optimizer = self.state.optimizer_state._replace(
            center=contents["centre"], velocity=contents["velocity"]
        )
        self.state = self.state._replace(
            optimizer_state=optimizer, stdev=contents["spread"]
        )
        self.generations = int(contents["generations"])


def seed_of(*entropy: int) -> int:
    """A seed, 32 bits, made of several numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
