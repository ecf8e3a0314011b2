"""Linear layers of one row, with hyperbolic tangents or rectifiers between them, in one
call.

Sums are taken in another order than those of PyTorch's products, so results differ by
rounding errors.
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

import numpy as np

from spikepropamine.policies.compiled.cells import tanh
from spikepropamine.policies.compiled.numba_private import at, inlined, kernel
from spikepropamine.policies.compiled.rows import ZERO

DENSE_TABLE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "width",  # how many inputs it has
            "count",  # how many outputs
            # addresses
            "inputs",  # [width]
            "weight",  # [count, width]
            "bias",  # [count]
            "outputs",  # [count]
        )
    ]
)
"""One row for each layer."""


@inlined
def linear(inputs, weight, bias, outputs):
    """One layer: y = W x + b."""
    for i in range(bias.shape[0]):
        total = ZERO
        for j in range(inputs.shape[0]):
            total += weight[i, j] * inputs[j]
        outputs[i] = total + bias[i]


@inlined
def rectify(x):
    """Rectifiers, in place."""
    for i in range(x.shape[0]):
        # not by `max`, which would lose a NaN
        x[i] = ZERO if x[i] < ZERO else x[i]


@inlined
def squash(x):
    """Hyperbolic tangents, in place."""
    for i in range(x.shape[0]):
        x[i] = tanh(x[i])


@kernel()
def dense(like, layers, rectified, table):
    """All layers, one after the other.

    Args:
        like: a number of the arrays' type.
        layers: how many there are.
        rectified: whether rectifiers are between them, or hyperbolic tangents.
        table: a `DENSE_TABLE`.
    """
    for k in range(layers):
        layer = table[k]
        width, count = layer.width, layer.count
        outputs = at(layer.outputs, (count,), like)
        linear(
            at(layer.inputs, (width,), like),
            at(layer.weight, (count, width), like),
            at(layer.bias, (count,), like),
            outputs,
        )
        if k < layers - 1:
            if rectified:
                rectify(outputs)
            else:
                squash(outputs)
