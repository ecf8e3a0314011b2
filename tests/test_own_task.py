"""Defaults for a task without a configuration: what decides them, and what stays."""

import math

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces
from train_runs import TINY

from spikepropamine.training.command_line import parse
from spikepropamine.training.own_task import OwnTask, decided_by, fitted
from spikepropamine.training.run import main
from spikepropamine.training.sections import CONFIGS, defaults

PENDULUM = ["--env", "Pendulum-v1", "--policy", "ndp-oja"]


def task(horizon=200, half_range=1.0):
    return OwnTask(horizon, half_range, normalisable=True)


@pytest.mark.parametrize(
    ("horizon", "length"),
    [(None, 32), (10, 32), (32, 32), (33, 64), (64, 64), (65, 64), (1000, 64)],
)
def test_a_short_episode_is_a_sequence(horizon, length):
    assert task(horizon).sequence_length(32, most=512) == length


def test_no_sequence_is_longer_than_a_rollout_or_a_minibatch():
    assert task(1000).sequence_length(32, most=16) == 16


@pytest.mark.parametrize(
    ("horizon", "gamma"),
    [(None, 0.99), (10, 0.99), (1000, 0.99), (2000, 0.995), (10**6, 0.999)],
)
def test_a_discount_looks_ahead_over_a_tenth_of_an_episode(horizon, gamma):
    assert task(horizon).gamma(0.99) == gamma
    if horizon is not None and horizon <= 10_000:
        assert 10 / (1 - gamma) >= horizon - 1e-6


def test_the_first_spread_is_a_share_of_the_range_of_actions():
    for half_range in (0.1, 1.0, 50.0):
        log_std = task(half_range=half_range).log_std_init(-0.5)
        share = math.exp(log_std) / half_range
        assert share == pytest.approx(math.exp(-0.5), rel=0.01)
    assert task(half_range=None).log_std_init(-0.5) == -0.5


def test_what_decides_is_seen_in_the_environment():
    class Mine(gym.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (3,))
        action_space = spaces.Box(np.float32([-4, 0]), np.float32([4, 2]))

    spec = gym.envs.registration.EnvSpec(
        "Mine-v0", entry_point=Mine, max_episode_steps=50
    )
    seen = OwnTask.of(gym.make(spec))
    assert (seen.horizon, seen.normalisable) == (50, True)
    assert seen.half_range == pytest.approx(2.0)
    for actions in (spaces.Discrete(2), spaces.Box(-np.inf, np.inf, (1,))):
        Mine.action_space = actions
        assert OwnTask.of(Mine()).half_range is None
    assert OwnTask.of(Mine()).horizon is None
    matrix = spaces.Box(-np.inf, np.inf, (3, 4))
    picture = spaces.Box(0, 255, (48, 48, 3), np.uint8)
    for space, normalisable in (
        (matrix, True),
        (spaces.Dict({"a": matrix, "b": picture}), True),
        (picture, False),
        (spaces.Dict({"b": picture}), False),
        (spaces.Discrete(4), False),
    ):
        Mine.observation_space = space
        assert OwnTask.of(Mine()).normalisable == normalisable


def test_a_task_of_ones_own_gets_what_it_decides():
    trainer = parse([*PENDULUM]).trainer
    assert trainer.sequence_length == 64  # of 200
    assert trainer.log_std_init == 0.19  # actions are in [-2, 2]
    assert trainer.gamma == 0.99


def test_what_is_given_is_sacred(tmp_path):
    given = ["--trainer.log-std-init=-0.5", "--trainer.sequence-length", "32"]
    trainer = parse([*PENDULUM, *given]).trainer
    assert (trainer.sequence_length, trainer.log_std_init) == (32, -0.5)
    file = tmp_path / "mine.yaml"
    for section in ("all", "ndp", "ndp-oja"):
        content = {section: {"trainer": {"sequence_length": 32}}}
        file.write_text(yaml.safe_dump(content))
        trainer = parse([*PENDULUM, "--config", str(file)]).trainer
        assert (trainer.sequence_length, trainer.log_std_init) == (32, 0.19)


def test_the_configuration_of_a_run_is_sacred_too(tmp_path, run_here):
    first = parse([*PENDULUM, "--trainer.log-std-init=-0.5"])
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"settings": first.as_dict()}))
    again = parse([*PENDULUM, "--config", str(file)])
    assert again.trainer == first.trainer


def test_a_task_with_a_configuration_stays_as_it_is():
    names = {file.stem for file in CONFIGS.glob("*-v*.yaml")}
    assert len(names) > 10
    for env in names:
        for kind in ("ppo", "sac"):
            settings = defaults(env, "ndp-oja", kind=kind)
            assert fitted(settings, ()) is settings
    settings = defaults("Pendulum-v1", "ndp-oja", kind="sac")
    assert fitted(settings, ()) is settings


def test_the_log_says_what_was_decided(tmp_path, capsys):
    arguments = [*PENDULUM, *TINY, "--trainer.log-std-init", "0.0"]
    assert main([*arguments, "--runs", str(tmp_path)]) == 0
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "has no configuration" in line
    ]
    assert "episodes of up to 200 steps: observations normalised" in line
    assert "gradients through 8 steps" in line and "discount 0.99" in line
    assert "first spread of actions 1.00 in a range of \u00b12.00" in line


def test_the_log_says_nothing_of_what_does_not_concern_the_policy():
    settings = parse(["--env", "Acrobot-v1", "--policy", "mlp"])
    env = gym.make("Acrobot-v1")
    said = decided_by(settings, env)
    assert "gradients" not in said and "spread" not in said
    assert "observations normalised, discount 0.99" in said
