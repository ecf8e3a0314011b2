"""Trains with TorchRL's trainers: `with_torchrl.py KIND`."""

import sys
from importlib.metadata import version

import gymnasium as gym
import torch
from equal import ENDLESS, HIDDEN, PPO, PPO_ENVIRONMENTS, SAC, SAC_HIDDEN, TASK
from pace import Pace, PacedEnv
from tensordict.nn import (
    AddStateIndependentNormalScale,
    NormalParamExtractor,
    TensorDictModule,
)
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement
from torchrl.data import TensorDictReplayBuffer as ReplayBuffer
from torchrl.envs import DoubleToFloat, EnvBase, GymWrapper, SerialEnv, TransformedEnv
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss, SACLoss, SoftUpdate
from torchrl.trainers.algorithms import PPOTrainer, SACTrainer


def actor_of(env: EnvBase, network: nn.Module) -> ProbabilisticActor:
    """An actor that squashes its actions.

    Args:
        env: that it acts in.
        network: makes means and spreads of actions from observations.
    """
    spec = env.action_spec_unbatched
    return ProbabilisticActor(
        TensorDictModule(network, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": spec.space.low, "high": spec.space.high},
        return_log_prob=True,
    )


def ppo(pace: Pace) -> PPOTrainer:
    """PPO with MLPs."""

    def first() -> EnvBase:
        return GymWrapper(PacedEnv(gym.make(TASK), pace, PPO_ENVIRONMENTS))

    others = [lambda: GymWrapper(gym.make(TASK))] * (PPO_ENVIRONMENTS - 1)
    env = TransformedEnv(SerialEnv(PPO_ENVIRONMENTS, [first, *others]), DoubleToFloat())
    actions = env.action_spec_unbatched.shape[-1]
    observations = env.observation_spec_unbatched["observation"].shape[-1]
    mean = MLP(observations, actions, num_cells=HIDDEN, activation_class=nn.Tanh)
    actor = actor_of(env, nn.Sequential(mean, AddStateIndependentNormalScale(actions)))
    value = MLP(observations, 1, num_cells=HIDDEN, activation_class=nn.Tanh)
    critic = ValueOperator(value, ["observation"])
    rollout = PPO["n_steps"] * PPO_ENVIRONMENTS
    loss = ClipPPOLoss(
        actor,
        critic,
        clip_epsilon=PPO["clip_range"],
        entropy_bonus=False,
        critic_coeff=PPO["vf_coef"],
        loss_critic_type="l2",
        normalize_advantage=True,
    )
    return PPOTrainer(
        collector=Collector(
            env,
            actor,
            frames_per_batch=rollout,
            total_frames=ENDLESS // rollout * rollout,
        ),
        total_frames=ENDLESS,
        frame_skip=1,
        optim_steps_per_batch=None,  # all minibatches of an epoch
        loss_module=loss,
        optimizer=torch.optim.Adam(loss.parameters(), lr=PPO["learning_rate"]),
        clip_norm=PPO["max_grad_norm"],
        num_epochs=PPO["n_epochs"],
        replay_buffer=ReplayBuffer(
            storage=LazyTensorStorage(rollout),
            sampler=SamplerWithoutReplacement(),
            batch_size=PPO["batch_size"],
        ),
        gamma=PPO["gamma"],
        lmbda=PPO["gae_lambda"],
        progress_bar=False,
        enable_logging=False,
    )


def sac(pace: Pace) -> SACTrainer:
    """SAC with MLPs."""
    env = TransformedEnv(GymWrapper(PacedEnv(gym.make(TASK), pace)), DoubleToFloat())
    actions = env.action_spec.shape[-1]
    observations = env.observation_spec["observation"].shape[-1]
    both = MLP(
        observations, 2 * actions, num_cells=SAC_HIDDEN, activation_class=nn.ReLU
    )
    actor = actor_of(env, nn.Sequential(both, NormalParamExtractor()))
    value = MLP(
        observations + actions, 1, num_cells=SAC_HIDDEN, activation_class=nn.ReLU
    )
    critic = ValueOperator(value, ["observation", "action"])
    loss = SACLoss(actor, critic, num_qvalue_nets=2, loss_function="l2")
    loss.make_value_estimator(gamma=SAC["gamma"])
    return SACTrainer(
        collector=Collector(
            env,
            actor,
            frames_per_batch=SAC["train_freq"],
            total_frames=ENDLESS,
            init_random_frames=SAC["learning_starts"],
        ),
        total_frames=ENDLESS,
        frame_skip=1,
        optim_steps_per_batch=SAC["gradient_steps"],
        loss_module=loss,
        optimizer=torch.optim.Adam(loss.parameters(), lr=SAC["learning_rate"]),
        clip_grad_norm=False,
        replay_buffer=ReplayBuffer(
            storage=LazyTensorStorage(SAC["buffer_size"]),
            batch_size=SAC["batch_size"],
        ),
        target_net_updater=SoftUpdate(loss, tau=SAC["tau"]),
        progress_bar=False,
        enable_logging=False,
    )


if __name__ == "__main__":
    make = {"ppo": ppo, "sac": sac}[sys.argv[1]]
    make(Pace(sys.argv[1], version("torchrl"))).train()
