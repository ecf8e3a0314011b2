"""Trains SAC with an LSTM in TorchRL on a task without velocities: `memory_torchrl.py
TASK SEED STEPS`.

The actor has an LSTM; critics see its state, as those of PlasticSAC do. There is one
environment, so that what is stored one after the other is a sequence.
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
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, SliceSampler, TensorDictReplayBuffer
from torchrl.envs import EnvBase, GymWrapper, InitTracker, TransformedEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import (
    MLP,
    LSTMModule,
    ProbabilisticActor,
    TanhNormal,
    ValueOperator,
    set_recurrent_mode,
)
from torchrl.objectives import SACLoss, SoftUpdate

STATE = "recurrent_state_h"
"""TorchRL's name for what an LSTM gave last."""


class Values(nn.Module):
    """A critic of observations, actions and the state of the actor's LSTM."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = MLP(inputs, 1, num_cells=CRITIC, activation_class=nn.ReLU)

    def forward(self, seen: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Values [..., 1]."""
        state = state.detach().squeeze(-2)  # of the one layer
        return self.layers(torch.cat([seen, state, action], dim=-1))


def make_actor(env: EnvBase, lstm: LSTMModule) -> ProbabilisticActor:
    """An actor with an LSTM that squashes its actions."""
    spec = env.action_spec
    actions = spec.shape[-1]
    heads = nn.Sequential(
        MLP(LSTM, 2 * actions, num_cells=HEADS, activation_class=nn.Tanh),
        NormalParamExtractor(),
    )
    network = TensorDictSequential(
        lstm, TensorDictModule(heads, ["remembered"], ["loc", "scale"])
    )
    return ProbabilisticActor(
        network,
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": spec.space.low, "high": spec.space.high},
        return_log_prob=True,
    )


@torch.no_grad()
def evaluate(actor: ProbabilisticActor, task: Task) -> np.ndarray:
    """Returns of episodes side by side, without noise."""
    envs = gym.vector.SyncVectorEnv([task.make] * EPISODES)
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    state = {
        name: torch.zeros(EPISODES, 1, LSTM) for name in LSTMModule.DEFAULT_IN_KEYS
    }
    returns = np.zeros(EPISODES)
    for step in range(task.horizon):
        inputs = {
            "observation": torch.as_tensor(seen),
            "is_init": torch.full((EPISODES, 1), step == 0),
            **state,
        }
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            outputs = actor(TensorDict(inputs, [EPISODES]))
        state = {name: outputs["next", name] for name in state}
        seen, rewards, *_ = envs.step(outputs["action"].numpy())
        returns += rewards
    return returns


def main(name: str, seed: int, steps: int) -> None:
    torch.manual_seed(seed)
    task = TASKS[name]
    sac = task.sac
    env = TransformedEnv(GymWrapper(task.make()), InitTracker())
    observations = env.observation_spec["observation"].shape[-1]
    lstm = LSTMModule(
        input_size=observations,
        hidden_size=LSTM,
        in_key="observation",
        out_key="remembered",
    )
    env.append_transform(lstm.make_tensordict_primer())
    env.set_seed(seed)
    actor = make_actor(env, lstm)
    inputs = observations + LSTM + env.action_spec.shape[-1]
    critic = ValueOperator(Values(inputs), ["observation", STATE, "action"])
    loss = SACLoss(actor, critic, num_qvalue_nets=2, loss_function="l2")
    loss.make_value_estimator(gamma=sac["gamma"])
    collector = Collector(
        env,
        actor,
        frames_per_batch=ENVIRONMENTS,
        total_frames=steps,
        init_random_frames=sac["learning_starts"],
    )
    replay = TensorDictReplayBuffer(
        storage=LazyTensorStorage(sac["buffer_size"]),
        sampler=SliceSampler(slice_len=SEQUENCE, traj_key=("collector", "traj_ids")),
        batch_size=sac["batch_size"],
    )
    optimizer = torch.optim.Adam(loss.parameters(), lr=sac["learning_rate"])
    target = SoftUpdate(loss, tau=sac["tau"])
    began = time.process_time()
    for frames in collector:
        replay.extend(frames)
        if len(replay) > sac["learning_starts"]:
            with set_recurrent_mode(True):
                losses = loss(replay.sample().reshape(-1, SEQUENCE))
            total = losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]
            total.backward()
            optimizer.step()
            optimizer.zero_grad()
            target.step()
        collector.update_policy_weights_()
    seconds = time.process_time() - began
    report(version("torchrl"), seconds, evaluate(actor, task))


if __name__ == "__main__":
    _, name, seed, steps = sys.argv
    main(name, int(seed), int(steps))
