"""Gaussian populations: spikes by hand, rates, and a population for every channel."""

import math

import torch

from spikepropamine.policies.encoding import GaussianPopulation


def encode(values, ticks, neurons=3):
    """Spikes [ticks, len(values), neurons] of one channel's population for constant values."""
    encoder = GaussianPopulation(1, neurons, "fast_sigmoid", 5.0)
    constant = torch.tensor(values).reshape(1, -1, 1).expand(ticks, -1, -1)
    state = {"potential": torch.zeros(len(values), neurons)}
    with torch.no_grad():
        return encoder(constant, torch.zeros(ticks, len(values)), state)[0]


def test_a_population_neuron_fires_as_by_hand():
    # activity 0.45 at this distance from the centre 0: potentials 0.45, 0.9, 1.35 (a spike),
    # 0.8, 1.25 (a spike), 0.7, 1.15 (a spike), 0.6, 1.05 (a spike), 0.5, 0.95, 1.4 (a spike)
    distance = math.sqrt(-2 * 0.15 * math.log(0.45))
    expected = [0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1]
    for side in (distance, -distance):
        assert encode([side], ticks=12)[:, 0, 1].tolist() == expected


def test_population_rates_rise_with_closeness_to_the_centre():
    spikes = encode([0.1, 0.3, 0.5, 0.7, 0.9], ticks=200)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    rates = spikes.mean(dim=0)
    assert (rates[:-1, 1] > rates[1:, 1]).all()  # the neuron centred at 0
    assert (rates[:, 1] > rates[:, [0, 2]].amax(dim=1)).all()  # those centred at -3 and 3


def test_every_channel_has_a_population_of_its_own():
    encoder = GaussianPopulation(2, 3, "fast_sigmoid", 5.0)
    state = {"potential": torch.zeros(1, 6)}
    inputs = torch.tensor([-3.0, 3.0]).expand(9, 1, 2)
    with torch.no_grad():
        rates = encoder(inputs, torch.zeros(9, 1), state)[0].mean(dim=(0, 1))
    assert (rates > 0).tolist() == [True, False, False, False, False, True]
