"""Suites: every condition can be had, and what is held out is held out."""

import gymnasium as gym
import pytest

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.perturbations import reason_against
from spikepropamine.envs.perturbations.suites import load_suite, suite_names
from spikepropamine.envs.perturbations.verify import TASKS

quiet_mujoco()

CUES = ("CueAssociation-v0", "EvidenceAccumulation-v0")  # they have no body
CONTEXTS = ("motor-order", "motor-signs", "sensor-signs")  # see test_contexts.py
PAIRS = [
    (suite, task)
    for suite in suite_names()
    if suite not in CONTEXTS
    for task in TASKS
    if task not in CUES or suite not in ("body-damage", "novel-dynamics")
]
GOOD = """
severities: [0.5, 1.0]
onset: 7
train: {light: "mass~{severity}@{onset}"}
held-out: {slope: "slope=5"}
tasks:
  Ant-v5: {held-out: {wind: "wind=5"}}
"""


def test_the_suites_are_there():
    conditions = ["body-damage", "mid-episode", "noise", "novel-dynamics"]
    assert suite_names() == sorted([*conditions, *CONTEXTS])


@pytest.mark.parametrize(("suite", "task"), PAIRS)
def test_every_condition_applies_to_its_task(suite, task):
    env = gym.make(task)
    conditions = load_suite(suite, task)
    assert not [reason for c in conditions if (reason := reason_against(env, c.text))]
    texts = {
        split: {c.text for c in conditions if c.split == split} for split in ("train", "held-out")
    }
    assert texts["train"] and texts["held-out"]
    assert not texts["train"] & texts["held-out"]
    env.close()


@pytest.mark.parametrize("task", ["Ant-v5", "HalfCheetah-v5", "Walker2d-v5", "Humanoid-v5"])
def test_the_held_out_limb_is_another(task):
    from spikepropamine.envs.perturbations.body import limbs

    found = list(limbs(gym.make(task).unwrapped).values())
    assert len(found) > 1 and not set(found[0]) & set(found[-1])


def write(folder, text):
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_a_suite_is_read(tmp_path):
    file = write(tmp_path, GOOD)
    found = [(c.name, c.text, c.severity, c.split, c.onset) for c in load_suite(file, "Hopper-v5")]
    assert found == [
        ("light", "mass~0.5@7", 0.5, "train", 7),
        ("light", "mass~1.0@7", 1.0, "train", 7),
        ("slope", "slope=5", None, "held-out", 7),
    ]
    assert [c.name for c in load_suite(file, "Ant-v5")] == ["light", "light", "wind"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mass~", "mas~", "mine.yaml, for Hopper-v5: train: light: .*did you mean 'mass'"),
        ("held-out: {slope", "heldout: {slope", "did you mean 'held-out'"),
        ("[0.5, 1.0]", "0.5", "severities must be a list"),
        ("[0.5, 1.0]", "[0.5, high]", "got 'high'"),
        ("[0.5, 1.0]", "[0.5, 1.5]", "a severity is in"),
        ("onset: 7", "onset: -7", "at least 0, got -7"),
        ("onset: 7\n", "", "a schedule is a step"),
        ('"slope=5"', "5", "a perturbation is a text"),
        ('"slope=5"', '"mass~0.5@7"', "two conditions have the same text"),
        ("{slope: ", "[slope], x: {", "mine.yaml"),
        ("Ant-v5: {", "Ant-v5: {tran: {}, ", "did you mean 'train'"),
    ],
)
def test_messages_say_where_and_what(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        load_suite(write(tmp_path, GOOD.replace(old, new)), "Hopper-v5")


def test_an_unknown_suite_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        load_suite("nois", "Ant-v5")
