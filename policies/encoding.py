"""How an observation enters the network: as currents, or as spikes of Gaussian populations."""

import math

import torch
from torch import Tensor, nn

from spikepropamine.policies.neurons import fire, integrate


class DirectCurrent(nn.Module):
    """Observation channels are the input currents of the first layer, unchanged at every tick."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.outputs = channels
        self.state_shapes: dict[str, tuple[int, ...]] = {}

    def forward(
        self, observations: Tensor, starts: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """[T, B, channels] in, the same out."""
        return observations, state


class GaussianPopulation(nn.Module):
    """Population coding (PopSAN, Tang et al. 2020), deterministic form.

    Every channel drives a population of integrate-and-fire neurons with learned receptive fields:
    A = exp(-(x - mu)^2 / (2 sigma^2)) is added to a neuron's potential at every tick, and a spike
    subtracts the threshold. The centres start evenly spaced over [-3, 3] and sigma^2 at 0.15,
    PopSAN's values for normalised observations, so normalise (`VecNormalize`) wide-ranging ones.

    Args:
        channels: observation channels.
        neurons: neurons per channel, 2 or more.
        surrogate, slope: of the spikes' surrogate gradient.
    """

    def __init__(self, channels: int, neurons: int, surrogate: str, slope: float) -> None:
        super().__init__()
        self.outputs = channels * neurons
        self.surrogate, self.slope = surrogate, slope
        self.state_shapes = {"potential": (self.outputs,)}
        self.centre = nn.Parameter(torch.linspace(-3.0, 3.0, neurons).repeat(channels, 1))
        self.log_width = nn.Parameter(torch.full((channels, neurons), 0.5 * math.log(0.15)))

    def forward(
        self, observations: Tensor, starts: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """[T, B, channels] in, spikes [T, B, channels * neurons] out."""
        distance = (observations.unsqueeze(-1) - self.centre) / self.log_width.exp()
        activity = torch.exp(-0.5 * distance.square()).flatten(2)
        potential = state["potential"]
        spikes = fire(potential, self.surrogate, self.slope)
        all_spikes = []
        for current, start in zip(activity.unbind(0), starts.unbind(0)):
            keep = 1.0 - start.unsqueeze(1)
            potential = integrate(potential * keep, spikes * keep, current, 1.0, soft_reset=True)
            spikes = fire(potential, self.surrogate, self.slope)
            all_spikes.append(spikes)
        return torch.stack(all_spikes), {"potential": potential}
