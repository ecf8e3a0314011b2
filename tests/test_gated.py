"""Compiled LSTMs and GRUs give PyTorch's values and gradients."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from spikepropamine.policies.baselines import Gru
from spikepropamine.policies.compiled import gated
from spikepropamine.policies.fast.networks import by_pytorch, choose_memory, remember

TICKS = 7
BATCH = 3
CHANNELS = 5
WIDTH = 11
EXACT = {"rtol": 1e-12, "atol": 1e-12}
ROUNDED = {"rtol": 1e-5, "atol": 1e-5}


def case(kind, dtype, layers=2, ticks=TICKS):
    """A memory whose gates saturate, inputs, state and starts of episodes."""
    torch.manual_seed(0)
    memory = kind(CHANNELS, WIDTH, num_layers=layers).to(dtype)
    for x in memory.parameters():
        x.data *= 3
    inputs = torch.randn(ticks, BATCH, CHANNELS, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn(layers, BATCH, WIDTH, dtype=dtype) for _ in range(2))
    starts = (torch.rand(ticks, BATCH) < 0.3).to(dtype)
    return memory, inputs, state, starts


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, ROUNDED)]
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, Gru])
def test_values_and_gradients_are_those_of_pytorch(kind, dtype, tolerance, layers):
    memory, inputs, state, starts = case(kind, dtype, layers)
    upstream = torch.randn(TICKS, BATCH, WIDTH, dtype=dtype)
    learned = [inputs, *memory.parameters()]
    found = []
    for run in (gated.run, by_pytorch):
        outputs, after = run(memory, inputs, state, starts)
        gradients = torch.autograd.grad(outputs, learned, upstream)
        found.append([outputs, *after, *gradients])
    torch.testing.assert_close(*found, **tolerance)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gradients_are_the_slopes_of_values(kind):
    memory, inputs, state, starts = case(kind, torch.float64, layers=1, ticks=4)
    names, parameters = zip(*memory.named_parameters())

    def outputs(inputs, *parameters):
        changed = copy.deepcopy(memory)
        for name, x in zip(names, parameters):
            delattr(changed, name)
            setattr(changed, name, x)
        changed._flat_weights = list(parameters)
        return gated.run(changed, inputs, state, starts)[0]

    assert torch.autograd.gradcheck(outputs, (inputs, *parameters))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_single_steps_are_a_sequence(kind):
    memory, inputs, state, starts = case(kind, torch.float32)
    whole, after = gated.run(memory, inputs, state, starts)
    with torch.no_grad():
        for t in range(TICKS):
            now = slice(t, t + 1)
            output, state = gated.run(memory, inputs[now], state, starts[now])
            torch.testing.assert_close(output, whole[now], **ROUNDED)
    torch.testing.assert_close(state, after, **ROUNDED)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_is_no_number_stays_none(kind):
    memory, inputs, state, starts = case(kind, torch.float32)
    inputs.data[2, 1] = np.nan
    outputs, _ = gated.run(memory, inputs, state, torch.zeros_like(starts))
    assert outputs[2:, 1].isnan().all() and not outputs[:, [0, 2]].isnan().any()
    inputs.data[2, 1] = np.inf
    outputs, _ = gated.run(memory, inputs, state, torch.zeros_like(starts))
    expected, _ = by_pytorch(memory, inputs, state, torch.zeros_like(starts))
    torch.testing.assert_close(outputs, expected, equal_nan=True, **ROUNDED)


def test_what_kernels_cannot_do_is_left_to_pytorch():
    memory, inputs, state, starts = case(nn.LSTM, torch.float32)
    assert choose_memory(memory, state) is gated.run
    learned = tuple(x.requires_grad_() for x in state)
    assert choose_memory(memory, learned) is by_pytorch
    outputs, _ = remember(memory, inputs.flatten(0, 1), learned, starts)
    assert torch.autograd.grad(outputs.sum(), learned[0])[0].any()
    one_way = nn.LSTM(CHANNELS, WIDTH, bidirectional=True)
    without_bias = nn.LSTM(CHANNELS, WIDTH, bias=False)
    drops = nn.LSTM(CHANNELS, WIDTH, num_layers=2, dropout=0.5)
    free = tuple(x.detach() for x in state)
    for memory in (one_way, without_bias, drops):
        assert choose_memory(memory, free) is by_pytorch
    assert choose_memory(drops.eval(), free) is gated.run
