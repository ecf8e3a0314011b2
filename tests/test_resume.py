"""A run that is killed at any moment and resumed is the run that was never
interrupted.
"""

import csv
import os
import random
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from spikepropamine.agents import replay_buffer
from spikepropamine.policies.fast.environments import SideBySide
from spikepropamine.policies.flat_adam import FlatAdam
from spikepropamine.training.logs import ProgressCSV
from spikepropamine.training.run import main

CUE = [
    "--env", "CueAssociation-v0", "--n-envs", "2", "--steps", "192",
    "--trainer.n-steps", "16",
    "--trainer.batch-size", "16", "--trainer.sequence-length", "8",
    "--trainer.n-epochs", "2",
    "--network.hidden", "8", "8", "--checkpoint-every", "64", "--log-every", "2",
]  # fmt: skip
CHEETAH = [
    "--env", "HalfCheetah-v5", *CUE[2:],
    "--normalize-observations", "--normalize-rewards",
    "--env-kwargs", "max_episode_steps", "30",
]  # fmt: skip
TAUGHT = [
    *CHEETAH, "--perturb", "motor-signs", "--previous", "--trainer.guided-steps", "128",
    "--trainer.opening", "1",
    "--teacher",
    str(Path(__file__).parents[1] / "trained/teachers/HalfCheetah-v5/snn/seed-0"),
]  # fmt: skip
SUPERVISED = [*CUE, "--trainer.kind", "supervised"]
HIDDEN = ["--env", "Hidden-v0", *CUE[2:]]
CUED = [
    *CHEETAH, "--perturb", "one-sign", "--previous", "--critic-told",
    "--critic-first", "64", "--cue", "2", "128",
]  # fmt: skip
OFF_POLICY = [
    "--env", "HalfCheetah-v5", "--n-envs", "2", "--steps", "192", "--env-kwargs",
    "max_episode_steps", "30", "--trainer.train-freq", "8", "--trainer.gradient-steps",
    "2",
    "--trainer.batch-size", "16", "--trainer.learning-starts", "32", "--network.hidden",
    "8", "8",
    "--trainer.critic", "8", "--checkpoint-every", "64", "--log-every", "2",
    "--trainer.learning-rate-schedule", "linear",
]  # fmt: skip
EVOLUTION = [
    "--env", "HalfCheetah-v5", "--n-envs", "2", "--steps", "1200", "--env-kwargs",
    "max_episode_steps", "30", "--normalize-observations", "--trainer.kind",
    "evolution",
    "--trainer.population", "4", "--network.hidden", "8", "8",
    "--network.fresh-weights", "random",
    "--checkpoint-every", "400", "--log-every", "1",
]  # fmt: skip
KINDS = {
    "plastic": [*CUE, "--policy", "ndp-oja"],
    "mlp": [*CHEETAH, "--policy", "mlp"],
    "lstm": [*CHEETAH, "--policy", "lstm"],
    "supervised": [*SUPERVISED, "--policy", "ndp-oja"],
    "taught": [*TAUGHT, "--policy", "snn"],
    "hidden": [*HIDDEN, "--policy", "ndp-oja"],
    "cued": [*CUED, "--policy", "ndp-oja"],
    "sac": [*OFF_POLICY, "--policy", "ndp-oja", "--trainer.kind", "sac"],
    "evolution": [*EVOLUTION, "--policy", "ndp-oja"],
    "tqc": [*OFF_POLICY, "--policy", "mlp", "--trainer.kind", "tqc"],
}
MOMENTS = [
    (SideBySide, "step_wait"), (torch.optim.Adam, "step"), (FlatAdam, "step"),
    (ProgressCSV, "write"), (os, "fsync"), (Path, "replace"), (Path, "unlink"),
]  # fmt: skip
"""What a run is made of: it can be killed before and after each call of these."""


class Hidden(gym.Env):
    """Keeps its state where nobody can look: in a generator, of which there is no
    copy.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.walk = self.walked(self.np_random)
        return next(self.walk), {}

    @staticmethod
    def walked(random):
        place = random.normal(size=2).astype(np.float32)
        for _ in range(random.integers(5, 30)):
            action = yield place
            place = place + 0.1 * action + random.normal(size=2).astype(np.float32)

    def step(self, action):
        try:
            place = self.walk.send(action)
            ended = False
        except StopIteration:
            place = np.zeros(2, np.float32)
            ended = True
        return place, float(-np.square(place).sum()), ended, False, {}


gym.register("Hidden-v0", Hidden)


class Moments:
    """Counts the moments of a run, and kills the process at one of them."""

    def __init__(self, monkeypatch, deadly=None):
        self.count = 0
        self.deadly = deadly
        for owner, name in MOMENTS:
            monkeypatch.setattr(owner, name, self.counting(getattr(owner, name)))

    def counting(self, function):
        def counted(*arguments, **keywords):
            self.pass_one()
            result = function(*arguments, **keywords)
            self.pass_one()
            return result

        return counted

    def pass_one(self):
        self.count += 1
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(action):
    """The wait status of a forked process that does something; starting a new one takes
    seconds.
    """
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 70
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = action()
    finally:
        os._exit(code)


def weights(runs):
    (folder,) = runs.rglob("policy")
    tensors = load_file(str(folder / "weights.safetensors"))
    if (folder / "normalisation.safetensors").is_file():
        tensors |= load_file(str(folder / "normalisation.safetensors"))
    return tensors


def rows(runs):
    """All of progress.csv but what depends on the clock."""
    (file,) = runs.rglob("progress.csv")
    with file.open() as lines:
        found = list(csv.DictReader(lines))
    clocks = ("time/fps", "time/time_elapsed", "system/steps_per_second")
    return [{k: v for k, v in row.items() if k not in clocks} for row in found]


def check_kills(tmp_path, monkeypatch, arguments, kills, seed):
    """Kills runs, each of them several times, until so many kills were survived."""
    monkeypatch.setattr(replay_buffer, "BLOCK", 1)  # many blocks, though runs are short
    whole = tmp_path / "whole"
    with monkeypatch.context() as patched:
        moments = Moments(patched)
        assert main([*arguments, "--runs", str(whole)]) == 0
    draw = random.Random(seed)
    survived = 0
    while survived < kills:
        runs = tmp_path / f"killed-{survived}"
        more = []
        left = min(draw.randint(1, 3), kills - survived)
        while True:
            # a resumed run has fewer moments left than a whole one
            deadly = draw.randint(1, moments.count // (1 + len(more))) if left else None

            def run(runs=runs, more=more, deadly=deadly):
                Moments(monkeypatch, deadly)
                return main([*arguments, "--runs", str(runs), *more])

            status = in_child(run)
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0, f"after {left} more kills, {deadly}"
                break
            survived = survived + 1
            left = left - 1
            more = ["--resume"] if any(runs.rglob("seed-0")) else []
        expected = weights(whole)
        found = weights(runs)
        assert expected.keys() == found.keys()
        assert all(np.array_equal(expected[name], found[name]) for name in expected)
        assert rows(whole) == rows(runs)


@pytest.mark.parametrize("kind", ["mlp", "taught", "hidden", "sac", "evolution"])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch, kind):
    check_kills(tmp_path, monkeypatch, KINDS[kind], 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_kills(tmp_path, monkeypatch, kind):
    check_kills(tmp_path, monkeypatch, KINDS[kind], 50, 1)


def test_a_supervised_run_goes_on_though_no_response_is_due_at_first(tmp_path):
    """What has been told before is known after a resume, too."""
    task = [
        "--env",
        "CueAssociation-v0",
        "--env-kwargs",
        "trials",
        "2",
        "delay_length",
        "78",
    ]
    task += ["--policy", "snn", "--trainer.kind", "supervised", "--n-envs", "4"]
    task += ["--checkpoint-every", "480", "--network.hidden", "8"]
    task += ["--trainer.n-steps", "40", "--trainer.batch-size", "160"]
    whole, parts = (["--runs", str(tmp_path / name)] for name in ("whole", "parts"))
    assert main([*task, "--steps", "960", *whole]) == 0
    assert main([*task, "--steps", "480", *parts]) == 0
    assert main([*task, "--steps", "960", *parts, "--resume"]) == 0
    expected = weights(tmp_path / "whole")
    found = weights(tmp_path / "parts")
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
