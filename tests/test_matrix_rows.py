"""What a finished cell leaves in the file of its matrix."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from spikepropamine.folder import RunFolder
from spikepropamine.matrix import rows as rows_module
from spikepropamine.matrix.rows import OBSERVER, TOLD, collect, learning_curve, rows_of
from spikepropamine.table import read, where


def test_a_training_in_two_sessions_took_the_time_of_both():
    clock = [{"time/time_elapsed": x} for x in ("9", "13", "", "1", "4")]
    assert rows_module._seconds(clock) == 17
    assert rows_module._seconds(clock[:2]) == 13


def test_a_learning_curve_is_known_from_the_first_episode_that_ended():
    progress = [
        {"time/total_timesteps": step, "rollout/ep_rew_mean": value}
        for step, value in zip(["16", "32", "48", "64"], ["", "4", "8", "6"])
    ]
    curve = learning_curve(progress, 80)
    assert list(curve) == list(range(32, 81, 4))  # 20 points, of which 7 are not known
    assert list(curve.values()) == [4, 5, 6, 7, 8, 7.5, 7, 6.5, 6, 6, 6, 6, 6]
    assert learning_curve(progress[:1], 80) == {}


def mean(value):
    return {"mean": value}


ADAPTATION = {
    "first": {"settled_pace": mean(0.5), "opening_over_off": mean(0.25), "regained": None,
              "time_to_identify": mean(40.0)},
    "later": {"settled_pace": mean(0.75), "opening_over_off": mean(9.0), "regained": mean(0.125),
              "time_to_identify": mean(9.0)},
}  # fmt: skip
RESULT = {
    "return": mean(7.0), "accuracy_by_trial": [mean(0.5), mean(1.0)], "adaptation": ADAPTATION,
}  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """A cell of which everything is there, judged in some conditions."""
    run = RunFolder(tmp_path / "run")
    run.policy.mkdir(parents=True)
    metadata = {"steps": 32, "versions": {"revision": "abc"}}
    (run.policy / "policy.json").write_text(json.dumps({"metadata": metadata}))
    run.progress.write_text(
        "rollout/ep_rew_mean,time/time_elapsed,time/total_timesteps\n"
        "1.0,10,8\n9.0,20,16\n,25,24\n4.0,30.6,32\n"
    )

    def write(env, conditions, episodes=2, references=None, suite="standard"):
        settings = {"env": env, "env_kwargs": {"noise": 0.0}, "suite": suite,
                    "episodes": episodes, "seeds": [0, episodes - 1]}  # fmt: skip
        known = {"severity": None, "split": None, "lesion": None}
        policy = {"actor_parameters": 123, "random_return": -1.0, "learned": True}
        summary = {
            "settings": settings,
            "policies": {"own": policy},
            "conditions": [{"key": key} | known | more for key, more in conditions.items()],
            "results": {"own": dict.fromkeys(conditions, RESULT)},
            "references": references or {},
        }
        (tmp_path / suite).mkdir(exist_ok=True)
        (tmp_path / suite / "summary.json").write_text(json.dumps(summary))
        return SimpleNamespace(run=run, root=tmp_path, evaluations=[suite], env=env,
                               setting="plain", policy="ndp", seed=3)  # fmt: skip

    return write


def test_the_rows_of_a_cell_are_what_its_log_and_its_evaluation_say(finished):
    told = {"severity": 0.5, "split": "train", "lesion": "off"}
    frame = rows_of(finished("Ant-v5", {"signs": told}))
    labels = frame.select("environment", "setting", "policy", "seed", "steps", "revision").unique()
    assert labels.rows() == [("Ant-v5", "plain", "ndp", 3, 32, "abc")]
    found = {(m, at): v for m, at, v in frame.select("measure", "at", "value").iter_rows()}
    assert {key: value for key, value in found.items() if key[0] != "training_return"} == {
        ("seconds", None): 31, ("best_training_return", None): 9, ("parameters", None): 123,
        ("episodes", None): 2, ("random_return", None): -1, ("learned", None): 1,
        ("return", None): 7, ("correct", 0): 0.5, ("correct", 1): 1, ("settled_pace", None): 0.5,
        ("later_settled_pace", None): 0.75, ("opening_over_off", None): 0.25,
        ("time_to_identify", None): 40, ("regained", None): 0.125,
    }  # fmt: skip
    assert found["training_return", None] == 4 and found["training_return", 32] == 4
    (condition,) = where(frame, measure="return").select("condition", *told).rows(named=True)
    assert condition == {"condition": "signs"} | told


def test_the_ideal_observer_sees_the_noise_of_its_condition_and_replaces_what_it_did_before(
    finished, tmp_path, monkeypatch
):
    asked = []

    def observed(arguments, seeds):
        asked.append((arguments["noise"], len(seeds)))
        return np.full((len(seeds), 3), 1 - arguments["noise"])

    monkeypatch.setattr(rows_module, "observed", observed)
    conditions = {"clean": {}, "noise-0.2": {"severity": 0.2}, "plasticity-off": {"lesion": "off"}}
    file = tmp_path / "rows.csv"
    for episodes in (2, 5, 5):
        collect([finished("CueAssociation-v0", conditions, episodes)], file)
    assert asked == [(0.0, 2), (0.2, 2), (0.0, 5), (0.2, 5)]
    observer = where(read(file), policy=OBSERVER)
    assert where(observer, measure="episodes")["value"].to_list() == [5]
    late = where(observer, measure="correct", at=2).select("condition", "value").rows()
    assert late == [("clean", 1.0), ("noise-0.2", 0.8)]


def test_a_file_keeps_its_order_when_some_of_its_runs_are_made_anew(finished, tmp_path):
    cell = finished("Ant-v5", {"clean": {}})
    for policy in ("snn", "mlp", "lstm", "mlp"):
        cell.policy = policy
        assert collect([cell], tmp_path / "rows.csv") == rows_of(cell).height
    frame = read(tmp_path / "rows.csv")
    assert frame["policy"].unique(maintain_order=True).to_list() == ["snn", "mlp", "lstm"]
    assert not frame.drop("value").is_duplicated().any()


def test_a_teacher_that_is_told_is_on_file_beside_the_policies(finished, tmp_path):
    conditions = {"clean": {}, "signs": {"split": "held-out"}, "signs [off]": {"lesion": "off"}}
    random = {"first": {"settled_rate": 0.1, "regained": None}, "later": None}
    for share in (0.5, 0.75):  # what was there is replaced
        changes = {"settled_rate": None, "regained": share}
        teacher = {"first": {"settled_rate": 5.0, "regained": None}, "later": changes}
        references = {"signs": {"random": random, "teacher": teacher}}
        collect([finished("Ant-v5", conditions, 4, references)], tmp_path / "rows.csv")
    told = where(read(tmp_path / "rows.csv"), policy=TOLD)
    assert told.select("condition", "split", "measure", "value", pl.col("seed")).rows() == [
        ("signs", "held-out", "settled_pace", 1.0, None),
        ("signs", "held-out", "regained", 0.75, None),
    ]  # fmt: skip
