"""Trains skrl's SAC_RNN on a task without velocities: `memory_skrl.py TASK SEED STEPS`.

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
    LSTM,
    SEQUENCE,
    TASKS,
    Task,
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


class Actor(GaussianMixin, Sized):
    """Clips its actions, and has a parameter for their spread.

    Args:
        env: skrl's.
        largest: the largest action.
    """

    def __init__(self, env, largest: float) -> None:
        Sized.__init__(self, env)
        GaussianMixin.__init__(self, clip_actions=True)
        self.memory = Sequences(self.num_observations, LSTM, env.num_envs, SEQUENCE)
        self.features = layers(LSTM, HEADS, nn.Tanh)
        self.mean = nn.Linear(HEADS[-1], self.num_actions)
        self.largest = largest
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def get_specification(self) -> dict:
        """What skrl keeps of the LSTM."""
        return self.memory.specification

    def compute(self, inputs: dict, role: str) -> Computed:
        """Means of actions, the logarithm of their spread, and the state."""
        seen, state = self.memory(inputs)
        mean = self.largest * torch.tanh(self.mean(self.features(seen)))
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
def evaluate(actor: Actor, task: Task) -> np.ndarray:
    """Returns of episodes side by side, with the means of actions."""
    envs = gym.vector.SyncVectorEnv([task.make] * EPISODES)
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    state = [torch.zeros(1, EPISODES, LSTM)] * 2
    returns = np.zeros(EPISODES)
    for _ in range(task.horizon):
        inputs = {"observations": torch.as_tensor(seen), "rnn": state}
        _, outputs = actor.act(inputs, role="policy")
        state = outputs["rnn"]
        seen, rewards, *_ = envs.step(outputs["mean_actions"].numpy())
        returns += rewards
    return returns


def main(name: str, seed: int, steps: int) -> None:
    set_seed(seed)
    task = TASKS[name]
    sac = task.sac
    env = wrap_env(gym.vector.SyncVectorEnv([task.make] * ENVIRONMENTS))
    names = ("critic_1", "critic_2", *TARGETS)
    models = {
        "policy": Actor(env, task.largest_action),
        **{name: Critic(env) for name in names},
    }
    starts = sac["learning_starts"] // ENVIRONMENTS
    agent = SAC_RNN(
        models=models,
        memory=RandomMemory(
            memory_size=sac["buffer_size"] // ENVIRONMENTS,
            num_envs=ENVIRONMENTS,
            device=env.device,
        ),
        cfg={
            "gradient_steps": 1,
            "batch_size": sac["batch_size"] // SEQUENCE,  # skrl counts sequences
            "discount_factor": sac["gamma"],
            "polyak": sac["tau"],
            "learning_rate": sac["learning_rate"],
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
    report(version("skrl"), seconds, evaluate(models["policy"], task))


if __name__ == "__main__":
    _, name, seed, steps = sys.argv
    main(name, int(seed), int(steps))
