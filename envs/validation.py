"""Checks of constructor arguments, with messages that name the argument and its valid range."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def check_integer(name: str, value: int, low: int, high: int | None = None) -> int:
    """Return `value` as an int if it is an integer in [low, high], else raise ValueError."""
    valid = f">= {low}" if high is None else f"in [{low}, {high}]"
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be an integer {valid}, got {value!r}")
    return int(value)


def check_number(name: str, value: float, low: float, high: float) -> float:
    """Return `value` as a float if it is a number in [low, high], else raise ValueError."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # a NaN fails the comparison, too
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return `value` if it is one of the choices, else raise ValueError."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
