"""Types of settings that say what range a value is in; `training.options` checks them."""

from typing import Annotated

from annotated_types import Ge, Gt, Interval, Le, Lt

INFINITY = float("inf")

Count = Annotated[int, Ge(1)]
Few = Annotated[int, Ge(1), Le(10_000)]  # of what takes memory: environments, neurons
Number = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**31)]  # so that NumPy takes it, and those of the environments
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0), Lt(INFINITY)]
NotNegative = Annotated[float, Ge(0), Lt(INFINITY)]
Logarithm = Annotated[float, Ge(-20), Le(20)]
