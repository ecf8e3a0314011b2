"""Perturbations of what is observed."""

import math
from typing import Any

import numpy as np

from spikepropamine.envs.perturbations.contexts import Order, Signs, in_context
from spikepropamine.envs.perturbations.family import Bound, Family


def _floats(task: Any) -> str | None:
    dtype = getattr(getattr(task, "observation_space", None), "dtype", None)
    # discrete codes have no scale on which a sensor could be slightly wrong
    scaled = dtype is not None and np.issubdtype(dtype, np.floating)
    return None if scaled else "its observations are no array of floats"


def _zeros(task: Any) -> str | None:
    if reason := _floats(task):
        return reason
    space = task.observation_space
    inside = (space.low <= 0).all() and (space.high >= 0).all()
    return None if inside else "0 is none of its observations"


def _several_floats(task: Any) -> str | None:
    return _floats(task) or (None if len(_sensors(task)) > 1 else "it has one sensor only")


def _sensors(task: Any) -> np.ndarray:
    return np.arange(int(np.prod(task.observation_space.shape)))


def _signs(task: Any) -> dict[str, Signs]:
    every = _sensors(task)
    found = {"each": Signs(every), "all": Signs(every, one=True)}
    return found | {f"sensor_{index}": Signs(np.array([index])) for index in every}


def _orders(task: Any) -> dict[str, Order]:
    return {"each": Order(_sensors(task))}


def _add_noise(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    noise = bound.random.standard_normal(observation.shape)
    return (observation + value * bound.spread * noise).astype(observation.dtype)


def _add_bias(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    if "bias" not in bound.kept:
        bound.kept["bias"] = bound.spread * bound.random.standard_normal(observation.shape)
    return (observation + value * bound.kept["bias"]).astype(observation.dtype)


def _drop(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    lost = bound.random.random(observation.shape) < value
    return np.where(lost, np.zeros_like(observation), observation)


def _stick(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """The sensors that stick at a higher severity include those that stick at a lower one."""
    if "rank" not in bound.kept:
        ranks = bound.random.permutation(observation.size)
        bound.kept["rank"] = ranks.reshape(observation.shape)
        bound.kept["stuck"] = np.zeros(observation.shape, dtype=bool)
        bound.kept["reading"] = observation.copy()
    stuck = bound.kept["rank"] < math.ceil(value * observation.size)
    newly = stuck & ~bound.kept["stuck"]
    bound.kept["reading"][newly] = observation[newly]
    bound.kept["stuck"] = stuck
    return np.where(stuck, bound.kept["reading"], observation)


def _delay(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """Unlike Gymnasium's DelayObservation, an episode begins with its first observation repeated
    (zeros would be a perturbation of another kind), and the delay can begin, grow and end.
    """
    history = bound.kept.setdefault("history", [])
    history.append(observation.copy())
    if len(history) > DELAY_OBSERVATION.hardest + 1:
        history.pop(0)
    return history[max(len(history) - 1 - int(value), 0)].copy()


NOISE = Family(
    "obs_noise", "sensing",
    "Gaussian noise on every dimension of the observation, anew at every step.",
    "standard deviation / spread", nominal=0, hardest=1, unbounded=True, scaled_by_spread=True,
    reason_against=_floats, observe=_add_noise,
)  # fmt: skip
BIAS = Family(
    "obs_bias", "sensing", "A constant Gaussian offset on every dimension of the observation.",
    "standard deviation / spread", nominal=0, hardest=1, unbounded=True, scaled_by_spread=True,
    reason_against=_floats, observe=_add_bias,
)  # fmt: skip
DROPOUT = Family(
    "obs_dropout", "sensing",
    "Each dimension of the observation reads 0 at some steps, independently.",
    "probability", nominal=0, hardest=0.5, reason_against=_zeros, observe=_drop,
)  # fmt: skip
STUCK = Family(
    "obs_stuck", "sensing",
    "Some dimensions of the observation keep the reading that they had at the onset.",
    "fraction of the dimensions", nominal=0, hardest=0.5, reason_against=_floats, observe=_stick,
)  # fmt: skip
DELAY_OBSERVATION = Family(
    "obs_delay", "sensing", "The observation is that of some steps ago.",
    "steps", nominal=0, hardest=8, whole=True, reason_against=_floats, observe=_delay,
)  # fmt: skip
SIGNS = Family(
    "sensor_signs", "sensing",
    "Each dimension of the observation has a hidden sign: it reads as it is or flipped.",
    "share of the dimensions", nominal=0, hardest=1, unbounded=True, contexts=True,
    targets=_signs, reason_against=_floats, observe=in_context,
)  # fmt: skip
ORDER = Family(
    "sensor_order", "sensing", "The dimensions of the observation have a hidden order.",
    "share of the dimensions", nominal=0, hardest=1, unbounded=True, contexts=True,
    targets=_orders, reason_against=_several_floats, observe=in_context,
)  # fmt: skip

FAMILIES = (NOISE, BIAS, DROPOUT, STUCK, DELAY_OBSERVATION, SIGNS, ORDER)
