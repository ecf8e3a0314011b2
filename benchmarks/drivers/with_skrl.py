"""Trains with skrl: `with_skrl.py KIND`. Models are written as in skrl's examples."""

import sys
from importlib.metadata import version

import gymnasium as gym
import torch
from equal import (
    ENDLESS,
    HIDDEN,
    LSTM,
    PPO,
    PPO_ENVIRONMENTS,
    RECURRENT,
    SAC,
    SAC_HIDDEN,
    TASK,
)
from pace import Pace, PacedEnv
from skrl.agents.torch.ppo import PPO as PPOAgent
from skrl.agents.torch.ppo import PPO_RNN as RecurrentAgent
from skrl.agents.torch.sac import SAC as SACAgent
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

SILENT = {"write_interval": 0, "checkpoint_interval": 0}
Computed = tuple[Tensor, dict]


def layers(inputs: int, hidden: list[int], kind: type[nn.Module]) -> nn.Sequential:
    """Linear layers with a nonlinearity after each."""
    modules: list[nn.Module] = []
    for width in hidden:
        modules += [nn.Linear(inputs, width), kind()]
        inputs = width
    return nn.Sequential(*modules)


class Sized(Model):
    """A model that knows skrl's environments by their spaces."""

    def __init__(self, env) -> None:
        Model.__init__(
            self,
            observation_space=env.observation_space,
            action_space=env.action_space,
            device=env.device,
        )


class Actor(GaussianMixin, Sized):
    """PPO's actor: the spread of actions is a parameter."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        GaussianMixin.__init__(self)
        self.features = layers(self.num_observations, HIDDEN, nn.Tanh)
        self.mean = nn.Linear(HIDDEN[-1], self.num_actions)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs: dict, role: str) -> Computed:
        """Means of actions, and the logarithm of their spread."""
        mean = self.mean(self.features(inputs["observations"]))
        return mean, {"log_std": self.log_std}


class Critic(DeterministicMixin, Sized):
    """PPO's critic."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        DeterministicMixin.__init__(self)
        self.features = layers(self.num_observations, HIDDEN, nn.Tanh)
        self.value = nn.Linear(HIDDEN[-1], 1)

    def compute(self, inputs: dict, role: str) -> Computed:
        """Values of observations."""
        return self.value(self.features(inputs["observations"])), {}


class Sequences(nn.Module):
    """An LSTM over the sequences that skrl gives.

    Args:
        inputs: numbers of an observation.
        units: of the LSTM.
        environments: that are stepped side by side.
        length: steps of a sequence.
    """

    def __init__(self, inputs: int, units: int, environments: int, length: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True)
        self._length = length
        sizes = [(1, environments, units)] * 2
        self.specification = {"rnn": {"sequence_length": length, "sizes": sizes}}

    def forward(self, inputs: dict, first: int = 0) -> tuple[Tensor, list[Tensor]]:
        """What the LSTM gives [sequences x steps, units], and its state after that.

        Args:
            inputs: skrl's, of a rollout or of sequences.
            first: step of a sequence whose stored state it begins with.
        """
        seen = inputs["observations"]
        state = tuple(inputs["rnn"])
        if not self.training:
            out, state = self.lstm(seen.unsqueeze(1), state)
            return out.flatten(0, 1), list(state)
        seen = seen.view(-1, self._length, seen.shape[-1])
        units = self.lstm.hidden_size
        # skrl keeps the state of every step
        state = tuple(
            part.view(1, -1, self._length, units)[:, :, first].contiguous()
            for part in state
        )
        ended = inputs.get("terminated")
        if ended is not None:
            ended = (ended | inputs["truncated"]).view(-1, self._length)
        if ended is None or not ended.any():
            out, state = self.lstm(seen, state)
            return out.flatten(0, 1), list(state)
        cuts = (ended[:, :-1].any(dim=0).nonzero()[:, 0] + 1).tolist()
        outs = []
        for begin, end in zip([0, *cuts], [*cuts, self._length]):
            out, state = self.lstm(seen[:, begin:end], state)
            goes_on = (~ended[:, end - 1]).to(out.dtype)[None, :, None]
            state = tuple(part * goes_on for part in state)
            outs.append(out)
        return torch.cat(outs, dim=1).flatten(0, 1), list(state)


class RecurrentActor(GaussianMixin, Sized):
    """PPO's actor with an LSTM."""

    def __init__(self, env, length: int) -> None:
        Sized.__init__(self, env)
        GaussianMixin.__init__(self)
        self.memory = Sequences(self.num_observations, LSTM, env.num_envs, length)
        self.features = layers(LSTM, HIDDEN, nn.Tanh)
        self.mean = nn.Linear(HIDDEN[-1], self.num_actions)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def get_specification(self) -> dict:
        """What skrl keeps of the LSTM."""
        return self.memory.specification

    def compute(self, inputs: dict, role: str) -> Computed:
        """Means of actions, the logarithm of their spread, and the state."""
        seen, state = self.memory(inputs)
        mean = self.mean(self.features(seen))
        return mean, {"log_std": self.log_std, "rnn": state}


class RecurrentCritic(DeterministicMixin, Sized):
    """PPO's critic with an LSTM."""

    def __init__(self, env, length: int) -> None:
        Sized.__init__(self, env)
        DeterministicMixin.__init__(self)
        self.memory = Sequences(self.num_observations, LSTM, env.num_envs, length)
        self.features = layers(LSTM, HIDDEN, nn.Tanh)
        self.value = nn.Linear(HIDDEN[-1], 1)

    def get_specification(self) -> dict:
        """What skrl keeps of the LSTM."""
        return self.memory.specification

    def compute(self, inputs: dict, role: str) -> Computed:
        """Values of observations, and the state."""
        seen, state = self.memory(inputs)
        return self.value(self.features(seen)), {"rnn": state}


class SquashedMean(GaussianMixin, Sized):
    """SAC's actor: skrl clips actions, it does not squash them."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        GaussianMixin.__init__(self, clip_actions=True)
        self.features = layers(self.num_observations, SAC_HIDDEN, nn.ReLU)
        self.mean = nn.Linear(SAC_HIDDEN[-1], self.num_actions)
        self.log_std = nn.Linear(SAC_HIDDEN[-1], self.num_actions)

    def compute(self, inputs: dict, role: str) -> Computed:
        """Means of actions, and the logarithms of their spreads."""
        features = self.features(inputs["observations"])
        mean = torch.tanh(self.mean(features))
        return mean, {"log_std": self.log_std(features)}


class Value(DeterministicMixin, Sized):
    """One of SAC's critics."""

    def __init__(self, env) -> None:
        Sized.__init__(self, env)
        DeterministicMixin.__init__(self)
        inputs = self.num_observations + self.num_actions
        self.features = layers(inputs, SAC_HIDDEN, nn.ReLU)
        self.value = nn.Linear(SAC_HIDDEN[-1], 1)

    def compute(self, inputs: dict, role: str) -> Computed:
        """Values of observations and actions."""
        both = torch.cat([inputs["observations"], inputs["taken_actions"]], dim=1)
        return self.value(self.features(both)), {}


def many(pace: Pace) -> gym.vector.VectorEnv:
    """The environments of PPO, of which the first counts."""

    def first() -> gym.Env:
        return PacedEnv(gym.make(TASK), pace, PPO_ENVIRONMENTS)

    others = [lambda: gym.make(TASK)] * (PPO_ENVIRONMENTS - 1)
    return gym.vector.SyncVectorEnv([first, *others])


def on_rollouts(env, given: dict, agent: type, models: dict):
    """PPO with settings by Stable-Baselines3's names."""
    rollout = given["n_steps"] * PPO_ENVIRONMENTS
    cfg = {
        "rollouts": given["n_steps"],
        "learning_epochs": given["n_epochs"],
        "mini_batches": rollout // given["batch_size"],
        "discount_factor": given["gamma"],
        "gae_lambda": given["gae_lambda"],
        "learning_rate": given["learning_rate"],
        "grad_norm_clip": given["max_grad_norm"],
        "ratio_clip": given["clip_range"],
        "value_clip": 0.0,
        "value_loss_scale": given["vf_coef"],
        "experiment": SILENT,
    }
    memory = RandomMemory(
        memory_size=given["n_steps"], num_envs=env.num_envs, device=env.device
    )
    return agent(
        models=models,
        memory=memory,
        cfg=cfg,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device=env.device,
    )


def off_policy(env):
    """SAC with an MLP."""
    names = ("critic_1", "critic_2", "target_critic_1", "target_critic_2")
    models = {"policy": SquashedMean(env), **{name: Value(env) for name in names}}
    cfg = {
        "gradient_steps": SAC["gradient_steps"],
        "batch_size": SAC["batch_size"],
        "discount_factor": SAC["gamma"],
        "polyak": SAC["tau"],
        "learning_rate": SAC["learning_rate"],
        "random_timesteps": SAC["learning_starts"],
        "learning_starts": SAC["learning_starts"],
        "initial_entropy_value": 1.0,
        "experiment": SILENT,
    }
    memory = RandomMemory(
        memory_size=SAC["buffer_size"],
        num_envs=env.num_envs,
        device=env.device,
    )
    return SACAgent(
        models=models,
        memory=memory,
        cfg=cfg,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device=env.device,
    )


def main(kind: str) -> None:
    pace = Pace(kind, version("skrl"))
    if kind == "sac":
        env = wrap_env(PacedEnv(gym.make(TASK), pace))
        agent = off_policy(env)
    elif kind == "ppo":
        env = wrap_env(many(pace))
        models = {"policy": Actor(env), "value": Critic(env)}
        agent = on_rollouts(env, PPO, PPOAgent, models)
    else:
        env = wrap_env(many(pace))
        length = RECURRENT["batch_size"]
        models = {
            "policy": RecurrentActor(env, length),
            "value": RecurrentCritic(env, length),
        }
        agent = on_rollouts(env, RECURRENT, RecurrentAgent, models)
    cfg = {"timesteps": ENDLESS, "headless": True, "disable_progressbar": True}
    SequentialTrainer(cfg=cfg, env=env, agents=agent).train()


if __name__ == "__main__":
    main(sys.argv[1])
