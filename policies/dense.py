"""Linear layers and activations as functions, with short gradients on the CPU."""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Function = Callable[[Tensor], Tensor]
FEW = 64
"""Inputs of a layer from which on its gradient is one product. With fewer, the product
of the factors in the other order takes half as long."""
Room = Tensor | None
"""Where a result is put; None: in a new tensor."""


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


def places(parameters: Iterable[Tensor]) -> list[Any]:
    """Addresses of parameters; a new object, which is like no other, for one whose
    numbers do not lie in order.
    """
    return [x.data_ptr() if x.is_contiguous() else object() for x in parameters]


def _function(module: nn.Module) -> Function:
    """What a module does, as a function; the module itself where that is not known."""
    if type(module) is nn.Linear:
        return partial(nn.functional.linear, weight=module.weight, bias=module.bias)
    known: dict[type, Function] = {nn.Tanh: torch.tanh, nn.ReLU: torch.relu}
    return known.get(type(module), module)


def _through_tanh(gradient: Tensor, y: Tensor, room: Room = None) -> Tensor:
    """The gradient to x from that to y = tanh(x)."""
    return torch.addcmul(gradient, gradient * y, y, value=-1, out=room)


def _through_relu(gradient: Tensor, y: Tensor, room: Room = None) -> Tensor:
    """The gradient to x from that to y = relu(x)."""
    # a product with y > 0 takes six times as long
    if room is None:
        return torch.ops.aten.threshold_backward(gradient, y, 0)
    return torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=room)


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
        seen = layers_forward(x, parameters, rectified)
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
        slopes = layers_backward(d, seen, weights, ctx.rectified)
        gradients: list[Tensor | None] = []
        for k in range(layers):
            of_weight, of_bias = ctx.needs_input_grad[2 + 2 * k : 4 + 2 * k]
            gradients.append(weight_gradient(slopes[k], seen[k]) if of_weight else None)
            gradients.append(bias_gradient(slopes[k]) if of_bias else None)
        d_x = slopes[0] @ weights[0] if ctx.needs_input_grad[1] else None
        return None, d_x, *gradients


def layers_forward(
    x: Tensor,
    parameters: Sequence[Tensor],
    rectified: bool,
    rooms: Sequence[Room] | None = None,
) -> list[Tensor]:
    """What each linear layer sees, and what the last one gives.

    Args:
        x: inputs.
        parameters: weight and bias of each layer, as `Dense` has them.
        rectified: whether rectifiers are between the layers, or hyperbolic tangents.
        rooms: for what each layer gives.
    """
    linear: Any = torch.addmm if x.dim() == 2 else torch.baddbmm
    weights = parameters[::2]
    biases = parameters[1::2]
    rooms = rooms or [None] * len(weights)
    seen = [x]
    for weight, bias, room in zip(weights, biases, rooms, strict=True):
        if len(seen) > 1:
            hidden = seen[-1]
            if rectified:
                hidden.relu_()
            else:
                np.tanh(hidden.numpy(), out=hidden.numpy())
        seen.append(linear(bias, seen[-1], weight.mT, out=room))
    return seen


def layers_backward(
    d: Tensor,
    seen: Sequence[Tensor],
    weights: Sequence[Tensor],
    rectified: bool,
    rooms: Sequence[Room] | None = None,
) -> list[Tensor]:
    """The gradient to what each linear layer gives.

    Args:
        d: to what the last one gives.
        seen: by each layer, as `layers_forward` says.
        weights: of each layer.
        rectified: whether rectifiers are between the layers, or hyperbolic tangents.
        rooms: for the results of all layers but the last.
    """
    rooms = rooms or [None] * (len(weights) - 1)
    through = _through_relu if rectified else _through_tanh
    slopes = [d]
    for k in reversed(range(1, len(weights))):
        weight = weights[k]
        room = rooms[k - 1]
        if weight.shape[-2] == 1:
            # a product of matrices takes three times as long
            to_hidden = torch.mul(d, weight, out=room)
        else:
            to_hidden = _product(d, weight, room)
        d = through(to_hidden, seen[k], room)
        slopes.append(d)
    return slopes[::-1]


def weight_gradient(d: Tensor, x: Tensor, room: Room = None) -> Tensor:
    """The gradient to the weight of a linear layer.

    Args:
        d: the gradient to what it gives, [..., N, outputs].
        x: what it sees, [..., N, inputs].
        room: for the result, [..., outputs, inputs].
    """
    if room is None or x.shape[-1] >= FEW:
        return _product(d.mT, x, room)
    return room.copy_(_product(x.mT, d, None).mT)


def bias_gradient(d: Tensor, room: Room = None) -> Tensor:
    """The gradient to the bias of a linear layer.

    Args:
        d: the gradient to what it gives, [N, outputs] or [count, N, outputs].
        room: for the result, [outputs] or [count, 1, outputs].
    """
    return torch.sum(d, dim=-2, keepdim=d.dim() == 3, out=room)


def _product(a: Tensor, b: Tensor, room: Room) -> Tensor:
    """Of two matrices, or of as many pairs as there are."""
    if a.dim() == 2:
        return torch.mm(a, b, out=room)  # type: ignore[call-overload]
    return torch.bmm(a, b, out=room)  # type: ignore[call-overload]
