"""Tasks without wrappers, played on a fixed tape of actions or by a function of observations."""

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


def run_episode(env, policy=lambda observation: 0, seed=None, options=None):
    """Observations [steps + 1, channels], rewards [steps] and infos of an episode."""
    observation, _ = env.reset(seed=seed, options=options)
    observations, rewards, infos, terminated = [observation], [], [], False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        assert not truncated
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.stack(observations), np.array(rewards), infos


def five_sigma(probability, draws):
    """Five standard deviations of a measured frequency: about one false alarm in 2e6."""
    return 5 * np.sqrt(probability * (1 - probability) / draws)
