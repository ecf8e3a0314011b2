"""Types of settings that say what range a value is in; `training.options` checks them."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import BeforeValidator

INFINITY = float("inf")


def _whole(value: Any) -> Any:
    """A whole number where a text says one with an exponent, as 1e5 does."""
    try:
        number = float(value) if isinstance(value, str) and "e" in value.lower() else INFINITY
    except ValueError:
        return value
    return int(number) if abs(number) < 1e15 and number.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Ge(1)]
Few = Annotated[Whole, Ge(1), Le(10_000)]  # of what takes memory: environments, neurons
Number = Annotated[Whole, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**31)]  # so that NumPy takes it, and those of the environments
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0), Lt(INFINITY)]
NotNegative = Annotated[float, Ge(0), Lt(INFINITY)]
Logarithm = Annotated[float, Ge(-20), Le(20)]
