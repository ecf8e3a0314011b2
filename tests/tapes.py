"""Tasks without wrappers, played on a fixed tape of actions."""

import gymnasium as gym
import numpy as np

STEPS = 200
PLAIN = {"disable_env_checker": True, "max_episode_steps": -1}


def make(task, **arguments):
    return gym.make(task, **PLAIN, **arguments)


def play(env, steps=STEPS, seed=0):
    """Observations and rewards on a fixed tape, through falls."""
    random = np.random.default_rng(seed)
    space = env.action_space
    observation, _ = env.reset(seed=seed)
    rows = [np.append(observation, 0.0)]
    for _ in range(steps):
        action = random.uniform(space.low, space.high).astype(space.dtype)
        observation, reward, *_ = env.step(action)
        rows.append(np.append(observation, reward))
    return np.array(rows)
