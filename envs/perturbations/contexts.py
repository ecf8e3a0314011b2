"""Contexts: a sign for each motor or sensor, an order of them, or both, that no
observation tells.

A context has a code; 0 is the plain task. A quarter of the codes, never 0, is held out,
by a rule that no seed changes. What a context does can be undone to the last bit.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from spikepropamine.envs.perturbations.catalogue import Bound, OfRows

CODE_BITS = 17
MOST_CODES = 2**CODE_BITS
SETS = ("seen", "held_out")


class Contexts:
    """The contexts that some channels, indices into a flattened observation or action,
    may be in.

    A context is written as one number for each channel, int64 [channels], by its kind:

        "signs"         1 or -1 for each channel; bit i of the code is set where
                        channel i is -1
        "sign"          one sign for all channels, so that there are two codes
        "order"         channel i gets what is meant for channel `context[i]`; orders
                        are counted as words in a dictionary
        "signed_order"  channel i gets what is meant for channel |context[i]| - 1,
                        times the sign of `context[i]`; the code counts orders first
                        and then signs

    Args:
        channels: int64 [channels].
        kind: one of these four.
    """

    def __init__(self, channels: np.ndarray, kind: str) -> None:
        self.channels = channels
        self.kind = kind
        size = len(channels)
        self._signs = {"sign": 1, "order": 0}.get(kind, size)  # how many are free
        orders = math.factorial(size) if kind in ("order", "signed_order") else 1
        self.all = orders * 2**self._signs
        self.codes = min(self.all, MOST_CODES)  # how many have a code

    def of_code(self, code: int) -> np.ndarray:
        """The context with a code; 0 is the plain one.

        Where there are more contexts than codes, a code settles one part of its
        context, so that no two have the same, and random numbers the rest.

        Args:
            code: from 0 to `codes` - 1.

        Returns:
            int64 [channels].

        Raises:
            ValueError: there is no such code.
        """
        if not 0 <= code < self.codes:
            raise ValueError(
                f"there are {self.codes} contexts, from 0 to {self.codes - 1}"
            )
        size = len(self.channels)
        random = None  # where the code settles all
        if self.all > MOST_CODES and code != 0:
            random = np.random.default_rng([self._signs or size, code])
        if self.kind == "order":
            return _order_of(code, size, MOST_CODES, random)
        bits = min(self._signs, CODE_BITS)
        signs = _signs_of(code, self._signs, random)
        if self.kind != "signed_order":
            return np.broadcast_to(signs, self.channels.shape).copy()
        order = _order_of(code >> bits, size, MOST_CODES >> bits, random)
        return signs * (order + 1)

    def changing(self, share: float, ranks: np.ndarray) -> np.ndarray:
        """A context that changes some of the channels, those of the lowest rank: their
        signs, or, of two at least, the order, so that they hand on what they get in a
        circle; or both.

        Args:
            share: of the channels, in [0, 1].
            ranks: of the channels, from 0, int64 [channels].

        Returns:
            int64 [channels].
        """
        size = len(ranks)
        number = math.ceil(share * len(ranks))
        signs = np.where(ranks[: self._signs] < number, -1, 1)
        order = np.arange(size)
        chosen = np.argsort(ranks)[: max(2, number)]
        if share > 0:
            order[chosen] = np.roll(chosen, 1)
        if self.kind == "order":
            return order
        if self.kind == "signed_order":
            return signs * (order + 1)
        return np.broadcast_to(signs, self.channels.shape).copy()

    def apply(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """What an observation or action becomes in a context.

        Args:
            values: the observation or action.
            context: a sign or a place for each of `channels`, as `of_code` makes it.
        """
        return self.apply_rows(values[None], context[None])[0]

    def apply_rows(self, values: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """What observations or actions become, each in a context of its own.

        Args:
            values: [rows, ...].
            contexts: int64 [rows, channels].
        """
        flat = values.reshape(len(values), -1)
        if len(self.channels) == flat.shape[1]:
            return self._applied(flat, contexts).reshape(values.shape)
        changed = flat.copy()
        changed[:, self.channels] = self._applied(flat[:, self.channels], contexts)
        return changed.reshape(values.shape)

    def _applied(self, values: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """The same for the channels alone; a new array."""
        rows = np.arange(len(values))[:, None]
        if self.kind == "order":
            return values[rows, contexts]
        if self.kind == "signed_order":
            signs = np.sign(contexts).astype(values.dtype)
            return values[rows, np.abs(contexts) - 1] * signs
        return values * contexts.astype(values.dtype)

    def undo(self, values: np.ndarray, context: np.ndarray) -> np.ndarray:
        """The observation or action of which `apply` makes this one.

        Args:
            values: what `apply` returned.
            context: that `apply` was given.
        """
        return self.apply(values, self._inverse(context))

    def opposite(self, context: np.ndarray) -> np.ndarray:
        """The context that is as different as can be: the other sign everywhere, or the
        order from its end to its beginning; of an odd number, where one would stay in
        its place, moved on by one; or both.
        """
        if self.kind in ("signs", "sign"):
            return -context
        turned = np.roll(context, 1) if len(context) % 2 else context[::-1].copy()
        return turned if self.kind == "order" else -turned

    def _inverse(self, context: np.ndarray) -> np.ndarray:
        if self.kind == "order":
            return np.argsort(context)
        if self.kind == "signed_order":
            sources = np.abs(context) - 1
            inverse = np.empty_like(context)
            inverse[sources] = np.sign(context) * (np.arange(len(context)) + 1)
            return inverse
        return context


def _signs_of(code: int, size: int, random: np.random.Generator | None) -> np.ndarray:
    """Signs by the bits of a code, int64 [size]; beyond `CODE_BITS`, random ones."""
    flipped = np.zeros(size, int) if random is None else random.integers(2, size=size)
    flipped[:CODE_BITS] = code >> np.arange(min(size, CODE_BITS)) & 1
    return 1 - 2 * flipped


def _order_of(
    code: int, size: int, codes: int, random: np.random.Generator | None
) -> np.ndarray:
    """The order with a code, int64 [size]: its place among all orders; or, with random
    numbers, one whose first places are settled by a code below `codes`, and no others.
    """
    left = list(range(size))
    order = []
    settled = 1
    while left and (random is None or settled < codes):
        if random is None:
            place, code = divmod(code, math.factorial(len(left) - 1))
        else:
            settled *= len(left)
            code, place = divmod(code, len(left))
        order.append(left.pop(place))
    rest = left if random is None else random.permutation(left)
    return np.array([*order, *rest], dtype=np.int64)


@OfRows
def in_context(
    values: np.ndarray, changed: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    """What observations or actions become in their present contexts; a hook of
    families.

    Args:
        values: the observations or actions.
        changed: not used; the contexts in `bounds` say all.
        bounds: of the family, with the channels and the present context.
    """
    contexts = np.array([bound.kept["context"] for bound in bounds])
    return bounds[0].target.apply_rows(values, contexts)


@cache
def codes_of(contexts: int, name: str) -> np.ndarray:
    """The codes of one set of contexts.

    Args:
        contexts: how many there are; codes go from 0 to `contexts` - 1.
        name: one of `SETS`.

    Returns:
        Codes, int [codes], rising.
    """
    # stored results depend on this: the seed and the rule must stay as they are
    held_out = np.random.default_rng(0).permutation(np.arange(1, contexts))[
        : contexts // 4
    ]
    if name == "held_out":
        return np.sort(held_out)
    return np.setdiff1d(np.arange(contexts), held_out)
