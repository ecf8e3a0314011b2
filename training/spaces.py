"""Which observation and action spaces can be trained on; asked before training begins."""

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import flatdim
from stable_baselines3.common.preprocessing import is_image_space

KNOWN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SUPPORTED = "supported are Box, Discrete, MultiDiscrete, MultiBinary"
MOST = 2**16  # numbers, of choices one for each; with more a rollout takes gigabytes
SMALLEST_PICTURE = 36  # pixels, of SB3's CNN


def obstacle(observation: spaces.Space, action: spaces.Space) -> str | None:
    """What is wrong with the spaces of an environment, and what would be right; None: nothing."""
    seen = {"the observation space": observation}
    if isinstance(observation, spaces.Dict):
        if not observation.spaces:
            return "the observation space is an empty Dict"
        seen = {f"observation {key!r}": part for key, part in observation.items()}
    for name, space in seen.items():
        if reason := _of_observation(space):
            return f"{name} {reason}"
    reason = _of_action(action)
    return f"the action space {reason}" if reason else None


def _of_observation(space: spaces.Space) -> str | None:
    if not isinstance(space, KNOWN):
        nested = "nested " if isinstance(space, spaces.Dict) else ""
        return f"is a {nested}{type(space).__name__}; {SUPPORTED} or a Dict of them"
    if not is_image_space(space):
        if (width := flatdim(space)) > MOST:
            return f"has {width:,} numbers for a network to see, and may have {MOST:,}"
        return _of_shape(space)
    shape = space.shape or ()
    channels = int(np.argmin(shape))
    if channels == 1:
        return f"is a picture of the shape {shape}; let its channels come first or last"
    sides = np.delete(shape, channels)
    if sides.min() < SMALLEST_PICTURE:
        return (
            f"is a picture of {sides[0]} x {sides[1]}, and SB3's CNN needs {SMALLEST_PICTURE} x "
            f"{SMALLEST_PICTURE}; wrap the environment in ResizeObservation or FlattenObservation"
        )
    return None


def _of_action(space: spaces.Space) -> str | None:
    if not isinstance(space, KNOWN):
        return f"is a {type(space).__name__}; {SUPPORTED}"
    if isinstance(space, spaces.Box) and not space.is_bounded():
        return "is unbounded; give it bounds, for instance in an ActionWrapper"
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        return f"is a Box of {space.dtype}; give it a float dtype, or use MultiDiscrete"
    if isinstance(space, spaces.MultiBinary) and len(space.shape) != 1:
        return f"has the shape {space.shape}; flatten it to one dimension"
    return _of_shape(space)


def _of_shape(space: spaces.Space) -> str | None:
    if isinstance(space, spaces.Box) and space.shape == ():
        return "is a Box without dimensions; give it the shape (1,)"
    if isinstance(space, spaces.Box) and 0 in space.shape:
        return f"is a Box of the shape {space.shape}, which holds no number"
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return f"is a Discrete that starts at {space.start}; let it start at 0"
    if isinstance(space, spaces.MultiDiscrete):
        if space.nvec.ndim != 1:
            return f"has the shape {space.shape}; flatten it to one dimension"
        if space.start.any():
            return f"is a MultiDiscrete that starts at {space.start.tolist()}; let it start at 0"
    return None
