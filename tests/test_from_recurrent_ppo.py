"""From RecurrentPPO: the guide, and the benchmark that trains both."""

import inspect
import re
from argparse import Namespace
from pathlib import Path

import pytest
from saved_runs import ROOT
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy

from benchmarks import from_recurrent_ppo
from benchmarks.rows import Rows
from spikepropamine import PlasticPPO, table
from spikepropamine.common import UsageError
from spikepropamine.report.figures import times

CASE = {
    "environment": "CueAssociation-v0",
    "policy": "plastic-ppo",
    "steps": 60_000,
}


def options(file: Path, steps: int = 60_000) -> Namespace:
    return Namespace(
        envs=["CueAssociation-v0"],
        learners=["recurrent-ppo", "plastic-ppo"],
        seeds=[0, 1],
        steps=steps,
        csv=file,
        figure="",
    )


def test_a_training_that_is_on_file_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int, int]] = []

    def train(rows: Rows, env: str, learner: str, seed: int, steps: int) -> None:
        trained.append((learner, seed, steps))
        if len(trained) == 4:
            raise KeyboardInterrupt
        case = {"environment": env, "policy": learner, "seed": seed, "steps": steps}
        rows.add({"return": 1.0}, **case, suite="standard", condition="clean")

    monkeypatch.setattr(from_recurrent_ppo, "_train", train)
    file = tmp_path / "rows.csv"
    with pytest.raises(KeyboardInterrupt):
        from_recurrent_ppo.measure(Rows(), options(file))
    assert len(table.read(file)) == 3
    interrupted = trained[-1]
    trained.clear()
    from_recurrent_ppo.measure(Rows(), options(file))
    assert trained == [interrupted]
    # of another length it is another training
    trained.clear()
    monkeypatch.setattr(from_recurrent_ppo, "LEARNERS", {"plastic-ppo": ("", "")})
    other = options(file, steps=10)
    other.learners = ["plastic-ppo"]
    from_recurrent_ppo.measure(Rows(), other)
    assert trained == [("plastic-ppo", 0, 10), ("plastic-ppo", 1, 10)]


def test_curves_by_time_are_averaged_while_all_runs_were_training(
    tmp_path: Path,
) -> None:
    rows = []
    for seed, pace in ((0, 1.0), (1, 2.0)):
        for at in (0, 60, 120):
            place = CASE | {"seed": seed, "at": at}
            seconds = at * pace
            rows.append(place | {"measure": "elapsed", "value": seconds})
            rows.append(place | {"measure": "training_return", "value": float(at)})
    file = tmp_path / "rows.csv"
    table.write(file, table.table(rows))
    values = times([file])["data"]["values"]
    assert max(value["x"] for value in values) == 2.0  # minutes, of the faster run
    ends = {value["seed"]: value["value"] for value in values if value["x"] == 2.0}
    assert ends == {0: 120, 1: 60}
    with pytest.raises(UsageError, match="do not have returns by time"):
        times([file], policy="recurrent-ppo")


def test_the_guide_names_every_argument_of_recurrent_ppo() -> None:
    page = (ROOT / "docs" / "guides" / "from-recurrent-ppo.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    for function in (RecurrentPPO.__init__, PlasticPPO.__init__):
        arguments = set(inspect.signature(function).parameters)
        assert arguments - {"self", "args", "kwargs"} <= named
    own = set(inspect.signature(RecurrentActorCriticPolicy.__init__).parameters)
    inherited = set(inspect.signature(ActorCriticPolicy.__init__).parameters)
    assert own - inherited <= named  # those of the LSTM


def test_what_recurrent_ppo_saved_goes_on_in_plastic_ppo(tmp_path: Path) -> None:
    venv = make_vec_env("Pendulum-v1", n_envs=2, seed=0)
    arguments = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}
    theirs = RecurrentPPO("MlpLstmPolicy", venv, seed=0, **arguments)
    theirs.learn(32)
    theirs.save(tmp_path / "model.zip")
    ours = PlasticPPO.load(tmp_path / "model.zip", env=venv)
    for name, value in theirs.policy.state_dict().items():
        assert ours.policy.state_dict()[name].equal(value)
    ours.learn(32, reset_num_timesteps=False)
    assert ours.num_timesteps == 64
