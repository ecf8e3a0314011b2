"""Contexts: a sign for each motor or sensor, or an order of them, that no observation tells.

A context has a code; 0 is the plain task. A quarter of the codes, never 0, is held out, by a rule
that no seed changes. What a context does can be undone to the last bit.
"""

import math
from functools import cache

import numpy as np

from spikepropamine.envs.perturbations.catalogue import Bound

CODE_BITS = 17
MOST_CODES = 2**CODE_BITS
SETS = ("seen", "held_out")


class Contexts:
    """The contexts that some channels, indices into a flattened observation or action, may be in.
    A context is written as one number for each channel, int64 [channels].

    Their kind is "signs": 1 or -1 for each channel; bit i of the code is set where channel i is -1.
    Or "sign": one for all channels, so that there are two codes. Or "order": channel i gets what is
    meant for channel `context[i]`; orders are counted as words in a dictionary.
    """

    def __init__(self, channels: np.ndarray, kind: str) -> None:
        self.channels, self.ordered = channels, kind == "order"
        self._free = 1 if kind == "sign" else len(channels)
        self.all = math.factorial(self._free) if self.ordered else 2**self._free
        self.codes = min(self.all, MOST_CODES)  # how many have a code

    def of_code(self, code: int) -> np.ndarray:
        """The context with a code; 0 is the plain one. Raises ValueError where there is none.

        Where there are more contexts than codes, a code settles one part of its context, so that no
        two have the same, and random numbers the rest.
        """
        if not 0 <= code < self.codes:
            raise ValueError(
                f"there are {self.codes} contexts, from 0 to {self.codes - 1}"
            )
        size, settles_all = self._free, self.all <= MOST_CODES or code == 0
        random = np.random.default_rng([len(self.channels), code])
        if not self.ordered:
            flipped = (
                np.zeros(size, int) if settles_all else random.integers(2, size=size)
            )
            flipped[:CODE_BITS] = code >> np.arange(min(size, CODE_BITS)) & 1
            return self._signs(flipped)
        left, order, settled = list(range(size)), [], 1
        while left and (settles_all or settled < MOST_CODES):
            if settles_all:
                place, code = divmod(code, math.factorial(len(left) - 1))
            else:
                settled *= len(left)
                code, place = divmod(code, len(left))
            order.append(left.pop(place))
        return np.array([*order, *random.permutation(left)], dtype=np.int64)

    def changing(self, share: float, ranks: np.ndarray) -> np.ndarray:
        """A context that changes a share in [0, 1] of the channels, those of the lowest rank: their
        signs, or, of two at least, the order, so that they hand on what they get in a circle.
        """
        number = math.ceil(share * len(ranks))
        if not self.ordered:
            return self._signs(ranks[: self._free] < number)
        order, chosen = np.arange(len(ranks)), np.argsort(ranks)[: max(2, number)]
        if share > 0:
            order[chosen] = np.roll(chosen, 1)
        return order

    def apply(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """What an observation or action becomes."""
        changed = values.flatten()
        channels = slice(None) if len(self.channels) == values.size else self.channels
        if self.ordered:
            changed[channels] = changed[channels][context]
        else:
            changed[channels] *= context.astype(values.dtype)
        return changed.reshape(values.shape)

    def undo(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """The observation or action of which `apply` makes this one."""
        return self.apply(values, np.argsort(context) if self.ordered else context)

    def opposite(self, context: np.ndarray) -> np.ndarray:
        """The context that is as different as can be: the other sign everywhere, or the order from
        its end to its beginning; of an odd number, where one would stay in its place, moved on by
        one.
        """
        if not self.ordered:
            return -context
        return np.roll(context, 1) if len(context) % 2 else context[::-1].copy()

    def _signs(self, flipped: np.ndarray) -> np.ndarray:
        return np.broadcast_to(
            1 - 2 * flipped.astype(np.int64), self.channels.shape
        ).copy()


def in_context(values: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """What an observation or action becomes in the present context."""
    return bound.target.apply(values, bound.kept["context"])


@cache
def codes_of(contexts: int, name: str) -> np.ndarray:
    """The codes, rising, of a set out of `SETS`, where so many contexts have a code."""
    # stored results depend on this: the seed and the rule must stay as they are
    held_out = np.random.default_rng(0).permutation(np.arange(1, contexts))[
        : contexts // 4
    ]
    if name == "held_out":
        return np.sort(held_out)
    return np.setdiff1d(np.arange(contexts), held_out)
