"""A model of a script of one's own becomes a run that can be evaluated, or is refused."""

import gymnasium as gym
import numpy as np
import pytest
from saved_runs import command_line
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents import PlasticPPO
from spikepropamine.agents import save_run as save_run_of
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.previous import PreviousActionAndReward
from spikepropamine.policies.export import load_policy


def test_a_model_of_a_script_of_ones_own_is_a_run(tmp_path, capsys):
    env = make_vec_env(
        lambda: PreviousActionAndReward(
            Perturbed(gym.make("HalfCheetah-v5", max_episode_steps=20), "mass=1.5")
        ),
        n_envs=2,
    )
    model = PlasticPPO(
        "PlasticSpikingPolicy", VecNormalize(env), n_steps=8, batch_size=8, seed=3,
        policy_kwargs={"network": {"hidden": (8,), "plastic": (True,), "recurrent": (False,),
                                   "rule": "oja", "modulation": "direct"}},
    )  # fmt: skip
    model.learn(16)
    run = save_run_of(tmp_path / "mine", model)
    settings = load_policy(str(run / "policy")).metadata["settings"]
    assert settings["policy"] == "ndp-oja" and settings["seed"] == 3 and settings["previous"]
    assert settings["perturb"] == "mass=1.5"
    assert settings["env_kwargs"] == {"max_episode_steps": 20}
    assert command_line(run, "--conditions", "clean", "--episodes", "2", "--workers", "1") == 0
    assert "ndp-oja" in capsys.readouterr().out


def test_a_model_whose_task_cannot_be_made_again_is_refused(tmp_path):
    wrapped = make_vec_env(lambda: gym.wrappers.RescaleAction(gym.make("Pendulum-v1"), -1.0, 1.0))
    with pytest.raises(ValueError, match="wrapped in RescaleAction"):
        save_run_of(tmp_path, PPO("MlpPolicy", wrapped, n_steps=8, batch_size=8))
    unlike = DummyVecEnv([lambda g=g: gym.make("Pendulum-v1", g=g) for g in (10.0, 1.0)])
    stacked = VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 2)
    own = DummyVecEnv([gym.envs.classic_control.PendulumEnv])
    for venv, message in (
        (unlike, "not alike"), (stacked, "VecFrameStack"), (own, "not registered"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            save_run_of(tmp_path, PPO("MlpPolicy", venv, n_steps=8, batch_size=8))
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8)
    with pytest.raises(ValueError, match="'my model' is not the name of a policy"):
        save_run_of(tmp_path, model, "my model")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="a training or evaluations of another policy"):
        save_run_of(tmp_path, model)


def test_a_run_of_a_script_takes_its_normalisation_along(tmp_path):
    venv = VecNormalize(make_vec_env("Pendulum-v1", 2))
    model = PlasticPPO("PlasticSpikingPolicy", venv, n_steps=8, batch_size=8, seed=3).learn(16)
    found = load_policy(save_run_of(tmp_path / "mine", model) / "policy").normalisation
    np.testing.assert_array_equal(found.mean, venv.obs_rms.mean)
