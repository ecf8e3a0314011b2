"""Tasks without wrappers, played on a fixed tape of actions or by a function of
observations.
"""

import gymnasium as gym
import numpy as np

STEPS = 200
PLAIN = {"disable_env_checker": True, "max_episode_steps": -1}


class Mirror(gym.Env):
    """The right action is the observation times a sign, drawn at some steps of an
    episode.
    """

    observation_space = gym.spaces.Box(
        -1.0, 1.0, (3,), dtype=np.float32
    )  # what to do, and clock
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
    length = 6
    changes = (0,)

    def _answer(self):
        self.shown = self.np_random.uniform(-1.0, 1.0, 2)
        observation = np.array(
            [*self.shown, self.clock / self.length], dtype=np.float32
        )
        if self.clock in self.changes:
            self.sign = self.np_random.choice([-1.0, 1.0])
            self.began = self.clock
        return observation, {"context": [self.sign], "context_began": self.began}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        self.log = []
        return self._answer()

    def step(self, action):
        right = self.shown * self.sign
        self.log.append((np.array(action), right))
        self.clock += 1
        observation, info = self._answer()
        return (
            observation,
            float(action @ right),
            False,
            self.clock == self.length,
            info,
        )

    def in_context(self, action):
        return action * self.sign

    def out_of_context(self, observation):
        return observation


class Noise(gym.Env):
    """Random observations, episodes of 70 steps."""

    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        self.left = 70
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self.observation_space.sample(), 0.0, self.left == 0, False, {}


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


def play_with_infos(env, steps, seed=0, options=None, action=None):
    """Observations [steps + 1, channels], rewards and infos on a fixed tape."""
    random = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options=options)
    observations = [observation]
    rewards = []
    infos = [info]
    for _ in range(steps):
        drawn = random.uniform(-1, 1, env.action_space.shape)
        observation, reward, _, _, info = env.step(
            drawn if action is None else action(infos[-1])
        )
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.array(observations), np.array(rewards), infos


def run_episode(env, policy=lambda observation: 0, seed=None):
    """Observations [steps + 1, channels], rewards [steps] and infos of an episode."""
    observation, _ = env.reset(seed=seed)
    observations = [observation]
    rewards = []
    infos = []
    terminated = False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        assert not truncated
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.stack(observations), np.array(rewards), infos


def five_sigma(probability, draws):
    """Five standard deviations of a measured frequency: about one false alarm in
    2e6.
    """
    return 5 * np.sqrt(probability * (1 - probability) / draws)
