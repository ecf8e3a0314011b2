"""Trains skrl's SAC_RNN on a pendulum without velocity: `memory_skrl.py SEED STEPS`.

Models are written as in skrl's example of SAC_RNN: actor and critics have an LSTM each.
"""

import sys
import time
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import torch
from memory_task import (
    CRITIC,
    ENVIRONMENTS,
    EPISODES,
    EVALUATION_SEED,
    HEADS,
    HORIZON,
    LSTM,
    SAC,
    SEQUENCE,
    make_task,
    report,
)
from skrl.agents.torch.sac import SAC_RNN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import nn
from with_skrl import SILENT, Computed, Sequences, Sized, layers

TARGETS = ("target_critic_1", "target_critic_2")
TORQUE = 2.0
"""The largest action."""


class Actor(GaussianMixin, Sized):
    """Clips its actions, and has a parameter for their spread."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        GaussianMixin.__init__(self, clip_actions=True)
        self.memory = Sequences(self.num_observations, LSTM, env.num_envs, SEQUENCE)
        self.features = layers(LSTM, HEADS, nn.Tanh)
        self.mean = nn.Linear(HEADS[-1], self.num_actions)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def get_specification(self) -> dict:
        """What skrl keeps of the LSTM."""
        return self.memory.specification

    def compute(self, inputs: dict, role: str) -> Computed:
        """Means of actions, the logarithm of their spread, and the state."""
        seen, state = self.memory(inputs)
        mean = TORQUE * torch.tanh(self.mean(self.features(seen)))
        return mean, {"log_std": self.log_std, "rnn": state}


class Critic(DeterministicMixin, Sized):
    """Has an LSTM of its own, which begins at the state of the actor's."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        DeterministicMixin.__init__(self)
        self.memory = Sequences(self.num_observations, LSTM, env.num_envs, SEQUENCE)
        self.features = layers(LSTM + self.num_actions, CRITIC, nn.ReLU)
        self.value = nn.Linear(CRITIC[-1], 1)

    def get_specification(self) -> dict:
        """What skrl keeps of the LSTM."""
        return self.memory.specification

    def compute(self, inputs: dict, role: str) -> Computed:
        """Values of observations and actions, and the state."""
        # target critics see the next observations
        seen, state = self.memory(inputs, first=1 if role in TARGETS else 0)
        both = torch.cat([seen, inputs["taken_actions"]], dim=1)
        return self.value(self.features(both)), {"rnn": state}


@torch.no_grad()
def evaluate(actor: Actor) -> np.ndarray:
    """Returns of episodes side by side, with the means of actions."""
    envs = gym.vector.SyncVectorEnv([make_task] * EPISODES)
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    state = [torch.zeros(1, EPISODES, LSTM)] * 2
    returns = np.zeros(EPISODES)
    for _ in range(HORIZON):
        inputs = {"observations": torch.as_tensor(seen), "rnn": state}
        _, outputs = actor.act(inputs, role="policy")
        state = outputs["rnn"]
        seen, rewards, *_ = envs.step(outputs["mean_actions"].numpy())
        returns += rewards
    return returns


def main(seed: int, steps: int) -> None:
    set_seed(seed)
    env = wrap_env(gym.vector.SyncVectorEnv([make_task] * ENVIRONMENTS))
    names = ("critic_1", "critic_2", *TARGETS)
    models = {"policy": Actor(env), **{name: Critic(env) for name in names}}
    starts = SAC["learning_starts"] // ENVIRONMENTS
    agent = SAC_RNN(
        models=models,
        memory=RandomMemory(
            memory_size=SAC["buffer_size"] // ENVIRONMENTS,
            num_envs=ENVIRONMENTS,
            device=env.device,
        ),
        cfg={
            "gradient_steps": 1,
            "batch_size": SAC["batch_size"] // SEQUENCE,  # skrl counts sequences
            "discount_factor": SAC["gamma"],
            "polyak": SAC["tau"],
            "learning_rate": SAC["learning_rate"],
            "random_timesteps": 0,  # with others SAC_RNN loses its state and stops
            "learning_starts": starts,
            "initial_entropy_value": 1.0,
            "experiment": SILENT,
        },
        observation_space=env.observation_space,
        action_space=env.action_space,
        device=env.device,
    )
    timesteps = steps // ENVIRONMENTS
    cfg = {"timesteps": timesteps, "headless": True, "disable_progressbar": True}
    trainer = SequentialTrainer(cfg=cfg, env=env, agents=agent)
    began = time.process_time()
    trainer.train()
    seconds = time.process_time() - began
    agent.enable_models_training_mode(False)
    report(version("skrl"), seconds, evaluate(models["policy"]))


if __name__ == "__main__":
    _, seed, steps = sys.argv
    main(int(seed), int(steps))
