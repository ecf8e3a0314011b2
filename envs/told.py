"""Being told the context: seeing and acting as if there were none."""

from typing import Any

import gymnasium as gym

from spikepropamine.envs.task import Start, Step


class Told(gym.Wrapper):
    """Undoes the contexts of a perturbed environment, in what is seen and in what is done."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.env.get_wrapper_attr("out_of_context")(observation), info

    def step(self, action: Any) -> Step:
        """Take the action that has the effect of this one in the plain task."""
        action = self.env.get_wrapper_attr("in_context")(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self.env.get_wrapper_attr("out_of_context")(observation)
        return observation, reward, terminated, truncated, info
