"""The named layout of the flat vector that carries a network's state from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", Tensor, np.ndarray)


@dataclass(frozen=True)
class StateLayout:
    """Names and shapes of the fields of one environment's state, packed in order.

    Attributes:
        shapes: field name to shape, without the batch axis.
        columns: fields, of two axes, that lie in the vector column by column.
    """

    shapes: Mapping[str, tuple[int, ...]]
    columns: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each field lies in the flat vector."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            slices[name] = slice(start, start + prod(shape))
            start += prod(shape)
        return slices

    @cached_property
    def size(self) -> int:
        """Width D of the flat vector."""
        return sum(prod(shape) for shape in self.shapes.values())

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of the fields, each [B, *shape], of a flat state [B, D]."""
        parts = flat.split([prod(shape) for shape in self.shapes.values()], dim=1)
        return {name: self._shaped(part, name) for name, part in zip(self.shapes, parts)}

    def pack(self, state: Mapping[str, Tensor]) -> Tensor:
        """One flat state [B, D] out of fields [B, *shape]."""
        return torch.cat(
            [
                (state[name].transpose(1, 2) if name in self.columns else state[name]).flatten(1)
                for name in self.shapes
            ],
            dim=1,
        )

    def get(self, flat: Array, name: str) -> Array:
        """View of one field, [..., *shape], of flat states [..., D] (tensor or NumPy array).

        Raises:
            KeyError: no such field; the message lists the fields.
        """
        if name not in self.shapes:
            raise KeyError(f"no state field {name!r}; the fields are: {', '.join(self.shapes)}")
        return self._shaped(flat[..., self.slices[name]], name)

    def _shaped(self, part: Array, name: str) -> Array:
        shape = self.shapes[name]
        if len(shape) == 1:
            return part
        if name in self.columns:
            return part.reshape(*part.shape[:-1], *shape[::-1]).swapaxes(-1, -2)
        return part.reshape(*part.shape[:-1], *shape)
