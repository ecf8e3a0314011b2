"""What a user of SB3 does every day, with an on-policy and an off-policy algorithm."""

import numpy as np
import pytest
import torch
from stable_baselines3.common import callbacks, logger
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from spikepropamine.agents import PlasticPPO, PlasticSAC

SETTINGS = {
    PlasticPPO: {"n_steps": 16, "batch_size": 16},
    PlasticSAC: {"learning_starts": 10, "batch_size": 8, "buffer_size": 500},
}
ALGORITHMS = pytest.mark.parametrize("algorithm", SETTINGS)


def make(algorithm, env="Pendulum-v1", policy="MlpLstmPolicy", **changes):
    """A small model on the CPU."""
    width = {"lstm_hidden_size": 8}
    arguments = {"device": "cpu", "seed": 0, "policy_kwargs": width}
    return algorithm(policy, env, **(arguments | SETTINGS[algorithm] | changes))


@ALGORITHMS
def test_predict_with_a_state(algorithm):
    model = make(algorithm)
    observation = model.get_env().reset()
    action, state = model.predict(observation, episode_start=np.ones(1))
    again, _ = model.predict(observation, state, np.zeros(1), deterministic=True)
    assert action.shape == again.shape == (1, 1)


@ALGORITHMS
def test_callbacks(algorithm, tmp_path):
    best = callbacks.StopTrainingOnRewardThreshold(reward_threshold=-1e9)
    evaluation = callbacks.EvalCallback(
        make_vec_env("Pendulum-v1"),
        callback_on_new_best=best,
        best_model_save_path=str(tmp_path),
        eval_freq=20,
        n_eval_episodes=1,
        verbose=0,
    )
    saving = callbacks.CheckpointCallback(15, str(tmp_path), "some")
    model = make(algorithm).learn(200, callback=[saving, evaluation])
    assert model.num_timesteps == 20
    assert (tmp_path / "some_15_steps.zip").is_file()
    algorithm.load(tmp_path / "best_model", device="cpu")


@ALGORITHMS
def test_a_function_as_a_callback_stops(algorithm):
    model = make(algorithm).learn(200, callback=lambda found, _: False)
    assert model.num_timesteps == 1


@ALGORITHMS
def test_parameters_are_taken_and_given(algorithm):
    first = make(algorithm)
    second = make(algorithm, seed=1)
    second.set_parameters(first.get_parameters())
    pairs = zip(first.policy.parameters(), second.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@ALGORITHMS
def test_other_environments_and_a_logger_of_ones_own(algorithm, tmp_path):
    model = make(algorithm)
    model.set_env(make_vec_env("Pendulum-v1"))
    model.set_logger(logger.configure(str(tmp_path), ["csv", "json"]))
    model.learn(250, log_interval=1)
    assert (tmp_path / "progress.csv").read_text().count("\n") > 1


@ALGORITHMS
def test_normalised_and_stacked_observations(algorithm, tmp_path):
    env = VecNormalize(VecFrameStack(make_vec_env("Pendulum-v1", 2), 3))
    model = make(algorithm, env).learn(64)
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "statistics.pkl"))
    plain = VecFrameStack(make_vec_env("Pendulum-v1", 2), 3)
    again = VecNormalize.load(str(tmp_path / "statistics.pkl"), plain)
    loaded = algorithm.load(tmp_path / "model", env=again, device="cpu")
    mean, _ = evaluate_policy(loaded, again, n_eval_episodes=2, warn=False)
    assert np.isfinite(mean)


@ALGORITHMS
def test_an_extractor_an_activation_and_a_schedule(algorithm):
    arguments = {
        "lstm_hidden_size": 8,
        "features_extractor_class": FlattenExtractor,
        "activation_fn": torch.nn.ELU,
    }
    model = make(
        algorithm, learning_rate=lambda left: 1e-3 * left, policy_kwargs=arguments
    )
    assert model.learn(64)._n_updates > 0


@ALGORITHMS
def test_learning_goes_on_after_loading(algorithm, tmp_path):
    model = make(algorithm).learn(48)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=make_vec_env("Pendulum-v1"))
    again.learn(16, reset_num_timesteps=False)
    assert again.num_timesteps >= 64


@ALGORITHMS
def test_tensorboard_has_a_folder(algorithm, tmp_path):
    pytest.importorskip("tensorboard")
    make(algorithm, tensorboard_log=str(tmp_path)).learn(32, tb_log_name="mine")
    assert list((tmp_path / "mine_1").glob("events*"))
