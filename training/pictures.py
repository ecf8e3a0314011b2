"""Pictures with their channels first, as SB3's CNN takes them."""

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage


class ChannelsFirst(VecTransposeImage):
    """`VecTransposeImage` whose pictures are arrays of their own.

    SB3's are views of what the environment gave, and what is read from a checkpoint is not: a
    convolution then adds up in another order, and resuming was not exact.
    """

    @staticmethod
    def transpose_image(image: np.ndarray) -> np.ndarray:
        """A picture [H, W, C], or a batch of them, as [C, H, W]."""
        return np.ascontiguousarray(VecTransposeImage.transpose_image(image))


def channels_first(venv: VecEnv) -> VecEnv:
    """The environments, wrapped where they give pictures whose channels come last."""
    space = venv.observation_space
    parts = space.values() if isinstance(space, spaces.Dict) else (space,)
    if any(
        isinstance(x, spaces.Box) and is_image_space(x) and not is_image_space_channels_first(x)
        for x in parts
    ):
        return ChannelsFirst(venv)
    return venv
