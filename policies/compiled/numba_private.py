"""How kernels are compiled; the only file that uses what Numba does not document."""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from spikepropamine.reading import read_bytes


class _DistinctArguments(CompilerBase):
    """Tells LLVM that the arrays passed to a function do not overlap; without it, most
    loops are not vectorised.
    """

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # not nnan: a NaN must stay one
    "pipeline_class": _DistinctArguments,
    # no counting of references, whose atomic operations took a third of the time
    "_nrt": False,
}
_INNER = OPTIONS | {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # not called by Python
# Called functions come in three sorts, by what they cost to compile and to call:
inlined = numba.njit(forceinline=True, **_INNER)  # loops over arrays
spliced = numba.njit(
    inline="always", **_INNER
)  # one number at a time; knows no distinct arrays
outlined = numba.njit(**_INNER)  # what is called seldom


def _hash_of_sources() -> str:
    folder = Path(__file__).parent
    callers = {"autograd.py", "gated.py", "step.py"}  # they have no kernels
    files = [file for file in sorted(folder.rglob("*.py")) if file.name not in callers]
    files.append(folder.parent / "reference.py")
    return hashlib.sha256(b"".join(read_bytes(file) for file in files)).hexdigest()


SOURCES = _hash_of_sources()


def digest(text: str) -> str:
    """A short hash of a text and of all sources."""
    return hashlib.sha256((SOURCES + text).encode()).hexdigest()[:12]


def kernel(kind: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function on its first call, and keeps the result on disk.

    Numba finds it there by file, name, line and time of change of the function's own
    file. Into the name goes a hash of all files here and of the kind for which they are
    specialised, so that no kernel goes on with an equation from before.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ = f"{function.__name__}_{digest(kind)}"
        try:
            return numba.njit(cache=True, **OPTIONS)(function)
        except RuntimeError:  # no folder for the cache can be written
            return numba.njit(**OPTIONS)(function)

    return decorate


@cast(Any, intrinsic)
def at(typing_context, address, shape, like) -> Any:
    """An array at an address, C-contiguous, without a copy.

    Args:
        typing_context: of Numba; callers leave it out.
        address: integer.
        shape: tuple of lengths.
        like: a number of the array's type.
    """
    axes = len(shape)

    def generate(context, builder, signature, arguments):
        item = context.get_data_type(like)
        array = context.make_array(signature.return_type)(context, builder)
        lengths = cgutils.unpack_tuple(builder, arguments[1], axes)
        strides = [context.get_constant(types.intp, context.get_abi_sizeof(item))]
        for length in reversed(lengths):
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(arguments[0], item.as_pointer())
        populate_array(array, data, lengths, strides[1:], strides[-1], None)
        return array._getvalue()

    return types.Array(like, axes, "C")(address, shape, like), generate


@cast(Any, intrinsic)
def constant(typing_context, value, like) -> Any:
    """A number in the type of another (a literal is float64, and widens float32).

    Args:
        typing_context: of Numba; callers leave it out.
        value: the number.
        like: a number of the type.
    """

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], value, like)

    return like(value, like), generate


@cast(Any, intrinsic)
def split(typing_context, x) -> Any:
    """The binary exponent of a positive number, and its mantissa in [1, 2)."""

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        fraction = 23 if x.bitwidth == 32 else 52
        middle = (1 << (x.bitwidth - fraction - 2)) - 1  # the exponent of 1
        bits = builder.bitcast(value, ir.IntType(x.bitwidth))
        shifted = builder.lshr(bits, bits.type(fraction))
        exponent = builder.sitofp(builder.sub(shifted, bits.type(middle)), value.type)
        rest = builder.and_(bits, bits.type((1 << fraction) - 1))
        mantissa = builder.bitcast(
            builder.or_(rest, bits.type(middle << fraction)), value.type
        )
        return context.make_tuple(builder, signature.return_type, (exponent, mantissa))

    return types.UniTuple(x, 2)(x), generate


@spliced
def log(x):
    """Natural logarithm of a positive number, else NaN; a loop of it is vectorised, as
    one of `math.log` is not.
    """
    exponent, mantissa = split(x)
    root, half = constant(1.4142135623730951, x), constant(0.34657359027997264, x)
    s = (mantissa - root) / (mantissa + root)
    z = s * s
    series = constant(1 / 21, x)
    # the series of the area tangent
    for odd in (19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * z + constant(1.0, x) / constant(odd, x)
    value = (exponent + exponent + constant(1.0, x)) * half + (s + s) * series
    return value if x > constant(0.0, x) else constant(math.nan, x)


@cast(Any, intrinsic)
def power_of_two(typing_context, exponent) -> Any:
    """2 to the power of a whole number, which must be that of a normal number."""

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        fraction = 23 if exponent.bitwidth == 32 else 52
        middle = (1 << (exponent.bitwidth - fraction - 2)) - 1  # the exponent of 1
        bits = builder.fptosi(value, ir.IntType(exponent.bitwidth))
        shifted = builder.shl(
            builder.add(bits, bits.type(middle)), bits.type(fraction)
        )
        return builder.bitcast(shifted, value.type)

    return exponent(exponent), generate


@spliced
def exp(x):
    """E to the power of x, which is taken as -87 below and as 87 above; a loop of it is
    vectorised, as one of `math.exp` is not.
    """
    most = constant(87.0, x)  # float32 ends at 88.7
    bounded = -most if x < -most else (most if x > most else x)
    k = np.floor(bounded * constant(1.4426950408889634, x) + constant(0.5, x))
    rest = bounded - k * constant(0.6931471805599453, x)  # at most half of log 2
    series = constant(1.0, x)
    # the series of the exponential function, as 1 + r (1 + r/2 (1 + r/3 (...)))
    for order in (13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0):
        series = constant(1.0, x) + series * rest / constant(order, x)
    return series * power_of_two(k)


@spliced
def carve(address, shape, like):
    """An array at an address, and the address of the next cache line after it.

    Args:
        address: integer.
        shape: tuple of lengths.
        like: a number of the array's type.
    """
    array = at(address, shape, like)
    return array, (address + array.size * array.itemsize + 63) // 64 * 64
