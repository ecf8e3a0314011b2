"""Contexts: a sign for each motor or sensor, or an order of them, that no observation tells.

A context has a code; 0 is the plain task. A quarter of the codes, never 0, is held out, by a rule
that no seed changes. What a context does can be undone to the last bit.
"""

import math
from abc import ABC, abstractmethod
from functools import cache

import numpy as np

from spikepropamine.envs.perturbations.family import Bound

MOST_CODES = 2**17
SETS = ("seen", "held_out")


class Contexts(ABC):
    """The contexts that some channels, indices into a flattened observation or action, may be in.
    A context is written as one number for each channel, int64 [channels].
    """

    def __init__(self, channels: np.ndarray) -> None:
        self.channels = channels

    all: int
    """How many contexts there are."""

    @property
    def codes(self) -> int:
        """How many contexts have a code: all, or `MOST_CODES` where there are more."""
        return min(self.all, MOST_CODES)

    def of_code(self, code: int) -> np.ndarray:
        """The context with a code. Raises ValueError where there is none."""
        if not 0 <= code < self.codes:
            raise ValueError(f"there are {self.codes} contexts, from 0 to {self.codes - 1}")
        if self.all <= MOST_CODES or code == 0:
            return self._counted(code)
        return self._completed(code, np.random.default_rng([len(self.channels), code]))

    @abstractmethod
    def _counted(self, code: int) -> np.ndarray:
        """The context that comes at a place in their natural order; the plain one is first."""

    @abstractmethod
    def _completed(self, code: int, random: np.random.Generator) -> np.ndarray:
        """A context of which the code settles one part, so that no two codes have the same, and
        `random` the rest.
        """

    @abstractmethod
    def changing(self, share: float, ranks: np.ndarray) -> np.ndarray:
        """A context that changes a share in [0, 1] of the channels, those of the lowest rank."""

    def apply(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """What an observation or action becomes."""
        if len(self.channels) == values.size:
            return self._arranged(values.ravel(), context).reshape(values.shape)
        changed = values.flatten()
        changed[self.channels] = self._arranged(changed[self.channels], context)
        return changed.reshape(values.shape)

    def undo(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """The observation or action of which `apply` makes this one."""
        return self.apply(values, self.inverse(context))

    @abstractmethod
    def _arranged(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """What the values of the channels become."""

    @abstractmethod
    def opposite(self, context: np.ndarray) -> np.ndarray:
        """The context that is as different as can be."""

    @abstractmethod
    def inverse(self, context: np.ndarray) -> np.ndarray:
        """The context that undoes another one."""


class Signs(Contexts):
    """A sign for each channel, 1 or -1; bit i of the code is set where that of channel i is -1.
    Where all have `one` sign, there are two codes.
    """

    def __init__(self, channels: np.ndarray, one: bool = False) -> None:
        super().__init__(channels)
        self._signs = 1 if one else len(channels)
        self.all = 2**self._signs

    def _counted(self, code: int) -> np.ndarray:  # the bits of the code
        return self._spread(code >> np.arange(self._signs) & 1)

    def _completed(self, code: int, random: np.random.Generator) -> np.ndarray:
        flipped = random.integers(2, size=self._signs)
        flipped[: MOST_CODES.bit_length() - 1] = code >> np.arange(MOST_CODES.bit_length() - 1) & 1
        return self._spread(flipped)

    def changing(self, share: float, ranks: np.ndarray) -> np.ndarray:
        """-1 for the channels of the lowest rank."""
        return self._spread(ranks[: self._signs] < math.ceil(share * len(ranks)))

    def _arranged(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        return values * context.astype(values.dtype)

    def opposite(self, context: np.ndarray) -> np.ndarray:
        """The other sign everywhere."""
        return -context

    def inverse(self, context: np.ndarray) -> np.ndarray:
        """The same signs."""
        return context

    def _spread(self, flipped: np.ndarray) -> np.ndarray:
        return np.broadcast_to(1 - 2 * flipped.astype(np.int64), self.channels.shape).copy()


class Order(Contexts):
    """An order of the channels: channel i gets what is meant for channel `context[i]`."""

    def __init__(self, channels: np.ndarray) -> None:
        super().__init__(channels)
        self.all = math.factorial(len(channels))

    def _counted(self, code: int) -> np.ndarray:  # as words in a dictionary
        left, order = list(range(len(self.channels))), []
        while left:
            place, code = divmod(code, math.factorial(len(left) - 1))
            order.append(left.pop(place))
        return np.array(order)

    def _completed(self, code: int, random: np.random.Generator) -> np.ndarray:
        # the digits of the code choose among what is left
        left, order, settled = list(range(len(self.channels))), [], 1
        while settled < MOST_CODES:
            settled *= len(left)
            code, place = divmod(code, len(left))
            order.append(left.pop(place))
        return np.array([*order, *random.permutation(left)], dtype=np.int64)

    def changing(self, share: float, ranks: np.ndarray) -> np.ndarray:
        """The channels of the lowest rank, two at least, hand on what they get in a circle."""
        order = np.arange(len(ranks))
        if share > 0:
            chosen = np.argsort(ranks)[: max(2, math.ceil(share * len(ranks)))]
            order[chosen] = np.roll(chosen, 1)
        return order

    def _arranged(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        return values[context]

    def opposite(self, context: np.ndarray) -> np.ndarray:
        """The order from its end to its beginning; of an odd number, where one would stay in its
        place, moved on by one.
        """
        return np.roll(context, 1) if len(context) % 2 else context[::-1].copy()

    def inverse(self, context: np.ndarray) -> np.ndarray:
        """The order that puts back what this one moved."""
        return np.argsort(context)


def in_context(values: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """What an observation or action becomes in the present context."""
    return bound.target.apply(values, bound.kept["context"])


@cache
def codes_of(contexts: int, name: str) -> np.ndarray:
    """The codes, rising, of a set out of `SETS`, where so many contexts have a code."""
    # stored results depend on this: the seed and the rule must stay as they are
    held_out = np.random.default_rng(0).permutation(np.arange(1, contexts))[: contexts // 4]
    if name == "held_out":
        return np.sort(held_out)
    return np.setdiff1d(np.arange(contexts), held_out)
