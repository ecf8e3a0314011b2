"""Being told the context: seeing and acting as if there were none."""

from typing import Any

import gymnasium as gym


class Told(gym.Wrapper):
    """Undoes the contexts of a perturbed environment, in what is seen and in what is done."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.env.get_wrapper_attr("untold")(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take the action that has the effect of this one in the plain task."""
        told = self.env.get_wrapper_attr("told")(action)
        observation, reward, terminated, truncated, info = self.env.step(told)
        observation = self.env.get_wrapper_attr("untold")(observation)
        return observation, reward, terminated, truncated, info
