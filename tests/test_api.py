"""Python first: load by name, act in a loop, train, evaluate."""

import ast
import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spikepropamine as sp
from spikepropamine.api import Run
from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.folder import find
from spikepropamine.policies.deployed import LostState
from spikepropamine.policies.spaces import (
    BadObservation,
)

NAME = "spikes/CueAssociation-v0/ndp-oja"


def test_the_names_at_the_front_are_there_and_editors_know_them():
    """`from spikepropamine import X` of an editor is what `spikepropamine.X` is."""
    assert sorted(sp._PLACES) == sorted(set(sp.__all__) - {"envs"})
    known = {}
    for node in ast.walk(ast.parse(Path(sp.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(
            "spikepropamine."
        ):
            module = node.module.removeprefix("spikepropamine.")
            known |= {x.asname or x.name: (module, x.name) for x in node.names}
    assert known == sp._PLACES
    assert all(callable(getattr(sp, name)) for name in sp._PLACES)


def test_a_loop_of_act_is_one_of_predict_with_the_state_carried():
    policy = sp.load(NAME)
    env = policy.make_env()
    state = None
    start = np.ones(1, bool)
    over = False
    observation, _ = env.reset(seed=3)
    assert policy.state == {}
    while not over:
        action = policy.act(observation)
        expected, state = policy.predict(
            observation[None], state, start, deterministic=True
        )
        assert expected[0] == action
        observation, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        start = np.zeros(1, bool)
    fast_weights = policy.state["layer1.fast_weights"]
    neurons, _ = fast_weights.shape
    assert fast_weights.any() and policy.state["layer1.post"].shape == (neurons,)


def test_a_lost_state_is_refused_and_a_wrong_shape_named():
    policy = sp.load(NAME)
    observation = policy.make_env().reset(seed=0)[0]
    with pytest.raises(LostState, match="act"):
        policy.predict(observation[None], None, np.zeros(1, bool))
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(24,\)"):
        policy.act(np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda x: {"a": x}, r"a dict of \['a'\], and the policy observes a Box"),
        (lambda x: np.ma.masked_less(x, 0.5), "masked array"),
        (lambda x: x.astype(np.complex64), "type complex64"),
        (lambda x: x.astype(object), "type object"),
        (lambda x: x.astype(str), "real numbers"),
        (lambda x: x * np.nan, r"observation\[0, 0\] is nan"),
    ],
)
def test_an_observation_that_no_policy_can_act_on_is_named(changed, words):
    policy = sp.load(NAME)
    observation = policy.make_env().reset(seed=0)[0]
    with pytest.raises(BadObservation, match=words):
        policy.act(changed(observation))
    assert policy.act(observation) == sp.load(NAME).act(observation)


def test_an_empty_batch_and_a_state_that_is_none_are_refused():
    policy = sp.load(NAME)
    batch = policy.make_env().reset(seed=0)[0][None]
    goes_on = np.zeros(1, bool)
    _, state = policy.predict(batch)
    with pytest.raises(BadObservation, match=r"empty batch, \[0, 24\]"):
        policy.predict(batch[:0])
    with pytest.raises(LostState, match="state of the step before"):
        policy.predict(batch, (), goes_on)
    state[0][0, 0, -1] = np.nan
    with pytest.raises(ValueError, match="state has a number that is not finite"):
        policy.predict(batch, state, goes_on)


def test_a_policy_gets_an_environment_that_tells_what_it_was_told():
    policy = sp.load("teachers/told/HalfCheetah-v5/mlp")
    env = policy.make_env()
    assert policy.act(env.reset(seed=0)[0]).shape == env.action_space.shape


LESSON = "cue-lesson/HalfCheetahCueLesson-v0/ndp-hebb"


def test_the_task_of_a_policy_is_the_one_it_is_evaluated_in():
    """Without what helped in training: half of the trials told the direction there."""
    policy = sp.load(LESSON)
    assert policy.metadata["settings"]["env_kwargs"]["told"] == 0.5
    (_,), task = load_runs([find(LESSON)])
    env = policy.make_env()
    assert task.arguments["told"] == env.unwrapped.told == env.unwrapped.noise == 0.0
    assert policy.make_env(told=0.3).unwrapped.told == 0.3
    theirs = make_env(task, CLEAN).reset(seed=5)[0]
    np.testing.assert_array_equal(env.reset(seed=5)[0], theirs)


@pytest.mark.parametrize(
    "settings",
    [None, {}, {"env": 3, "env_kwargs": {}}, {"env": "X-v0", "env_kwargs": None}],
)
def test_a_policy_that_does_not_say_its_task_has_no_environment(settings):
    policy = sp.load(NAME)
    policy.metadata = {"settings": settings}
    with pytest.raises(ValueError, match="does not say which task it was trained on"):
        policy.make_env()


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 3000, "a\0b", "no/such/policy"])
def test_a_name_that_no_policy_has_is_one_line(name):
    with pytest.raises(
        UsageError, match="neither a run folder nor in trained/"
    ) as caught:
        sp.load(name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"runs": object()}, "runs: must be a number, a text"),
        ({"trainer": {"gamma": 1j}}, "trainer.gamma: must be"),
        ({"network": {"hidden": [8, None]}}, "network.hidden: must be"),
        ({"seed": b"1"}, "seed: must be"),
    ],
)
def test_a_setting_that_cannot_be_typed_is_refused(
    setting, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=name):
        sp.train("CueAssociation-v0", "snn", **setting)
    assert not list(tmp_path.iterdir())


def test_a_policy_that_acts_does_without_pytorchs_compiler():
    """It takes more than a second to import."""
    code = f"""
import sys, numpy as np, spikepropamine as sp
assert not {{"torch", "gymnasium.envs.mujoco", "mujoco", "polars"}} & set(sys.modules)
sp.load({NAME!r}).act(np.zeros(24, np.float32))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_loaded_policy_has_no_optimizer_and_can_get_one():
    policy = sp.load(NAME).policy
    with pytest.raises(AttributeError, match="has no optimizer, and so no step"):
        policy.optimizer.step()
    policy.optimizer = policy.optimizer_class(policy.parameters(), lr=3e-4)
    policy.optimizer.step()
    copy.deepcopy(sp.load(NAME)).act(np.zeros(24, np.float32))


def test_a_column_may_begin_late(tmp_path):
    rows = "".join(f"{step},\n" for step in range(200)) + "200,1.5\n"
    (tmp_path / "progress.csv").write_text(
        "time/total_timesteps,eval/mean_reward\n" + rows
    )
    assert Run(tmp_path).progress["eval/mean_reward"].max() == 1.5


@pytest.mark.parametrize("value", [None, [1, 2], "5", "true"])
def test_an_argument_of_a_task_that_cannot_be_typed_is_refused(value, tmp_path):
    arguments = {"trials": value}
    with pytest.raises(UsageError, match="env_kwargs trials: must be a number"):
        sp.train("CueAssociation-v0", "snn", runs=tmp_path, env_kwargs=arguments)


def test_training_and_evaluating_return_tables(tmp_path):
    settings = {
        "steps": 640,
        "n_envs": 4,
        "runs": tmp_path,
        "env_kwargs": {"trials": 3},
    }
    network = {"hidden": [8]}
    trainer = {"n_steps": 40, "batch_size": 160}
    run = sp.train(
        "CueAssociation-v0", "snn", network=network, trainer=trainer, **settings
    )
    assert run.progress["time/total_timesteps"][-1] == 640
    assert run.figure("train/loss").to_dict()["mark"]["type"] == "line"
    evaluation = sp.evaluate(run.folder, episodes=3, workers=1, quick=False)
    returns = evaluation.rows.filter(evaluation.rows["measure"] == "return")
    assert len(returns) >= 3 and evaluation.report.is_file()
    assert evaluation.figure("trials").to_json().count('"panel": "clean"') == 3
    asked = evaluation.folder / "evaluation.json"
    asked.write_text(asked.read_text().replace('"chance": 0.5', '"chance": 0.25'))
    chart = evaluation.figure("trials").to_json()
    assert '"datum": 0.25' in chart and '"datum": 0.5' not in chart
