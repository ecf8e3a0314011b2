"""Python first: load by name, act in a loop, train, evaluate."""

import ast
from pathlib import Path

import numpy as np
import pytest

import spikepropamine as sp
from spikepropamine.api import Run
from spikepropamine.common import UsageError
from spikepropamine.policies.deployed import LostState

NAME = "spikes/CueAssociation-v0/ndp-oja"


def test_the_names_at_the_front_are_there_and_editors_know_them():
    """`from spikepropamine import X` of an editor is what `spikepropamine.X` is."""
    assert sorted(sp._PLACES) == sorted(set(sp.__all__) - {"envs"})
    known = {}
    for node in ast.walk(ast.parse(Path(sp.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("spikepropamine."):
            module = node.module.removeprefix("spikepropamine.")
            known |= {x.asname or x.name: (module, x.name) for x in node.names}
    assert known == sp._PLACES
    assert all(callable(getattr(sp, name)) for name in sp._PLACES)


def test_a_loop_of_act_is_one_of_predict_with_the_state_carried():
    policy = sp.load(NAME)
    env, state, start, over = policy.make_env(), None, np.ones(1, bool), False
    observation, _ = env.reset(seed=3)
    assert policy.state == {}
    while not over:
        action = policy.act(observation)
        expected, state = policy.predict(
            observation[None], state, start, deterministic=True
        )
        assert expected[0] == action
        observation, _, terminated, truncated, _ = env.step(action)
        over, start = terminated or truncated, np.zeros(1, bool)
    assert policy.state["layer1.fast_weights"].any()


def test_a_lost_state_is_refused_and_a_wrong_shape_named():
    policy = sp.load(NAME)
    observation = policy.make_env().reset(seed=0)[0]
    with pytest.raises(LostState, match="act"):
        policy.predict(observation[None], None, np.zeros(1, bool))
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(24,\)"):
        policy.act(np.zeros(3, np.float32))


def test_a_policy_gets_an_environment_that_tells_what_it_was_told():
    policy = sp.load("teachers/told/HalfCheetah-v5/mlp")
    env = policy.make_env()
    assert policy.act(env.reset(seed=0)[0]).shape == env.action_space.shape


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
    network, trainer = {"hidden": [8]}, {"n_steps": 40, "batch_size": 160}
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
