"""The proof of the perturbations: it passes what is right, catches what is broken, and
prints.
"""

import dataclasses
import multiprocessing

import gymnasium as gym
import numpy as np
import pytest

from spikepropamine.__main__ import main as command_line
from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.envs.perturbations.verify import (
    TASKS,
    Player,
    line,
    verify,
    verify_family,
)

QUICK = ("HalfCheetah-v5", "CueAssociation-v0")


@pytest.mark.parametrize("task", QUICK)
def test_every_family_is_proven(task):
    rows = verify(task)
    assert len(rows) == len(CATALOGUE)
    assert not [line(row) for row in rows if row.failures]
    assert {row.family for row in rows if row.reason} == {
        "HalfCheetah-v5": {"gravity_tilt", "cue_reversal"},
        "CueAssociation-v0": {
            name
            for name, family in CATALOGUE.items()
            if family.group in ("body", "acting")
        }
        | {"gravity", "gravity_tilt", "slope", "friction", "viscosity", "wind", "push"}
        | {"rough_ground", "direction"},
    }[task]


def test_a_task_that_cannot_be_played_is_one_failed_row(monkeypatch):
    broken = gym.envs.registration.EnvSpec("Broken-v0", lambda **_: 1 / 0)
    monkeypatch.setitem(gym.registry, "Broken-v0", broken)
    (row,) = verify("Broken-v0")
    assert "it cannot be played: " in line(row) and "division by zero" in line(row)


def test_every_family_is_proven_somewhere():
    """The families that the tasks above cannot have."""
    assert not verify("Ant-v5", ["gravity_tilt"])[0].failures
    assert not verify("HalfCheetahCue-v0", ["cue_reversal"])[0].failures


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task not in QUICK])
def test_every_family_is_proven_in_every_task(task):
    assert not [line(row) for row in verify(task) if row.failures]


@pytest.fixture(scope="module")
def cheetah():
    return Player("HalfCheetah-v5", steps=60)


def broken(name, **changes):
    return dataclasses.replace(CATALOGUE[name], **changes)


def floor_alone(model, value, bound):
    model.geom_friction[model.geom("floor").id] *= value


def compounding(task, value, bound):
    task._forward_reward_weight -= 0.3 * (1 - value)


def unseeded(observation, value, bound):
    return observation + value * np.random.default_rng().standard_normal(
        observation.shape
    )


def from_the_start(observation, value, bound):
    observation += 1e-12
    return observation


SHARED = []


def shared(observation, value, bound):
    SHARED.append(observation)
    return observation + value * SHARED[-2 if len(SHARED) > 1 else 0]


def too_big(observation, value, bound):
    return (observation + value).astype(np.float32)[:5]


@pytest.mark.parametrize(
    ("family", "failure"),
    [
        (broken("friction", edit_model=floor_alone), "severity 1.0 changes nothing"),
        (broken("direction", edit_task=compounding), "the task is not restored"),
        (broken("obs_noise", observe=unseeded), "a seed does not reproduce it"),
        (
            broken("obs_noise", observe=from_the_start),
            "severity 0 differs from the plain task",
        ),
        (
            broken("obs_noise", observe=shared),
            "two perturbed environments reach each other",
        ),
        (
            broken("obs_noise", observe=too_big),
            "an observation is not in the observation space",
        ),
        (broken("mass", edit_model=lambda *_: None), "it does not act after its onset"),
        (
            broken("damping", hardest=0, other=3),
            "a higher severity does not change more",
        ),
    ],
)
def test_the_proof_catches_what_is_broken(cheetah, family, failure, monkeypatch):
    if failure.startswith("a higher"):
        # a value that moves the wrong way
        edit = CATALOGUE["damping"].edit_model
        family = broken(
            "damping",
            edit_model=lambda m, value, bound: edit(m, 1 + 0.5 / value, bound),
        )
    monkeypatch.setitem(CATALOGUE, family.name, family)
    assert failure in verify_family(cheetah, family).failures


def test_the_command_lists_and_verifies(capsys):
    assert command_line(["list", "perturbations"]) == 0
    listed = capsys.readouterr().out
    assert not [name for name in CATALOGUE if name not in listed]
    task = ["--env", "InvertedPendulum-v5"]
    assert command_line(["verify", *task, "--only", "mass", "friction"]) == 0
    out = capsys.readouterr().out
    assert "proven" in out and "not applicable: it has no contacts" in out
    assert command_line(["verify", "--only", "mas"]) == 2
    assert "did you mean 'mass'" in capsys.readouterr().err


def test_tasks_are_verified_one_by_one_where_nothing_can_be_forked(capsys, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: pytest.fail(kind))
    assert (
        command_line(["verify", "--env", "InvertedPendulum-v5", "--only", "mass"]) == 0
    )
    assert "1 proven, 0 failed" in capsys.readouterr().out
