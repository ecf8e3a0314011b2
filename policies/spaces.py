"""Observation and action spaces as plain JSON, what policies make of them, and SB3's
features extractors, of which those below have their width as a Python int.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import torch_layers as sb3
from stable_baselines3.common.preprocessing import is_image_space

from spikepropamine.common import UsageError

LARGEST_NUMBER = np.float64(1e15)
"""Beyond this size an observation has exploded: its square is out of reach of float32's
precision, and soon out of its range. In float64, so that it is not rounded to the type
of what it is compared with."""
MOST_PIXELS = 2**24  # of a picture, in all of its channels


def stacked(observations: Sequence[Any]) -> Any:
    """Observations of one space as a batch, an array [batch, ...] or a dict of such."""
    if isinstance(observations[0], dict):
        return {
            key: np.stack([x[key] for x in observations]) for key in observations[0]
        }
    return np.stack(observations)


def each(function: Callable[[Any], Any], observations: Any) -> Any:
    """A function of observations, or of each part where they are a dict.

    Args:
        function: of an array.
        observations: an array, or a dict of arrays.
    """
    if isinstance(observations, dict):
        return {key: function(part) for key, part in observations.items()}
    return function(observations)


def is_normalised(space: spaces.Space[Any]) -> bool:
    """Whether training can normalise observations of a space: numbers, and no pictures,
    which a CNN takes as they are.
    """
    return isinstance(space, spaces.Box) and not is_image_space(space)


def is_partly_normalised(space: spaces.Space[Any]) -> bool:
    """Whether training can normalise observations of a space, or parts of a Dict."""
    if isinstance(space, spaces.Dict):
        return any(is_normalised(part) for part in space.values())
    return is_normalised(space)


class BadObservation(UsageError, ValueError):
    """An observation that no policy can act on."""


def unsound(
    observation: Any, most: float | np.floating[Any]
) -> tuple[str, tuple[int, ...], float] | None:
    """The first number of an observation that is not finite, or too large.

    Args:
        observation: an array [...], or a mapping of names to such.
        most: the largest absolute value that is not too large.

    Returns:
        What the number is in, its place there, and the number; None: there is none.
    """
    parts = observation if isinstance(observation, Mapping) else {"": observation}
    for key, part in parts.items():
        x = np.asarray(part)
        if x.dtype.kind != "f":
            continue
        sound = np.abs(x) <= np.float64(most)  # not as a number of a smaller type
        if not sound.all():
            place = tuple(int(i) for i in np.argwhere(~sound)[0])
            return _named(key), place, x[place]
    return None


def refuse_reset(observation: Any) -> None:
    """Refuses what `reset` of Gymnasium returns in the place of its first part.

    Raises:
        BadObservation: it is a tuple of an observation and a dict.
    """
    if not isinstance(observation, tuple) or len(observation) != 2:
        return
    if isinstance(observation[1], dict):
        raise BadObservation(
            "this is a tuple of an observation and a dict, as Gymnasium's reset "
            "returns it (mixing Gym API and SB3's VecEnv API): give the first part"
        )


def check_observations(observations: Any) -> None:
    """Checks that a policy can act on observations: in its memory a number that is not
    finite would stay until the end of the episode.

    Args:
        observations: an array [batch, ...], or a mapping of names to such.

    Raises:
        BadObservation: there are none, they are masked, or no finite real numbers of at
            most `LARGEST_NUMBER`; or a dict comes with them, as from `reset`.
    """
    refuse_reset(observations)
    parts = observations if isinstance(observations, Mapping) else {"": observations}
    for key, part in parts.items():
        x = np.asarray(part)
        if isinstance(part, np.ma.MaskedArray):
            raise BadObservation(
                f"{_named(key)} is a masked array; fill in the masked numbers"
            )
        if x.dtype.kind not in "biuf":
            raise BadObservation(
                f"{_named(key)} is of the type {x.dtype}, and a policy acts on real "
                "numbers"
            )
        if x.ndim > 0 and len(x) == 0:
            raise BadObservation(f"{_named(key)} is an empty batch, {list(x.shape)}")
        if x.dtype.kind == "f" and not (np.abs(x) <= LARGEST_NUMBER).all():
            bad = unsound({key: x}, LARGEST_NUMBER)
            assert bad is not None
            name, place, number = bad
            raise BadObservation(
                f"{name}{list(place)} is {number}, and a policy acts on finite numbers "
                f"of at most {LARGEST_NUMBER:g} alone"
            )


def _named(key: str) -> str:
    return f"observation {key!r}" if key else "observation"


def check_structure(observation: Any, space: spaces.Space[Any]) -> None:
    """Checks that observations are a mapping where the space is one, with its keys.

    Args:
        observation: of one environment or of several.
        space: of observations.

    Raises:
        BadObservation: they are something else.
    """
    if not isinstance(space, spaces.Dict):
        if isinstance(observation, Mapping):
            raise BadObservation(
                f"the observation is a dict of {sorted(map(str, observation))}, and "
                f"the policy observes a {space}"
            )
        return
    if not isinstance(observation, Mapping):
        raise BadObservation(
            f"the observation is no dict; it needs {sorted(space.spaces)}"
        )
    if not space.spaces.keys() <= observation.keys():
        names = sorted(map(str, observation))
        raise BadObservation(f"the observation has {names}, not {sorted(space.spaces)}")


def batch_of_one(observation: Any, space: spaces.Space[Any]) -> Any:
    """An observation of one environment as a batch of one.

    Args:
        observation: an array or a mapping of names to arrays, as the space has it.
        space: of observations.

    Returns:
        [1, ...], or a dict of such.

    Raises:
        BadObservation: it is not of the space's structure or shape.
    """
    check_structure(observation, space)
    if isinstance(space, spaces.Dict):
        return {
            key: batch_of_one(observation[key], part)
            for key, part in space.spaces.items()
        }
    array = observation
    if not isinstance(observation, np.ma.MaskedArray):
        array = np.asarray(observation)
    shapes = [space.shape]
    if is_image_space(space) and space.shape is not None:
        # of policies, with the channels first
        shapes.append((*space.shape[1:], space.shape[0]))
    if space.shape is not None and array.shape not in shapes:
        raise BadObservation(
            f"the observation has the shape {array.shape}, not {space.shape}"
        )
    return array[None]


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A plain description of a picture, Box, Discrete, MultiDiscrete, MultiBinary or
    Dict space.
    """
    if isinstance(space, spaces.Dict):
        return {
            "type": "Dict",
            "spaces": {k: space_to_json(v) for k, v in space.items()},
        }
    if is_image_space(space):
        return {"type": "Picture", "shape": list(space.shape or ())}
    if isinstance(space, spaces.Box):
        bounds = {"low": space.low.tolist(), "high": space.high.tolist()}
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        } | bounds
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    raise ValueError(
        f"{type(space).__name__} spaces are not supported; use Box, Discrete, "
        "MultiDiscrete, MultiBinary or a Dict of them"
    )


def check_width(description: Mapping[str, Any], most: int) -> None:
    """Checks what a network has to see of a described space, before it takes memory.

    Args:
        description: of a space, as `space_to_json` made it.
        most: the largest number of numbers; a choice among n counts n. Those of a
            picture are limited by `MOST_PIXELS` instead, since a CNN has no weight for
            each.

    Raises:
        ValueError: it is wider.
    """
    width = _declared_width(description)
    if width > most:
        raise ValueError(
            f"it describes a {description['type']} of {width:.3g} numbers, and has no "
            "weights for so many"
        )


def _declared_width(description: Mapping[str, Any]) -> int:
    kind = description["type"]
    if kind == "Dict":
        return sum(_declared_width(part) for part in description["spaces"].values())
    if kind == "Box":
        return prod(description["shape"])
    if kind == "Discrete":
        return int(description["n"])
    if kind == "MultiDiscrete":
        return sum(int(n) for n in np.ravel(np.array(description["nvec"], object)))
    if kind == "MultiBinary":
        return prod(int(n) for n in np.ravel(np.array(description["n"], object)))
    return 0


def space_from_json(description: Mapping[str, Any]) -> spaces.Space[Any]:
    """The space that `space_to_json` described."""
    kind = description["type"]
    if kind == "Dict":
        # pairs, of which Gymnasium keeps the order, in which weights see the keys
        return spaces.Dict(
            [(k, space_from_json(v)) for k, v in description["spaces"].items()]
        )
    if kind == "Picture":
        if not 0 < prod(description["shape"]) <= MOST_PIXELS:
            raise ValueError(
                f"a picture of the shape {description['shape']} is not supported"
            )
        return spaces.Box(0, 255, tuple(description["shape"]), np.uint8)
    if kind == "Box":
        dtype = np.dtype(description["dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"a Box of {dtype} is not supported")
        low = np.array(description["low"], dtype=dtype)
        high = np.array(description["high"], dtype=dtype)
        return spaces.Box(low, high, tuple(description["shape"]), dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(description["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(description["n"])
    raise ValueError(f"unknown space type {kind!r}")


class _WholeWidth(sb3.BaseFeaturesExtractor):
    @property
    def features_dim(self) -> int:
        """The width, a NumPy number in SB3 where an observation is MultiDiscrete."""
        return int(self._features_dim)


class LstmFlattenExtractor(_WholeWidth, sb3.FlattenExtractor):
    """`FlattenExtractor` with a width that `nn.LSTM` takes."""


class LstmCombinedExtractor(_WholeWidth, sb3.CombinedExtractor):
    """`CombinedExtractor` with a width that `nn.LSTM` takes.

    Args:
        observation_space: a Dict.
        arguments: of `CombinedExtractor`.

    Raises:
        ValueError: observations of another space.
    """

    def __init__(self, observation_space: spaces.Space[Any], **arguments: Any) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                "a policy of several inputs (MultiInput...) needs observations in a "
                f"Dict, not {observation_space}: use the policy's name with Mlp or Cnn"
            )
        super().__init__(observation_space, **arguments)


def extractor_for(
    space: spaces.Space[Any], normalize_images: bool = True
) -> type[sb3.BaseFeaturesExtractor]:
    """Stable-Baselines3's extractor of features, for any network.

    Args:
        space: of observations.
        normalize_images: whether pictures come as 0 to 255.
    """
    if isinstance(space, spaces.Dict):  # which has a CNN for its images
        return LstmCombinedExtractor
    is_image = is_image_space(space, normalized_image=not normalize_images)
    return sb3.NatureCNN if is_image else LstmFlattenExtractor
