"""Linear layers and activations as functions, with short gradients on the CPU."""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Function = Callable[[Tensor], Tensor]


def chain(modules: Iterable[nn.Module]) -> Function:
    """Modules, one after the other."""
    modules = list(modules)
    functions = [_function(module) for module in modules]
    parameters = [x for module in modules for x in module.parameters()]
    has_short_gradient = is_dense(modules)
    rectified = any(type(module) is nn.ReLU for module in modules)

    def call(x: Tensor) -> Tensor:
        if has_short_gradient and torch.is_grad_enabled():
            outputs: Tensor = Dense.apply(rectified, x, *parameters)
            return outputs
        for function in functions:
            x = function(x)
        return x

    return call


def is_dense(modules: list[nn.Module]) -> bool:
    """Whether modules are linear ones with a bias, and between them either hyperbolic
    tangents or rectifiers.
    """
    linear = modules[::2]
    activations = modules[1::2]
    return (
        len(linear) == len(activations) + 1
        and all(type(x) is nn.Linear and x.bias is not None for x in linear)
        and {type(x) for x in activations} in (set(), {nn.Tanh}, {nn.ReLU})
    )


def _function(module: nn.Module) -> Function:
    """What a module does, as a function; the module itself where that is not known."""
    if type(module) is nn.Linear:
        return partial(nn.functional.linear, weight=module.weight, bias=module.bias)
    known: dict[type, Function] = {nn.Tanh: torch.tanh, nn.ReLU: torch.relu}
    return known.get(type(module), module)


def _through_tanh(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient to x from that to y = tanh(x)."""
    return torch.addcmul(gradient, gradient * y, y, value=-1)


def _through_relu(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient to x from that to y = relu(x)."""
    # a product with y > 0 takes six times as long
    through: Tensor = torch.ops.aten.threshold_backward(gradient, y, 0)
    return through


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.from_numpy(np.tanh(x.numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> Tensor:
        return _through_tanh(d_y, *ctx.saved_tensors)


def tanh(x: Tensor) -> Tensor:
    """`torch.tanh`; where gradients are taken on the CPU by NumPy, in a fifth of the
    time.
    """
    learns = x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled()
    if not learns:
        return torch.tanh(x)
    y: Tensor = _Tanh.apply(x)
    return y


class Dense(torch.autograd.Function):
    """Linear layers, with hyperbolic tangents or rectifiers between them: from inputs
    [N, channels] and each layer's weight [outputs, inputs] and bias [outputs] to what
    the last one gives, [N, outputs]. Or some such networks side by side, all of [count,
    ...]; biases are then [count, 1, outputs].
    """

    @staticmethod
    def forward(ctx: Any, rectified: bool, x: Tensor, *parameters: Tensor) -> Tensor:
        """The last layer's outputs."""
        linear = torch.addmm if x.dim() == 2 else torch.baddbmm
        seen = [x]  # by each layer
        for weight, bias in zip(parameters[::2], parameters[1::2]):
            if len(seen) > 1:
                hidden = seen[-1]
                if rectified:
                    hidden.relu_()
                else:
                    np.tanh(hidden.numpy(), out=hidden.numpy())
            seen.append(linear(bias, seen[-1], weight.mT))
        ctx.rectified = rectified
        ctx.save_for_backward(*seen[:-1], *parameters[::2])
        return seen[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to inputs and parameters."""
        layers = len(ctx.saved_tensors) // 2
        seen = ctx.saved_tensors[:layers]
        weights = ctx.saved_tensors[layers:]
        gradients: list[Tensor | None] = []
        for k in reversed(range(layers)):
            of_weight, of_bias = ctx.needs_input_grad[2 + 2 * k : 4 + 2 * k]
            gradients.append(d.sum(dim=-2, keepdim=d.dim() == 3) if of_bias else None)
            gradients.append(d.mT @ seen[k] if of_weight else None)
            if k > 0:
                d = d @ weights[k]
                through = _through_relu if ctx.rectified else _through_tanh
                d = through(d, seen[k])
        d_x = d @ weights[0] if ctx.needs_input_grad[1] else None
        return None, d_x, *reversed(gradients)
