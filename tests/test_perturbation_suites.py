"""Suites: every condition can be had, and what is held out is held out."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from saved_runs import command_line, measured, save_run

from spikepropamine.envs import making
from spikepropamine.envs.perturbations import parse, reason_against
from spikepropamine.envs.perturbations.acts import act_of
from spikepropamine.envs.perturbations.notation import SPLITS, load_suite, suite_names
from spikepropamine.envs.perturbations.verify import TASKS

NO_BODY = (
    "CueAssociation-v0",
    "EvidenceAccumulation-v0",
    "CartPoleNoVelocity-v0",
    "KeyValue-v0",
)
CONTEXTS = (
    "motor-map",
    "motor-order",
    "motor-signs",
    "one-sign",
    "sensor-signs",
)  # see test_contexts.py
PAIRS = [
    (suite, task)
    for suite in suite_names()
    if suite not in CONTEXTS
    for task in (*TASKS, "CartPoleNoVelocity-v0")
    if task not in NO_BODY
    or suite not in ("actuator-inversion", "body-damage", "novel-dynamics")
]
GOOD = """
severities: [0.5, 1.0]
onset: 7
train: {light: "mass~{severity}@{onset}"}
held-out: {slope: "slope=5"}
tasks:
  Ant-v5: {held-out: {wind: "wind=5"}}
"""


@pytest.mark.nightly
@pytest.mark.parametrize(("suite", "task"), PAIRS)
def test_every_condition_applies_to_its_task(suite, task):
    env = gym.make(task)
    horizon = making.horizon_of(env)
    conditions = load_suite(suite, task, horizon)
    assert not [
        r for c in conditions if (r := reason_against(env, c.text, horizon=horizon))
    ]
    assert {c.split for c in conditions} == set(SPLITS)
    env.close()


MUJOCO = (
    *(
        "Ant-v5",
        "HalfCheetah-v5",
        "Hopper-v5",
        "Humanoid-v5",
        "HumanoidStandup-v5",
        "Pusher-v5",
    ),
    *("InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Reacher-v5", "Swimmer-v5"),
    *("Walker2d-v5", "HalfCheetahCue-v0", "HalfCheetahCueLesson-v0"),
)


@pytest.mark.nightly
@pytest.mark.parametrize("task", MUJOCO)
@pytest.mark.parametrize(
    "suite", ["body-damage", "mid-episode", "novel-dynamics", "noise"]
)
def test_what_is_held_out_is_nothing_that_training_may_use_under_another_name(
    suite, task
):
    env = gym.make(task)
    horizon = making.horizon_of(env)
    changes = {split: set() for split in SPLITS}
    for condition in load_suite(suite, task, horizon):
        if not reason_against(env, condition.text, horizon=horizon):
            terms = [t for one in parse(condition.text) for t in one]
            acts = [act_of(env, term, 0, np.ones(())) for term in terms]
            changes[condition.split].add(
                tuple(
                    (
                        t.family.name,
                        repr(a.bound.target),
                        t.low,
                        t.high,
                        t.severities,
                        t.schedule,
                    )
                    for t, a in zip(terms, acts)
                )
            )
    assert changes["train"] and changes["held-out"]
    assert not changes["train"] & changes["held-out"]


def test_an_onset_may_be_a_percentage(tmp_path):
    file = write(tmp_path, GOOD.replace("onset: 7", "onset: 25%"))
    assert load_suite(file, "Hopper-v5", 200)[0].text == "mass~0.5@50"
    with pytest.raises(ValueError, match="need a task whose episodes have a limit"):
        load_suite(file, "Hopper-v5")


def write(folder, text):
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_a_suite_is_read(tmp_path):
    file = write(tmp_path, GOOD)
    found = [
        (c.name, c.text, c.severity, c.split) for c in load_suite(file, "Hopper-v5")
    ]
    assert found == [
        ("light", "mass~0.5@7", 0.5, "train"),
        ("light", "mass~1.0@7", 1.0, "train"),
        ("slope", "slope=5", None, "held-out"),
    ]
    assert [c.name for c in load_suite(file, "Ant-v5")] == ["light", "light", "wind"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "mass~",
            "mas~",
            "mine.yaml, for Hopper-v5: train: light: .*did you mean 'mass'",
        ),
        ("held-out: {slope", "heldout: {slope", "did you mean 'held-out'"),
        ("severities: [0.5, 1.0]\n", "", "train: light: .*None"),
        ("[0.5, 1.0]", "0.5", "severities must be a list"),
        ("[0.5, 1.0]", "[0.5, 1.5]", "a severity is in"),
        ("[0.5, 1.0]", "[1.0, 0.5]", "severities must rise"),
        ("[0.5, 1.0]", "[0.0, 0.5]", "and begin above 0"),
        ("onset: 7\n", "", "a schedule is a step"),
        ('"slope=5"', "5", "a text that perturbs"),
        ("{slope: ", "{1: ", "a key is a text, not 1"),
        ('"slope=5"', '"mass~0.5@7"', "two conditions have the same text"),
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


def test_a_suite_of_ones_own_is_trained_and_evaluated_under(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, GOOD.replace("Ant-v5", "Swimmer-v5"))
    assert (
        making.training_text(str(file), "Hopper-v5") == "none | mass~0.5@7 | mass~1.0@7"
    )
    run = save_run(tmp_path, "Hopper-v5", "mlp")
    found = measured(run, "--episodes", 1, "--suite", file)
    assert found.description.suite == "mine"
    assert set(found.conditions) == {"clean", "light 0.5", "light 1", "slope"}
    Path("noise.yaml").write_text(GOOD)
    for wrong, words in (
        ("noise.yaml", "another name"),
        ("gone.yaml", "there is no file"),
    ):
        assert (
            command_line(run, "--suite", wrong) == 2
            and words in capsys.readouterr().err
        )
