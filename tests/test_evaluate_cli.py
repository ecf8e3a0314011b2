"""The command that evaluates: what it writes, prints, refuses, and where."""

import json
import shutil
import subprocess
import sys

import gymnasium as gym
import pytest
from conftest import Endless
from saved_runs import CUES, PENDULUM, ROOT, command_line, measured, save_run

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.envs.making import ENDLESS
from spikepropamine.evaluation import command as evaluate
from spikepropamine.evaluation.ask.conditions import STANDARD_CONDITIONS, Skipped
from spikepropamine.evaluation.run import work
from spikepropamine.folder import ASKED, RESULTS
from spikepropamine.policies.export import _digest
from spikepropamine.report.evaluation import EvaluationResults


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    (root / "empty").mkdir()
    found = {"RUN": save_run(root, CUES, "snn"), "MLP": save_run(root, PENDULUM, "mlp")}
    return found | {"EMPTY": root / "empty"}


def test_command_line(tmp_path):
    runs = [save_run(tmp_path, CUES, "ndp-oja", seed) for seed in (0, 1)]
    runs.append(save_run(tmp_path, CUES, "mlp"))
    command = [sys.executable, "evaluate.py", *map(str, runs), "--episodes", "6"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "plasticity-off" in done.stdout and "late accuracy" in done.stdout

    results = tmp_path / CUES / "evaluations" / "standard"
    found = EvaluationResults.read(results)
    assert list(found.conditions) == [c.key for c in STANDARD_CONDITIONS]
    assert found.policies == {"ndp-oja": [0, 1], "mlp": [0]}
    assert [c.key for c in found.conditions_of("mlp")] == [
        "clean",
        "noise-0.1",
        "noise-0.2",
    ]
    about = found.description
    assert about.environment == CUES and about.chance == 0.5 and about.horizon == 16
    assert about.seeds == (1_000_000, 1_000_005) and "torch" in about.versions
    runs = [(run.folder, run.steps) for run in about.runs]
    assert runs[:2] == [("../../ndp-oja/seed-0", 123), ("../../ndp-oja/seed-1", 123)]
    assert [about.learning[policy]["n_envs"] for policy in found.policies] == [4, 4]
    rows = table.read(results / RESULTS)
    clean = table.where(
        rows, policy="ndp-oja", seed=0, condition="clean", measure="return"
    )
    assert clean["episode"].to_list() == list(range(1_000_000, 1_000_006))
    assert found.returns("ndp-oja").by_run[0] == pytest.approx(clean["value"].mean())
    last = table.where(
        rows, policy="ndp-oja", seed=0, condition="clean", measure="correct", at=3
    )
    assert len(found.trials("ndp-oja", "clean")) == 4
    assert found.trials("ndp-oja", "clean")[3].by_run[0] == pytest.approx(
        last["value"].mean()
    )
    assert set(table.where(rows, condition="plasticity-off")["lesion"]) == {"off"}
    (lesion,) = found.lesioned("ndp-oja")
    both = [
        found.values("ndp-oja", key, "return") for key in ("clean", "plasticity-off")
    ]
    assert lesion.returns.mean == pytest.approx((both[0] - both[1]).mean())
    assert not lesion.identical
    assert about.skipped == (
        Skipped("off", "mlp", "it has no plasticity to take away"),
    )
    assert [path.name for path in (results / "figures").iterdir()] == [
        "episode-ndp-oja.png"
    ]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "'nowhere' is neither a run folder nor in trained/"),
        (["EMPTY"], "no policy in"),
        (["RUN", "--episodes", "0"], "--episodes must be at least 1"),
        (["RUN", "--conditions", "plasticity-of"], "did you mean 'plasticity-off'"),
        (["RUN", "--perturb", "mas=2"], "did you mean 'mass'"),
        (["RUN", "--perturb", "mass=2"], "mass"),
        (
            ["RUN", "--perturb", "obs_noise=0.1@16"],
            "begins at step 16, but episodes have 16",
        ),
        (["RUN", "--seed", "-1"], "--seed must be at least 0"),
        (["RUN", "MLP"], "different tasks"),
        (
            ["RUN", "--episode", "3"],
            "unknown option --episode; did you mean '--episodes'?",
        ),
        ([], "the following arguments are required: [CALLED=]RUN"),
    ],
)
def test_errors_are_one_line(runs, capsys, arguments, message):
    root = runs["EMPTY"].parent
    before = sorted(root.rglob("*"))
    assert command_line(*[runs.get(a, a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("evaluate.py: error: ")
    assert error.count("\n") == 1 and sorted(root.rglob("*")) == before


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
        ("env", "Gone-v0", "Gone"),
        (None, None, "does not tell how"),
    ],
)
def test_what_a_run_says_of_itself_is_checked(tmp_path, capsys, key, value, message):
    run = save_run(tmp_path, CUES, "mlp")
    description = run / "policy" / "policy.json"
    content = json.loads(description.read_text())
    if key is None:
        del content["metadata"]["settings"]
    else:
        content["metadata"]["settings"][key] = value
    description.write_text(json.dumps(content | {"digest": _digest(content)}))
    assert command_line(run, "--episodes", 1) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_is_written_through_a_link(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "mlp")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / "precious"
    target.write_text("precious")
    folder = run / "evaluations" / "standard"
    folder.mkdir(parents=True)
    for name in ("report.html", "report.html.part", ASKED, RESULTS):
        (folder / name).symlink_to(target)
    assert command_line(run, "--conditions", "clean", "--episodes", 3) == 0
    assert (
        target.read_text() == "precious" and not (folder / "report.html").is_symlink()
    )
    linked = save_run(tmp_path / "linked", CUES, "mlp")
    (linked / "evaluations").symlink_to(elsewhere)
    assert command_line(linked, "--conditions", "clean", "--episodes", 3) == 2
    assert "is a link; say with --out" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == [target]


def test_a_task_without_a_time_limit_gets_one(tmp_path, capsys):
    gym.register("Endless-v0", entry_point=Endless)
    run = save_run(tmp_path, "Endless-v0", "mlp")
    assert command_line(run, "--conditions", "clean", "--episodes", 1) == 0
    assert (
        f"no time limit: episodes are cut after {ENDLESS} steps"
        in capsys.readouterr().out
    )
    found = EvaluationResults.read(run / "evaluations" / "standard")
    assert found.description.horizon == ENDLESS
    assert not found.description.own_limit
    assert found.estimate("mlp", "clean", "length").mean == ENDLESS
    del gym.registry["Endless-v0"]


def test_a_policy_that_is_replaced_meanwhile_is_measured_as_it_was(
    tmp_path, monkeypatch
):
    run = save_run(tmp_path, CUES, "snn")
    run_job = work.run_job
    other = save_run(tmp_path, CUES, "snn", seed=1)
    asked = [
        run,
        "--conditions",
        "clean",
        "noise-0.2",
        "--episodes",
        "4",
        "--workers",
        "1",
    ]

    def replacing(job):
        shutil.rmtree(run / "policy")
        shutil.copytree(other / "policy", run / "policy")
        return run_job(job)

    def returns():
        found = measured(*asked)
        return [
            found._values("snn", key, "return").tolist()
            for key in ("clean", "noise-0.2")
        ]

    with monkeypatch.context() as patched:
        patched.setattr(work, "run_job", replacing)
        first = returns()
    monkeypatch.setenv("SPIKEPROPAMINE_CACHE", str(tmp_path / "cache"))
    assert returns() != first
    save_run(tmp_path, CUES, "snn")
    assert returns() == first


def test_options_may_come_from_a_file(tmp_path):
    file = tmp_path / "evaluate.yaml"
    file.write_text("lesions: [off]\nepisodes: 7\nquick: true\nhorizon-factor: 2\n")
    options = evaluate.parse(
        ["--config", str(file), "RUN", "--episodes", "9"], "evaluate"
    )
    found = (
        options.runs,
        options.lesions,
        options.episodes,
        options.quick,
        options.horizon_factor,
    )
    assert found == (["RUN"], ["off"], 9, True, 2)
    file.write_text("lesions: off\n")
    assert evaluate.parse(["--config", str(file), "RUN"], "evaluate").lesions == ["off"]
    file.write_text("lesion: [off]\n")
    with pytest.raises(
        UsageError, match="unknown option --lesion; did you mean '--lesions'"
    ):
        evaluate.parse(["--config", str(file), "RUN"], "evaluate")
    for name in ("help", "config"):
        file.write_text(f"{name}: true\n")
        with pytest.raises(UsageError, match=f"{name} is for the command line alone"):
            evaluate.parse(["--config", str(file), "RUN"], "evaluate")
