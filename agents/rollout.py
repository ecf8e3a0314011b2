"""Rollouts of PPO and RecurrentPPO with little between the environments and the network."""

from typing import TYPE_CHECKING, Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from spikepropamine.agents.buffer import PlainRolloutBuffer
from spikepropamine.agents.update import PlainUpdates
from spikepropamine.policies.plain import known, plain_step

if TYPE_CHECKING:
    _Base = OnPolicyAlgorithm  # a mixin over PPO or RecurrentPPO
else:
    _Base = object


class PlainRollouts(_Base):
    """SB3's rollouts, with the policy's step as plain calls: the same numbers, to the last bit.

    Callbacks are called as SB3 calls them, and find its names in `locals`. Policies that
    `plain_step` does not know take SB3's own way.
    """

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Fills the buffer; False where a callback ended the training."""
        if not known(self.policy):
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        step: Any = plain_step(self.policy, env.num_envs)  # of parameters as callbacks left them
        recurrent = isinstance(self.policy, RecurrentActorCriticPolicy)
        lstm_states: Any = self._last_lstm_states if recurrent else None
        space: Any = self.action_space
        n_steps = 0
        while n_steps < n_rollout_steps:
            before: Any = {"lstm_states": lstm_states} if recurrent else {}
            obs_tensor = torch.as_tensor(self._last_obs)
            episode_starts = torch.as_tensor(self._last_episode_starts, dtype=torch.float32)
            drawn, values, log_probs, lstm_states = step(obs_tensor, lstm_states, episode_starts)
            actions = drawn.numpy()
            clipped_actions = np.minimum(np.maximum(actions, space.low), space.high)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            n_steps += 1
            for index in np.flatnonzero(dones):
                last_obs = infos[index].get("terminal_observation")
                if last_obs is not None and infos[index].get("TimeLimit.truncated", False):
                    # the episode would have gone on
                    last, _ = self.policy.obs_to_tensor(last_obs)
                    value = self._values(last, lstm_states, torch.zeros(1), slice(index, index + 1))
                    rewards[index] += self.gamma * value[0]
            rollout_buffer.add(
                self._last_obs,  # type: ignore[arg-type]
                actions,
                rewards,
                self._last_episode_starts,  # type: ignore[arg-type]
                values,
                log_probs,
                **before,
            )
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
            if recurrent:
                self._last_lstm_states = lstm_states
        starts = torch.as_tensor(dones, dtype=torch.float32)
        values = self._values(torch.as_tensor(new_obs), lstm_states, starts, slice(None))
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    @torch.no_grad()
    def _values(self, observations: Any, states: Any, starts: Tensor, envs: slice) -> Tensor:
        """Values of observations of some of the environments, in these states."""
        if states is None:
            return self.policy.predict_values(observations)
        part = tuple(x[:, envs].contiguous() for x in states.vf)
        return self.policy.predict_values(observations, part, starts)  # type: ignore[call-arg]


class PPO(PlainRollouts, PlainUpdates, stable_baselines3.PPO):
    """SB3's PPO with `PlainRollouts` and `PlainUpdates`."""

    def _setup_model(self) -> None:
        arrays = not isinstance(self.observation_space, spaces.Dict)
        given = self.rollout_buffer_class
        if given is None and arrays and self.device.type == "cpu":
            self.rollout_buffer_class = PlainRolloutBuffer
        super()._setup_model()
        self.rollout_buffer_class = given  # what is saved may be loaded on another device
