"""Numbers that are not numbers stop a training, and whoever made them is named; what
will come to nothing is said.
"""

import numpy as np
import pytest
import torch
from conftest import RandomEnv, make_model, make_venv
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from spikepropamine.agents.ppo import ALGORITHM
from spikepropamine.policies.fast.environments import Normalised
from spikepropamine.training.diagnostics import Diagnostics
from spikepropamine.training.guard import Diverged, Guard


class Breaking(RandomEnv):
    """Gives something unsound at its fourth step."""

    def __init__(self, what, value, observation="box", length=10):
        super().__init__(observation, length=length)
        self.what = what
        self.value = value

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.clock == 4:
            if self.what == "reward":
                reward = self.value
            elif isinstance(observation, dict):
                observation["cue"][1] = self.value
            else:
                observation[1] = self.value
        return observation, reward, *rest


def guarded(model, steps=64):
    guard = Guard()
    try:
        model.learn(steps, callback=guard)
    except ValueError as error:
        guard.explain(error)
        raise


@pytest.mark.parametrize(
    ("what", "observation", "value", "normalised"),
    [
        ("observation", "box", np.nan, False),
        ("observation", "box", 1e30, True),
        ("observation", "dict", -np.inf, True),
        ("reward", "box", np.nan, True),
        ("reward", "box", 1e30, False),
    ],
)
def test_what_an_environment_breaks_is_laid_at_its_door(
    what, observation, value, normalised
):
    venv = DummyVecEnv(
        [
            lambda: Monitor(RandomEnv(observation)),
            lambda: Monitor(Breaking(what, value, observation)),
        ]
    )
    if normalised:
        keys = ["cue"] if observation == "dict" else None
        venv = VecNormalize(venv, norm_obs_keys=keys)
    with pytest.raises(Diverged) as caught:
        guarded(make_model(venv))
    place = {"box": "observation[1]", "dict": "observation 'cue'[1]"}[observation]
    message = str(caught.value)
    assert message.startswith("environment 1 gave the ") and "at step 8" in message
    assert (place if what == "observation" else "reward") in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("observation", "value"), [("box", 1e30), ("dict", np.nan)])
def test_the_last_observation_of_an_episode_is_looked_at_before_normalisation(
    value, observation
):
    venv = DummyVecEnv(
        [lambda: Monitor(Breaking("observation", value, observation, length=4))]
    )
    keys = ["cue"] if observation == "dict" else None
    with pytest.raises(Diverged, match=r"environment 0 gave the observation.*\[1\]"):
        guarded(make_model(Normalised(venv, norm_obs_keys=keys)))


def test_an_unsound_gradient_ends_the_training():
    model = make_model(make_venv())
    model.policy.action_net.weight.register_hook(lambda gradient: gradient * np.nan)
    with pytest.raises(Diverged, match=r"the parameter .* is not finite"):
        guarded(model)


def test_a_parameter_that_is_unsound_is_named():
    model = make_model(make_venv(action="box"))
    with torch.no_grad():
        model.policy.log_std.fill_(np.nan)
    with pytest.raises(Diverged, match="the parameter log_std"):
        guarded(model)


def test_a_sound_training_is_left_as_it_is():
    weights = []
    for guard in (False, True):
        model = make_model(make_venv())
        model.learn(
            64,
            callback=CallbackList(
                [Guard(), Diagnostics(1, ALGORITHM.rollouts)] if guard else []
            ),
        )
        weights.append(
            torch.cat([p.detach().flatten() for p in model.policy.parameters()])
        )
    assert torch.equal(*weights)


# what comes to nothing


def said(capsys, model, steps=128):
    """What is said while a model trains, with a row after every rollout."""
    model.learn(steps, callback=Diagnostics(1, ALGORITHM.rollouts), log_interval=None)
    return [line for line in capsys.readouterr().err.splitlines() if "warning" in line]


def test_a_silent_layer_is_reported_once(capsys):
    model = make_model(make_venv())
    with torch.no_grad():
        model.policy.network.layers[0].bias.fill_(-100.0)
    lines = [line for line in said(capsys, model) if "silent" in line]
    assert len(lines) == 1 and "layer 0" in lines[0]


def test_saturated_fast_weights_are_reported_once(capsys):
    network = {
        "hidden": (6, 6),
        "rule": "oja",
        "clip": 1e-9,
        "eta": 0.9,
        "input_gain": 9.0,
    }
    model = make_model(make_venv(), policy_kwargs={"network": network})
    with torch.no_grad():
        model.policy.network.layers[0].bias.fill_(5.0)
        model.policy.network.layers[1].bias.fill_(5.0)
    lines = [line for line in said(capsys, model) if "at their bound" in line]
    assert len(lines) == 1 and "layer 1" in lines[0]


def test_a_healthy_training_is_left_in_peace(capsys):
    assert said(capsys, make_model(make_venv(), learning_rate=1e-3)) == []
