"""The benchmark that trains RecurrentPPO and PlasticPPO side by side."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import from_recurrent_ppo
from benchmarks.rows import Rows
from spikepropamine import table
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
