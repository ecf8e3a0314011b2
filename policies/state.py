"""The state of a spiking network as one flat vector for each environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeVar

import numpy as np
from torch import Tensor, cat

Array = TypeVar("Array", Tensor, np.ndarray)

FLAGS = ("plasticity_off", "modulator_held")
"""Fields [B, 1] of every network's state that no step changes: 1 is yes, 0 is no."""


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
        slices = {}
        start = 0
        for name, shape in self.shapes.items():
            stop = start + prod(shape)
            slices[name] = slice(start, stop)
            start = stop
        return slices

    @cached_property
    def size(self) -> int:
        """Width D of the flat vector."""
        return sum(prod(shape) for shape in self.shapes.values())

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of the fields, each [B, *shape], of a flat state [B, D]."""
        parts = flat.split([prod(shape) for shape in self.shapes.values()], dim=1)
        return {
            name: self._shaped(part, name) for name, part in zip(self.shapes, parts)
        }

    def pack(self, state: Mapping[str, Tensor]) -> Tensor:
        """One flat state [B, D] out of fields [B, *shape]."""
        parts = []
        for name in self.shapes:
            x = state[name]
            if name in self.columns:
                x = x.transpose(1, 2)  # not `mT`, which cannot be exported to ONNX
            parts.append(x.flatten(1))
        return cat(parts, dim=1)

    def get(self, flat: Array, name: str) -> Array:
        """View of one field of flat states.

        Args:
            flat: [..., D], a tensor or a NumPy array.
            name: of the field.

        Returns:
            [..., *shape], in the memory of `flat`.

        Raises:
            KeyError: no such field; the message lists the fields.
        """
        if name not in self.shapes:
            raise KeyError(
                f"no state field {name!r}; the fields are: {', '.join(self.shapes)}"
            )
        return self._shaped(flat[..., self.slices[name]], name)

    def _shaped(self, part: Array, name: str) -> Array:
        shape = self.shapes[name]
        if len(shape) == 1:
            return part
        if name in self.columns:
            return part.reshape(*part.shape[:-1], *shape[::-1]).swapaxes(-1, -2)
        return part.reshape(*part.shape[:-1], *shape)
