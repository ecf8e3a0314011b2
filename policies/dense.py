"""Hyperbolic tangents, and linear layers between them, on the CPU: NumPy's tangent takes a fifth of
the time of PyTorch's.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _through_tanh(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient to x from that to y = tanh(x)."""
    return torch.addcmul(gradient, gradient * y, y, value=-1)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.from_numpy(np.tanh(x.numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y):
        return _through_tanh(d_y, *ctx.saved_tensors)


def tanh(x: Tensor) -> Tensor:
    """`torch.tanh`, sooner where gradients are taken on the CPU."""
    learns = x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled()
    return _Tanh.apply(x) if learns else torch.tanh(x)


class Dense(torch.autograd.Function):
    """Linear layers with hyperbolic tangents between them: from inputs [N, channels] and each
    layer's weight [outputs, inputs] and bias [outputs] to what the last one gives.
    """

    @staticmethod
    def forward(ctx, x, *parameters):
        """Outputs [N, outputs]."""
        seen = [x]  # by each layer
        for weight, bias in zip(parameters[::2], parameters[1::2]):
            if len(seen) > 1:
                hidden = seen[-1].numpy()
                np.tanh(hidden, out=hidden)
            seen.append(torch.addmm(bias, seen[-1], weight.t()))
        ctx.save_for_backward(*seen[:-1], *parameters[::2])
        return seen[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, d):
        """Gradients to inputs and parameters."""
        layers = len(ctx.saved_tensors) // 2
        seen, weights = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        gradients: list[Any] = []
        for k in reversed(range(layers)):
            gradients += [d.sum(dim=0), d.t() @ seen[k]]
            if k > 0:
                d = _through_tanh(d @ weights[k], seen[k])
        d_x = d @ weights[0] if ctx.needs_input_grad[0] else None
        return d_x, *reversed(gradients)
