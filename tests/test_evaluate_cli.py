"""The command that evaluates: what it writes, prints, refuses, and where."""

import csv
import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from saved_runs import (
    CUES,
    LESSON,
    PENDULUM,
    ROBOT,
    ROOT,
    command_line,
    save_run,
)

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.evaluation.ask.conditions import (
    STANDARD_CONDITIONS,
)
from spikepropamine.evaluation.ask.task import ENDLESS


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_command_line(tmp_path):
    runs = [save_run(tmp_path, CUES, "ndp-oja", seed) for seed in (0, 1)]
    runs.append(save_run(tmp_path, CUES, "mlp"))
    command = [sys.executable, "evaluate.py", *map(str, runs), "--episodes", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "plasticity-off" in done.stdout and "late accuracy" in done.stdout

    results = tmp_path / CUES / "evaluations" / "standard"
    summary = json.loads((results / "summary.json").read_text())
    assert [c["key"] for c in summary["conditions"]] == [c.key for c in STANDARD_CONDITIONS]
    assert list(summary["results"]) == ["ndp-oja", "mlp"]
    assert list(summary["results"]["mlp"]) == ["clean", "noise-0.1", "noise-0.2"]
    settings = summary["settings"]
    assert settings["env"] == CUES and settings["chance"] == 0.5 and settings["horizon"] == 16
    assert settings["seeds"] == [1_000_000, 1_000_005] and "torch" in settings["versions"]
    policy = summary["policies"]["ndp-oja"]
    assert policy["training_seeds"] == [0, 1] and policy["steps_trained"] == [123, 123]
    assert policy["runs"] == ["../../ndp-oja/seed-0", "../../ndp-oja/seed-1"]
    rows = list(csv.DictReader((results / "episodes.csv").open()))
    assert len(rows) == (4 + 4 + 3) * 6

    def of(**values):
        return [row for row in rows if all(row[k] == v for k, v in values.items())]

    clean = of(policy="ndp-oja", training_seed="0", condition="clean")
    assert [int(row["seed"]) for row in clean] == list(range(1_000_000, 1_000_006))
    result = summary["results"]["ndp-oja"]["clean"]
    assert len(result["accuracy_by_trial"]) == 4
    mean = np.mean([float(row["return"]) for row in clean])
    assert result["return"]["by_run"][0] == pytest.approx(mean)
    right = np.mean([int(row["trial_3"]) for row in clean])
    assert result["accuracy_by_trial"][3]["by_run"][0] == pytest.approx(right)
    off = of(policy="ndp-oja", condition="plasticity-off")
    lesion = summary["lesions"]["ndp-oja"]["off"]["clean"]
    assert {row["lesion"] for row in off} == {"off"} and lesion["key"] == "plasticity-off"
    every = of(policy="ndp-oja", condition="clean")
    differences = [float(a["return"]) - float(b["return"]) for a, b in zip(every, off)]
    assert lesion["paired_difference"]["mean"] == pytest.approx(np.mean(differences))
    assert any(differences) and not lesion["identical"]
    assert summary["skipped"] == [
        {"condition": "off", "policy": "mlp", "reason": "it has no plasticity to take away"}
    ]
    names = sorted(path.name for path in (results / "figures").iterdir())
    assert names == ["accuracy_by_trial.png", "episode-ndp-oja.png", "late_accuracy.png"]
    assert not list(tmp_path.rglob("*.part"))


def test_command_line_without_trials(tmp_path, capsys):
    folder, out = save_run(tmp_path, PENDULUM, "snn"), tmp_path / "out"
    arguments = ["--episodes", 2, "--conditions", "plasticity-off", "noise-0.2"]
    assert command_line(folder, *arguments, "--stochastic", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "accuracy" not in printed and "(no retention: no policy is shown to earn" in printed
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["results"]["snn"]) == ["clean", "noise-0.2", "plasticity-off"]
    assert summary["results"]["snn"]["noise-0.2"]["late_accuracy"] is None
    assert summary["lesions"]["snn"]["off"]["clean"]["identical"]
    assert (out / "figures" / "return.png").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "'nowhere' is neither a run folder nor in trained/"),
        (["EMPTY"], "no policy in"),
        (["RUN", "--episodes", "0"], "--episodes must be at least 1"),
        (["RUN", "--episodes", "many"], "invalid int value"),
        (["RUN", "--conditions", "plasticity-of"], "did you mean 'plasticity-off'"),
        (["RUN", "--suite", "noize"], "did you mean 'noise'"),
        (["RUN", "--lesions", "of"], "did you mean 'off'"),
        (["RUN", "--perturb", "mas=2"], "did you mean 'mass'"),
        (["RUN", "--perturb", "mass=2"], "mass"),
        (["RUN", "--perturb", "obs_noise=0.1@16"], "begins at step 16, but episodes have 16"),
        (["RUN", "--horizon-factor", "0"], "--horizon-factor must be at least 1"),
        (["RUN", "--workers", "0"], "--workers must be at least 1"),
        (["RUN", "--seed", "2"], "overlap those of the training"),
        (["RUN", "--seed", "-1"], "--seed must be at least 0"),
        (["RUN", "MLP"], "different tasks"),
        (["RUN", "--episode", "3"], "unknown option --episode; did you mean '--episodes'?"),
        ([], "the following arguments are required: [CALLED=]RUN"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, message):
    folders = {"RUN": save_run(tmp_path, CUES, "snn"), "MLP": save_run(tmp_path, PENDULUM, "mlp")}
    folders["EMPTY"] = tmp_path / "empty"
    folders["EMPTY"].mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert command_line(*[folders.get(a, a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("evaluate.py: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("task", "asked"), [(ROBOT, 4), (LESSON, 2)])
def test_a_robot_that_is_shown_cues_has_accuracies_and_a_figure_of_its_trials(
    tmp_path, task, asked
):
    run = save_run(tmp_path, task, "ndp-oja")
    assert command_line(run, "--episodes", 3, "--workers", 1) == 0
    results = run / "evaluations" / "standard"
    result = json.loads((results / "summary.json").read_text())["results"]["ndp-oja"]["clean"]
    assert len(result["accuracy_by_trial"]) == asked
    assert (results / "figures" / "episode-ndp-oja.png").is_file()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("policy", "../../elsewhere", "is not the name of a policy"),
        ("policy", ["mlp"], "is not the name of a policy"),
        ("env", "this:CueAssociation-v0", "should name no module; --import does"),
        ("seed", "0", "seed is '0'"),
        ("n_envs", -1, "n_envs is -1"),
        ("env_kwargs", [1], "env_kwargs is [1]"),
        ("perturb", 3, "perturb is 3"),
    ],
)
def test_what_a_run_says_of_itself_is_checked(tmp_path, capsys, key, value, message):
    run = save_run(tmp_path, CUES, "mlp")
    description = run / "policy" / "policy.json"
    content = json.loads(description.read_text())
    content["metadata"]["settings"][key] = value
    content["format"] = 1  # whose descriptions are not digested
    description.write_text(json.dumps(content))
    assert command_line(run, "--episodes", 1) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_is_written_through_a_link(tmp_path, capsys):
    run, elsewhere = save_run(tmp_path, CUES, "mlp"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / "precious"
    target.write_text("precious")
    folder = run / "evaluations" / "standard"
    folder.mkdir(parents=True)
    for name in ("report.html", "report.html.part", "summary.json", "episodes.csv"):
        (folder / name).symlink_to(target)
    assert command_line(run, "--conditions", "clean", "--episodes", 3) == 0
    assert target.read_text() == "precious" and not (folder / "report.html").is_symlink()
    linked = save_run(tmp_path / "linked", CUES, "mlp")
    (linked / "evaluations").symlink_to(elsewhere)
    assert command_line(linked, "--conditions", "clean", "--episodes", 3) == 2
    assert "is a link; say with --out" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == [target]


def test_a_run_that_cannot_be_written_to_is_evaluated_elsewhere(tmp_path):
    run = save_run(tmp_path, CUES, "mlp")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    assert command_line(run, "--conditions", "clean", "--episodes", 3, "--out", out) == 0
    assert sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(out)) == before


def test_two_evaluations_of_one_run_at_once_both_work(tmp_path):
    run = save_run(tmp_path, CUES, "mlp")
    command = [sys.executable, "evaluate.py", str(run), "--episodes", "40"]
    both = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert json.loads((run / "evaluations" / "standard" / "summary.json").read_text())


class Endless(gym.Env):
    """Never ends by itself."""

    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


def test_a_task_without_a_time_limit_gets_one(tmp_path, capsys):
    gym.register("Endless-v0", entry_point=Endless)
    run = save_run(tmp_path, "Endless-v0", "mlp")
    assert command_line(run, "--conditions", "clean", "--episodes", 1) == 0
    assert f"no time limit: episodes are cut after {ENDLESS} steps" in capsys.readouterr().out
    summary = json.loads((run / "evaluations" / "standard" / "summary.json").read_text())
    assert summary["settings"]["horizon"] == ENDLESS and not summary["settings"]["own_limit"]
    assert summary["results"]["mlp"]["clean"]["length"]["mean"] == ENDLESS
    del gym.registry["Endless-v0"]


def test_errors_of_damaged_or_foreign_runs(tmp_path, capsys):
    folder = save_run(tmp_path, "FrozenLake-v1", "mlp")
    assert command_line(folder, "--episodes", 1) == 0
    assert "left out: noise-0.1: obs_noise would change nothing" in capsys.readouterr().out
    description = folder / "policy" / "policy.json"
    content = json.loads(description.read_text())
    content["metadata"]["settings"]["env"] = "Gone-v0"
    content["format"] = 1  # whose descriptions are not digested
    description.write_text(json.dumps(content))
    assert command_line(folder) == 2
    assert "Gone" in capsys.readouterr().err
    del content["metadata"]["settings"]
    description.write_text(json.dumps(content))
    assert command_line(folder) == 2
    assert "does not tell how" in capsys.readouterr().err


def test_sampled_actions_are_measured_apart_from_the_likeliest(tmp_path):
    run, found = save_run(tmp_path, PENDULUM, "mlp"), []
    for more in ((), ("--stochastic",)):
        out = tmp_path / f"out{len(found)}"
        assert command_line(run, "--conditions", "clean", "--episodes", 3, "--out", out, *more) == 0
        rows = list(csv.DictReader((out / "episodes.csv").open()))
        found.append([row["return"] for row in rows])
    assert found[0] != found[1]
