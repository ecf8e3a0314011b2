"""The previous action and reward as part of the observation."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3
from tapes import play_with_infos

from spikepropamine.envs.shown import PreviousActionAndReward


def test_previous_action_and_reward_are_appended():
    env = PreviousActionAndReward(gym.make("HalfCheetah-v5"))
    assert env.observation_space.shape == (17 + 6 + 1,)
    first, _ = env.reset(seed=0)
    assert not first[17:].any()
    action = np.linspace(-1, 1, 6).astype(np.float32)
    observation, reward, *_ = env.step(action)
    np.testing.assert_array_equal(observation[17:23], action)
    assert observation[-1] == reward and env.observation_space.contains(observation)
    discrete = PreviousActionAndReward(gym.make("CueAssociation-v0"))
    discrete.reset(seed=0)
    observation, reward, *_ = discrete.step(1)
    assert (
        observation[-3:].tolist() == [0, 1, reward] and observation.dtype == np.float32
    )


def test_it_does_not_give_away_what_a_task_hides():
    env = PreviousActionAndReward(
        gym.make("HalfCheetahDirectionOpening-v0", feedback_opening=5)
    )
    observations, rewards, _ = play_with_infos(env, 20)
    assert not observations[6:, -1].any() and rewards[6:].all()


def test_a_discrete_observation_is_one_hot_before_what_is_shown():
    env = PreviousActionAndReward(gym.make("FrozenLake-v1", is_slippery=False))  # 4 x 4
    first, _ = env.reset(seed=0)
    second, *_ = env.step(1)  # down: from field 0 to field 4
    assert np.flatnonzero(first).tolist() == [0]
    assert np.flatnonzero(second).tolist() == [4, 16 + 1] and len(second) == 16 + 4 + 1
    assert env.observation_space.contains(second)


def test_previous_passes_the_checkers_and_refuses_other_spaces():
    env = PreviousActionAndReward(gym.make("HalfCheetahDirectionSparse-v0").unwrapped)
    check_gymnasium(env, skip_render_check=True)
    check_sb3(env, skip_render_check=True)
    with pytest.raises(ValueError, match="one dimension"):
        PreviousActionAndReward(gym.make("Blackjack-v1"))
