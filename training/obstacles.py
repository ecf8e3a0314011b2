"""Which observations and actions a policy can be trained for."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

KNOWN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SUPPORTED = "supported are Box, Discrete, MultiDiscrete, MultiBinary"
MOST = 2**16
"""Numbers of an observation, of choices one for each; with more a rollout takes
gigabytes."""
SMALLEST_PICTURE = 36
"""Pixels of a side, of SB3's CNN."""


def obstacle(observation: spaces.Space, action: spaces.Space) -> str | None:
    """What is wrong with the spaces of an environment, and what would be right.

    Args:
        observation: its observation space.
        action: its action space.

    Returns:
        A sentence; None: nothing is wrong.
    """
    if isinstance(observation, spaces.Dict):
        problem = _of_dict(observation)
    else:
        problem = _said_of("the observation space", _of_observation(observation))
    return problem or _said_of("the action space", _of_action(action))


def _said_of(name: str, problem: str | None) -> str | None:
    return None if problem is None else f"{name} {problem}"


def _of_dict(observation: spaces.Dict) -> str | None:
    """Why policies cannot take a Dict of observations; None where they can."""
    if not observation.spaces:
        return "the observation space is an empty Dict"
    modules = torch.nn.ModuleDict()
    for key in observation.spaces:
        if "." in key or hasattr(modules, key):
            return (
                f"observation {key!r} has a name that PyTorch uses itself or cannot use"
            )
    for key, part in observation.items():
        problem = _of_observation(part)
        if problem is not None:
            return f"observation {key!r} {problem}"
    return None


def _of_observation(space: spaces.Space) -> str | None:
    """Why policies cannot take observations of a space; None where they can."""
    if not isinstance(space, KNOWN):
        kind = type(space).__name__
        if isinstance(space, spaces.Dict):
            kind = f"nested {kind}"
        return f"is a {kind}; {SUPPORTED} or a Dict of them"
    if is_image_space(space):
        return _of_picture(space.shape or ())
    width = spaces.flatdim(space)
    if width > MOST:
        return f"has {width:,} numbers for a network to see, and may have {MOST:,}"
    return _of_shape(space)


def _of_picture(shape: tuple[int, ...]) -> str | None:
    """Why SB3's CNN cannot take pictures of a shape; None where it can."""
    channels = int(np.argmin(shape))
    if channels == 1:
        return f"is a picture of the shape {shape}; let its channels come first or last"
    height, width = np.delete(shape, channels)
    if min(height, width) >= SMALLEST_PICTURE:
        return None
    return (
        f"is a picture of {height} x {width}, and SB3's CNN needs {SMALLEST_PICTURE} x "
        f"{SMALLEST_PICTURE}; wrap the environment in ResizeObservation or "
        "FlattenObservation"
    )


def _of_action(space: spaces.Space) -> str | None:
    """Why policies cannot give actions of a space; None where they can."""
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
    """What is wrong with the shape of a space; None where nothing is."""
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
            return (
                f"is a MultiDiscrete that starts at {space.start.tolist()}; let it "
                "start at 0"
            )
    return None
