"""Passes through critics, forward and backward: written out, in memory that is kept
from one to the next, or with PyTorch's autograd.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from spikepropamine.policies.dense import (
    bias_gradient,
    layers_backward,
    layers_forward,
    weight_gradient,
)
from spikepropamine.policies.flat_adam import gradients_of


def gradient_rooms(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Where the gradient of each parameter is written to: elsewhere, where it is not
    trained.
    """
    gradients = gradients_of(parameters)
    rooms = []
    for x, gradient in zip(parameters, gradients):
        rooms.append(gradient if x.requires_grad else torch.empty_like(gradient))
    return rooms


class CriticPass(Protocol):
    """A pass through critics.

    The calls are made in the order of the methods; each call of `forward` begins a new
    pass, and what the one before gave no longer holds.
    """

    rows: int
    """N."""

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """What the critics give, [count, N, outputs], for states [N, S] and actions [N,
        actions].
        """

    def backward(self, slopes: Tensor) -> None:
        """Takes in the gradient to what the critics give, [count, N, outputs]."""

    def to_parameters(self) -> None:
        """Makes this the gradient of the critics' parameters, in place of another."""

    def to_inputs(self, first: int, last: int) -> Tensor:
        """The gradient to some of the inputs, [N, last - first]: the numbers of a state
        come first, and then those of the action.
        """


class LayersPass:
    """A pass through linear layers with rectifiers between them, or through some such
    networks side by side, written out.

    Args:
        parameters: weight and bias of each layer, as `Dense` takes them.
        rows: N.
    """

    def __init__(self, parameters: Sequence[Tensor], rows: int) -> None:
        self.rows = rows
        weights = parameters[::2]
        self._outputs = [
            weight.new_empty(*weight.shape[:-2], rows, weight.shape[-2])
            for weight in weights
        ]
        self._to_hidden = [torch.empty_like(x) for x in self._outputs[:-1]]

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """What the last layer gives, [..., N, outputs], until the next call.

        Args:
            x: [..., N, inputs].
            parameters: as at the beginning.
        """
        self.parameters = parameters
        *self._seen, outputs = layers_forward(x, parameters, True, self._outputs)
        return outputs

    def backward(self, slopes: Tensor) -> None:
        """Takes in the gradient to what the last layer gave in the first rows, [...,
        up to N, outputs]; of the others there is none.
        """
        rows = slopes.shape[-2]
        self._seen = [x[..., :rows, :] for x in self._seen]
        rooms = [x[..., :rows, :] for x in self._to_hidden]
        self._slopes = layers_backward(
            slopes, self._seen, self.parameters[::2], True, rooms
        )

    def to_parameters(self, rooms: Sequence[Tensor]) -> None:
        """Writes the gradient to each of the parameters to its room."""
        for slope, seen, of_weight, of_bias in zip(
            self._slopes, self._seen, rooms[::2], rooms[1::2], strict=True
        ):
            weight_gradient(slope, seen, of_weight)
            bias_gradient(slope, of_bias)

    def to_inputs(self, first: int, last: int) -> Tensor:
        """The gradient to some of the inputs, [..., rows, last - first]."""
        return torch.matmul(self._slopes[0], self.parameters[0][..., first:last])


class DensePass:
    """A `CriticPass` through rectified MLPs side by side, written out.

    Args:
        parameters: of the MLPs, as of `Critics`.
        rows: N.
    """

    def __init__(self, parameters: list[nn.Parameter], rows: int) -> None:
        self.parameters = parameters
        self.rows = rows
        count, _, inputs = parameters[0].shape
        self._inputs = parameters[0].new_empty(count, rows, inputs)
        self._layers = LayersPass(parameters, rows)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `CriticPass`."""
        width = states.shape[1]
        self._inputs[:, :, :width] = states
        self._inputs[:, :, width:] = actions
        return self._layers.forward(self._inputs, self.parameters)

    def backward(self, slopes: Tensor) -> None:
        """See `CriticPass`."""
        self._layers.backward(slopes)

    def to_parameters(self) -> None:
        """See `CriticPass`."""
        self._layers.to_parameters(gradient_rooms(self.parameters))

    def to_inputs(self, first: int, last: int) -> Tensor:
        """See `CriticPass`."""
        return self._layers.to_inputs(first, last).sum(dim=0)


class GraphPass:
    """A `CriticPass` through any critics, with PyTorch's autograd. There may be
    rows beyond N, which have no gradient.

    Args:
        critics: called with states and actions.
        rows: N.
    """

    def __init__(self, critics: nn.Module, rows: int) -> None:
        self.critics = critics
        self.rows = rows
        self.parameters = list(critics.parameters())

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `CriticPass`."""
        self._states = states.detach().requires_grad_()
        self._actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            outputs = self.critics(self._states, self._actions)
            self._of_rows = outputs[:, : self.rows]
        return outputs.detach()

    def backward(self, slopes: Tensor) -> None:
        """See `CriticPass`."""
        self._slopes = slopes

    def to_parameters(self) -> None:
        """See `CriticPass`."""
        learned = [x for x in self.parameters if x.requires_grad]
        for room, gradient in zip(gradients_of(learned), self._gradients(learned)):
            room.copy_(gradient)

    def to_inputs(self, first: int, last: int) -> Tensor:
        """See `CriticPass`."""
        of_inputs = self._gradients([self._states, self._actions])
        return torch.cat(of_inputs, dim=1)[: self.rows, first:last]

    def _gradients(self, tensors: list[Any]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self._of_rows, tensors, self._slopes, retain_graph=True
        )


class ActorPass:
    """A pass from what the last layers of an actor see to actions that are drawn, and
    back. It is written out; what comes before these layers has its gradients from
    PyTorch's autograd.

    Args:
        actor: whose last layers they are.
        hidden: of the last layers, those before the heads, as linear layers that are
            rectified.
        rows: N.
    """

    def __init__(self, actor: Any, hidden: Sequence[nn.Linear], rows: int) -> None:
        self.actor = actor
        self.hidden: list[nn.Parameter] = []
        for layer in hidden:
            self.hidden += layer.parameters()
        self.heads: list[nn.Linear] = actor.heads()
        self.rows = rows
        self._layers = LayersPass(self._parameters(), rows)

    def _parameters(self) -> list[Tensor]:
        """Of the last layers, those of the heads together."""
        weight = torch.cat([head.weight.detach() for head in self.heads])
        bias = torch.cat([head.bias.detach() for head in self.heads])
        return [*self.hidden, weight, bias]

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [N, actions] between -1 and 1, and their log-likelihoods [N], of what
        the last layers see [N, numbers].
        """
        self._x = x
        logits = self._layers.forward(x, self._parameters())
        actions, log_probs, self._to_logits = self.actor.draw(logits)
        return actions, log_probs

    @torch.no_grad()
    def backward(
        self, of_actions: Tensor, of_log_probs: Tensor | None, rows: Tensor
    ) -> None:
        """Makes the gradients of the last layers anew, and adds to those of what comes
        before them.

        Args:
            of_actions: gradient to the actions of some rows, [up to N, actions].
            of_log_probs: and to their log-likelihoods, [up to N]; None: none.
            rows: which rows these are, int64 [up to N], ascending.
        """
        if rows[-1] >= len(rows):  # they are not the first ones
            of_actions = _spread(of_actions, rows)
            if of_log_probs is not None:
                of_log_probs = _spread(of_log_probs, rows)
        self._layers.backward(self._to_logits(of_actions, of_log_probs))
        *_, weight, bias = self._layers.parameters
        of_weight = torch.empty_like(weight)
        of_bias = torch.empty_like(bias)
        self._layers.to_parameters([*gradient_rooms(self.hidden), of_weight, of_bias])
        first = 0
        for head in self.heads:
            last = first + head.out_features
            weight_room, bias_room = gradient_rooms(list(head.parameters()))
            weight_room.copy_(of_weight[first:last])
            bias_room.copy_(of_bias[first:last])
            first = last
        if self._x.requires_grad:
            of_x = torch.zeros_like(self._x)
            of_x[: len(of_actions)] = self._layers.to_inputs(0, of_x.shape[1])
            torch.autograd.backward(self._x, of_x)


def _spread(x: Tensor, rows: Tensor) -> Tensor:
    """Rows [M, ...] in their places [up to the last of them, ...]; others are zeros."""
    whole = x.new_zeros(int(rows[-1]) + 1, *x.shape[1:])
    return whole.index_copy_(0, rows, x)
