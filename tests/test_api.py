"""Python first: load by name, act in a loop, train, evaluate."""

import numpy as np
import pytest

import spikepropamine as sp
from spikepropamine.api import Run
from spikepropamine.common import UsageError
from spikepropamine.policies.deployed import LostState
from spikepropamine.policies.spaces import BadObservation

NAME = "spikes/CueAssociation-v0/ndp-oja"


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
