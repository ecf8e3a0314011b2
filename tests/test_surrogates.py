"""Spikes: a step forwards, a bump backwards."""

import math
import shutil
import subprocess

import pytest
import torch

from spikepropamine.policies.neurons import THRESHOLD, fire
from spikepropamine.policies.surrogates import SURROGATES, spike
from spikepropamine.versions import HERE

# derivative at u = 0.1 and slope 2, and at u = -0.4 and slope 2, by hand
BY_HAND = {
    "fast_sigmoid": (1 / 1.2**2, 1 / 1.8**2),
    "arctan": (1 / (1 + (0.1 * math.pi) ** 2), 1 / (1 + (0.4 * math.pi) ** 2)),
    "triangle": (0.8, 0.2),
    "rectangle": (1.0, 0.0),
}


def derivative(values, surrogate, slope):
    u = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(spike(u, surrogate, slope).sum(), u)[0]


def test_every_surrogate_has_values_by_hand():
    assert set(BY_HAND) == set(SURROGATES)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_spikes_are_exactly_zero_or_one(surrogate):
    u = torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 3.0])
    assert spike(u, surrogate, 5.0).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_neuron_fires_above_threshold_and_not_at_it(surrogate):
    potential = torch.tensor([THRESHOLD - 0.1, THRESHOLD, THRESHOLD + 0.1])
    assert fire(potential, surrogate, 5.0).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_derivative_has_the_values_of_its_formula(surrogate):
    expected = torch.tensor(BY_HAND[surrogate], dtype=torch.float64)
    torch.testing.assert_close(derivative([0.1, -0.4], surrogate, 2.0), expected)


@pytest.mark.parametrize("slope", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_derivative_peaks_at_one_at_zero_and_is_even(surrogate, slope):
    u = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
    values = derivative(u.tolist(), surrogate, slope)
    assert derivative([0.0], surrogate, slope).item() == 1.0
    assert values.max() <= 1.0 and values.min() >= 0.0
    torch.testing.assert_close(values, values.flip(0))


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_steeper_slope_makes_a_narrower_bump(surrogate):
    u = torch.linspace(-2.0, 2.0, 41).tolist()
    assert derivative(u, surrogate, 5.0).sum() < derivative(u, surrogate, 1.0).sum()


def test_the_gradient_from_above_is_scaled_by_the_derivative():
    u = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    (3.0 * spike(u, "triangle", 2.0)).sum().backward()
    assert u.grad.item() == pytest.approx(3.0 * 0.8)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_patch_that_makes_spikes_graded_fits_the_code():
    """`docs/results/robots.md` has results that it made."""
    patch = "benchmarks/graded-spikes.patch"
    done = subprocess.run(["git", "apply", "--check", patch], cwd=HERE.parent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
