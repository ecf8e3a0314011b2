"""Other libraries beside this one: their environments, drivers, turns and tables."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import environments, frameworks, recurrent_sac
from benchmarks.drivers.equal import ROUND
from benchmarks.drivers.memory_task import TASKS as MEMORY_TASKS
from benchmarks.frameworks import DRIVERS, LEARNERS, Driver, Learner
from benchmarks.rows import Rows
from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.envs import making
from spikepropamine.report.tables import TABLES

PACED = f"""
import sys
sys.path.insert(0, {str(DRIVERS)!r})
from pace import Pace
pace = Pace("ppo", "1.5")
while True:
    pace.step(8)
"""
REPORTS = """
import json, sys
reports = [{"version": "1.0"}, *({"seconds": float(x)} for x in sys.argv[1].split(","))]
for report in reports:
    print("a line of the library")
    print("pace: " + json.dumps(report), flush=True)
    sys.stdin.readline()
"""
BROKEN = "raise ImportError('no such library')"


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of drivers that need no library."""
    for name, text in {"paced": PACED, "reports": REPORTS, "broken": BROKEN}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(frameworks, "DRIVERS", tmp_path)
    return tmp_path


def fake(policy: str, *command: str) -> Learner:
    return Learner(policy, policy.upper(), "", command)


def test_a_driver_waits_after_every_round_and_ends_with_its_input(
    drivers: Path,
) -> None:
    driver = Driver(fake("paced", "paced.py"), "ppo", sys.executable)
    assert driver.version == "1.5"
    assert 0 < driver.round() < 10
    assert driver.round() > 0
    driver.close()
    assert driver._process.returncode == 0


def test_times_are_medians_of_ratios_within_a_round_and_what_fails_is_left_out(
    drivers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    learners = [
        fake("first", "reports.py", "2,8,6"),
        fake("broken", "broken.py"),
        fake("second", "reports.py", "1,2,6"),
    ]
    monkeypatch.setitem(LEARNERS, "ppo", learners)
    rows = Rows()
    frameworks.measure(rows, Namespace(kinds=["ppo"], rounds=3, environments="none"))
    measured = {(row["policy"], row["measure"]): row["value"] for row in rows.rows}
    assert measured["first", "times_sb3"] == 1
    assert measured["second", "times_sb3"] == 2  # of 2, 4 and 1
    assert measured["second", "microseconds"] == round(1e6 * 2 / ROUND["ppo"], 1)
    assert {row["condition"] for row in rows.rows} == {"FIRST 1.0", "SECOND 1.0"}
    said = "left out: broken: its training ended: ImportError: no such library"
    assert said in capsys.readouterr().out


def test_without_the_library_that_others_are_compared_with_there_are_no_ratios(
    drivers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners = [fake("first", "broken.py"), fake("second", "reports.py", "1")]
    monkeypatch.setitem(LEARNERS, "ppo", learners)
    options = Namespace(kinds=["ppo"], rounds=1, environments="none")
    with pytest.raises(UsageError, match="no FIRST to compare"):
        frameworks.measure(Rows(), options)


def test_an_unknown_kind_is_refused_before_anything_is_installed() -> None:
    options = Namespace(kinds=["pppo"], rounds=1, environments="none")
    with pytest.raises(UsageError, match="ppo"):
        frameworks.measure(Rows(), options)


class Pip:
    """Stands in for `subprocess.run`."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode
        self.commands: list[list[str]] = []

    def __call__(self, command: list[Any], **named: Any) -> Any:
        command = list(map(str, command))
        self.commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
            return None
        self.constraints = Path(command[-1]).read_text()
        return Namespace(returncode=self.returncode, stderr="a\nERROR: no network\n")


def test_an_environment_is_made_once_with_the_versions_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Pip(0)
    monkeypatch.setattr(subprocess, "run", pip)
    python = environments.python_with("skrl", tmp_path)
    assert python == tmp_path / "skrl" / "bin" / "python"
    assert len(pip.commands) == 2
    assert f"gymnasium=={environments.version('gymnasium')}\n" in pip.constraints
    assert "+" not in pip.constraints  # a build of PyTorch is the machine's business
    assert environments.python_with("skrl", tmp_path) == python
    assert len(pip.commands) == 2


def test_what_pip_cannot_install_is_said_in_a_sentence_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Pip(1)
    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"skrl: pip .*: ERROR: no network"):
            environments.python_with("skrl", tmp_path)
    assert len(pip.commands) == 4


def test_every_learner_has_a_driver_and_its_library_requirements() -> None:
    kinds = [*LEARNERS.values(), recurrent_sac.LEARNERS.values()]
    learners = [learner for kind in kinds for learner in kind]
    for learner in learners:
        assert (DRIVERS / learner.command[0]).is_file()
        if learner.peer:
            name = f"requirements-{learner.peer}.txt"
            assert (environments.FOLDER / name).is_file()


@pytest.mark.parametrize("name", MEMORY_TASKS)
def test_the_tasks_of_other_libraries_are_those_of_this_project(name: str) -> None:
    task = MEMORY_TASKS[name]
    theirs = task.make()
    ours = making.make(task.hidden, previous=True)
    assert theirs.observation_space.shape == ours.observation_space.shape
    theirs.action_space.seed(0)
    seen, _ = theirs.reset(seed=3)
    expected, _ = ours.reset(seed=3)
    np.testing.assert_array_equal(seen, np.float32(expected))
    for _ in range(task.horizon):
        action = theirs.action_space.sample()
        seen, *rest, _ = theirs.step(action)
        expected, *others, _ = ours.step(action)
        np.testing.assert_array_equal(seen, np.float32(expected))
        assert rest == others
    assert rest[-1]  # the episode ends for both


def row(policy: str, condition: str, measure: str, value: float, **more: Any) -> dict:
    case = {"environment": "E", "setting": "equal", "suite": "ppo", "policy": policy}
    return case | more | {"condition": condition, "measure": measure, "value": value}


def test_the_table_shows_the_last_version_of_a_library(tmp_path: Path) -> None:
    file = tmp_path / "frameworks.csv"
    measured = [("sb3", "SB3 1"), ("skrl", "skrl 1"), ("skrl", "skrl 2")]
    rows = []
    for number, (policy, condition) in enumerate(measured, start=1):
        for name in ("microseconds", "steps_per_second", "times_sb3"):
            rows.append(row(policy, condition, name, float(number)))
    table.write(file, table.table(rows))
    text = TABLES["frameworks"]([file], suite="ppo")
    assert "| skrl 2 | `skrl` | equal | 3.0 | 3 | 3.00 |" in text
    assert "skrl 1" not in text


def test_the_table_of_a_budget_shows_every_seed(tmp_path: Path) -> None:
    file = tmp_path / "recurrent-sac.csv"
    rows = []
    for seed, value in enumerate((-100.0, -300.0, -200.0)):
        for name in ("return", "steps_per_second"):
            rows.append(row("lstm", "ours 1", name, value, seed=seed))
    table.write(file, table.table(rows))
    text = TABLES["budget"]([file])
    assert "| ours 1 | `lstm` | -200 (-100 -300 -200) |" in text


def test_a_training_that_is_on_file_is_not_run_again_and_a_failure_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def train(learner: Learner, seed: int, options: Namespace) -> dict[str, Any]:
        trained.append((learner.policy, seed))
        if learner.policy == "snn":
            raise UsageError("snn: its training ended")
        return {"version": "1", "seconds": 2.0, "return": -100.0}

    monkeypatch.setattr(recurrent_sac, "_trained", train)
    options = Namespace(
        task="pendulum",
        learners=["snn", "lstm"],
        seeds=[0, 1],
        steps=100,
        csv=tmp_path / "rows.csv",
    )
    recurrent_sac.measure(Rows(), options)
    assert trained == [("snn", 0), ("lstm", 0), ("snn", 1), ("lstm", 1)]
    recurrent_sac.measure(Rows(), options)
    assert trained[4:] == [("snn", 0), ("snn", 1)]
    paces = table.where(table.read(options.csv), measure="steps_per_second")
    assert paces["value"].to_list() == [50.0, 50.0]
