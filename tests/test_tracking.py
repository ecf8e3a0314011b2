"""Tracking: what an offline run holds, read back with wandb's own reader; and the
workspace.
"""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from example_evaluation import example, write_example
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spikepropamine.common import UsageError
from spikepropamine.report import dashboards
from spikepropamine.report import tracking as tracked_evaluation
from spikepropamine.report.sections.record import all_results
from spikepropamine.training import logs as tracking
from spikepropamine.training import run as train
from spikepropamine.training.logs import ProgressCSV
from spikepropamine.training.settings import Settings

ROOT = Path(__file__).parent.parent
TINY = [
    "--env", "CueAssociation-v0", "--policy", "ndp-oja", "--env-kwargs", "trials", "3",
    "--n-envs", "2", "--trainer.n-steps", "16", "--trainer.batch-size", "16",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8", "--log-every", "1",
    "--checkpoint-every", "32",
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("no_account")


def records(folder):
    """The records of all offline runs in a folder, oldest first."""
    found = []
    for run in sorted((folder / "wandb").glob("offline-run-*")):
        output = subprocess.run(
            [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json",
             str(run)],
            capture_output=True, text=True, check=True, timeout=200,
        ).stdout  # fmt: skip
        found += [json.loads(line) for line in output.splitlines()]
    return found


def of_type(records, kind):
    return [record[kind] for record in records if record["type"] == kind]


def rows_of(records):
    return [record["item"] for record in of_type(records, "history")]


def section_of(name):
    """The section of the workspace that shows a metric; exactly one does."""
    found = [
        section
        for section, shown in dashboards.WORKSPACE.items()
        for metrics in (
            *shown["plots"].values(),
            *shown.get("tables", ()),
            *shown.get("media", ()),
        )
        if re.fullmatch(metrics, name)
    ]
    assert len(found) == 1, (name, found)
    return found[0]


def sections_of(rows, axes):
    # the reader shows what a table or a video is made of as NAME.PART
    names = {
        name.split(".")[0] for row in rows for name in row if not name.startswith("_")
    } - axes
    sections = {}
    for name in names:
        sections.setdefault(section_of(name), set()).add(name)
    return sections


# training


def test_an_interrupted_offline_run_goes_on_as_the_same_run(
    tmp_path, monkeypatch, capsys
):
    command = [*TINY, "--runs", str(tmp_path), "--track", "offline"]
    folder = tmp_path / "CueAssociation-v0/ndp-oja/seed-0"
    write = ProgressCSV.write
    steps = []

    def interrupted(self, values, excluded, step):
        write(self, values, excluded, step)
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressCSV, "write", interrupted)
        assert train.main([*command, "--steps", "1000000"]) == 130
    assert "wandb sync" in capsys.readouterr().out
    first = records(folder)
    assert [part["exit_code"] for part in of_type(first, "exit")] == [130]
    assert not of_type(first, "artifact")
    (run,) = of_type(first, "run")
    done = rows_of(first)[-1]["global_step"]

    more = ["--steps", str(done + 96), "--resume"]
    assert train.main([*command, *more]) == 0
    both = records(folder)
    assert [part["run_id"] for part in of_type(both, "run")] == [run["run_id"]] * 2
    assert of_type(both, "run")[1]["resume"] is True
    assert [part.get("exit_code", 0) for part in of_type(both, "exit")] == [130, 0]
    steps = [row["global_step"] for row in rows_of(both)]
    assert steps == list(range(32, done + 97, 32))  # each rollout has its row, once

    # what it holds, by section
    sections = sections_of(rows_of(both), {"global_step"})
    assert sections.keys() == dashboards.WORKSPACE.keys()
    assert "rollout/ep_rew_mean" in sections["learning"]
    assert {"spikes/firing_rate/layer0", "spikes/silent/layer1"} <= sections["spikes"]
    assert {"plasticity/modulator_mean/layer1", "plasticity/clipped/layer1"} <= (
        sections["plasticity"]
    )
    assert {f"adaptation/accuracy/trial_{trial}" for trial in range(3)} <= sections[
        "adaptation"
    ]
    assert "system/steps_per_second" in sections["system"]
    axes = {
        part.get("glob_name"): part.get("step_metric")
        for part in of_type(both, "metric")
    }
    assert axes["*"] == "global_step"
    assert run["config"]["update"]["trainer"]["n_steps"] == 16

    # the checkpoint, with its settings
    artifact, checkpoint = of_type(both, "artifact")
    assert (
        artifact["name"] == "CueAssociation-v0-ndp-oja-seed-0"
        and artifact["type"] == "model"
    )
    assert artifact["aliases"] == ["latest"]
    files = {
        part["path"]: Path(part["local_path"])
        for part in artifact["manifest"]["contents"]
    }
    assert {"config.yaml", "policy/weights.safetensors"} <= set(files)
    assert all(folder in path.parents and path.is_file() for path in files.values())
    assert checkpoint["type"] == "checkpoint"
    (part,) = checkpoint["manifest"]["contents"]
    assert part["path"].startswith("checkpoints/step-")
    assert json.loads(artifact["metadata"])["settings"]["policy"] == "ndp-oja"


def test_tensorboard_has_every_step_once(tmp_path):
    arguments = [*TINY, "--runs", str(tmp_path), "--tensorboard"]
    for more in (["--steps", "64"], ["--steps", "128", "--resume"]):
        assert train.main([*arguments, *more]) == 0
    folder = tmp_path / "CueAssociation-v0" / "ndp-oja" / "seed-0" / "tensorboard"
    events = EventAccumulator(str(folder)).Reload()
    names = {
        "rollout/ep_rew_mean",
        "spikes/firing_rate/layer1",
        "adaptation/accuracy/trial_0",
    }
    assert names <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("system/steps_per_second")] == [
        32,
        64,
        96,
        128,
    ]


def test_what_tracks_films_and_draws_is_imported_when_it_is_needed():
    late = "{'wandb', 'av', 'altair', 'vl_convert'}"
    code = f"import train, evaluate, sys; sys.exit(bool({late} & sys.modules.keys()))"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode
        == 0
    )


@pytest.mark.parametrize("key", [None, "short"])
def test_online_without_an_account_is_one_line_before_anything_is_done(
    tmp_path, monkeypatch, capsys, key
):
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    arguments = [*TINY, "--runs", str(tmp_path / "runs"), "--track", "online"]
    assert train.main(arguments, "train.py") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "--track online" in line and "offline" in line and not printed.out
    assert ("wandb login" if key is None else "WANDB_API_KEY") in line
    assert not (tmp_path / "runs").exists()


# the writer


class FakeRun:
    """Keeps what is logged."""

    id = "abc"

    def __init__(self):
        self.rows = []

    def define_metric(self, *_, **__):
        pass

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """Makes writers for one run folder, whose rows go nowhere."""
    settings = Settings(env="E-v0", policy="snn", runs=tmp_path, track="offline")
    settings.folder.wandb.mkdir(parents=True)
    asked = []

    def start(*arguments, **named):
        asked.append(named["id"])
        return FakeRun()

    monkeypatch.setattr(tracking, "start", start)

    def make(**changes):
        mine = replace(settings, **changes)
        made = tracking.WandbWriter(mine, {"settings": {}, "versions": {}})
        made.asked = asked[-1]
        return made

    return make


def test_steps_trained_again_after_a_crash_are_not_logged_again(writer):
    first = writer()
    for step in (10, 20, 30):
        first.write({"a": step}, {"a": ()}, step)
    again = writer()  # nothing was finished; the checkpoint was that of step 10
    for step in (20, 30, 40):
        again.write({"a": -step}, {"a": ()}, step)
    assert first.asked is None and again.asked == "abc"
    assert [row["global_step"] for row in first.run.rows + again.run.rows] == [
        10,
        20,
        30,
        40,
    ]
    assert again.run.rows == [{"a": -40, "global_step": 40}]
    again.write({"eval": 1}, {"eval": ()}, 40)  # of an evaluation at the same step
    assert again.run.rows[1:] == [{"eval": 1, "global_step": 40}]


@pytest.mark.parametrize("where", ["log", "write_text"])
def test_a_row_at_which_a_training_was_interrupted_is_not_logged_again(
    writer, monkeypatch, where
):
    """Ctrl-C comes when wandb has the row, or while the step that it has is written
    down.
    """

    def interrupted(*_):
        patched.undo()
        raise KeyboardInterrupt

    def logged(row):
        first.run.rows.append(row)
        interrupted()

    with (
        monkeypatch.context() as patched,
        pytest.raises(KeyboardInterrupt),
        writer() as first,
    ):
        first.write({"a": 10}, {"a": ()}, 10)
        if where == "log":
            patched.setattr(first.run, "log", logged)
        else:
            patched.setattr(tracking, "write_text", interrupted)
        first.write({"a": 20}, {"a": ()}, 20)
    with writer() as again:
        for step in (20, 30):
            again.write({"a": -step}, {"a": ()}, step)
    assert [row["global_step"] for row in first.run.rows + again.run.rows] == [
        10,
        20,
        30,
    ]


def test_a_broken_wandb_ends_the_tracking_and_not_the_training(writer, capsys):
    made = writer()
    calls = []

    def broken(row):
        calls.append(row)
        raise ConnectionResetError("Connection lost")

    made.write({"a": 1.0}, {"a": ()}, 5)
    made.run.log = broken
    for step in (10, 15):
        made.write({"a": 1.0}, {"a": ()}, step)
    made.__exit__(None)
    assert len(calls) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Connection lost" in line and "training goes on" in line
    assert json.loads(made.file.read_text())["last_step"] == 5


# evaluation


def test_a_table_of_an_evaluation_has_numbers_beside_their_intervals():
    columns, rows = tracked_evaluation.plain_table(all_results(example()))
    assert {len(row) for row in rows} == {len(columns)}
    found = dict(zip(columns, rows[0]))
    assert found["policy"] == "ndp-oja" and found["return"] == pytest.approx(4000)
    assert found["return [95 %]"].startswith("4,000 [")


def test_an_offline_evaluation_holds_report_tables_videos_and_files(
    tmp_path, monkeypatch
):
    folder = write_example(tmp_path / "evaluation")
    (folder / "videos").mkdir()
    (folder / "videos" / "clean.mp4").write_bytes(b"not looked into")
    (folder / "report.html").write_text("not looked into")
    evaluated = {}
    for run in example().description.runs:
        policy = run.policy
        seed = run.seed
        settings = {"env": "HalfCheetah-v5", "policy": policy, "seed": seed}
        description = json.dumps({"metadata": {"settings": settings}})
        (folder / run.folder / "policy").mkdir(parents=True)
        (folder / run.folder / "policy" / "policy.json").write_text(description)
        evaluated[f"HalfCheetah-v5-{policy}-seed-{seed}"] = description
    monkeypatch.setenv("WANDB_TAGS", "trial, robots")
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    tracked_evaluation.track_evaluation("offline", folder)
    found = records(folder)
    rows = rows_of(found)
    sections = sections_of(rows, set())
    assert sections.keys() == {"adaptation"}
    logged = {
        "adaptation/report",
        "adaptation/results",
        "adaptation/lesions",
        "adaptation/videos",
    }
    assert logged <= sections["adaptation"]
    assert rows[-1]["adaptation/videos.captions"] == ["clean"]
    (artifact,) = [
        part for part in of_type(found, "artifact") if part["type"] == "evaluation"
    ]
    files = {part["path"] for part in artifact["manifest"]["contents"]}
    assert files == {
        "results.csv",
        "evaluation.json",
        "report.html",
        "videos/clean.mp4",
    }
    # lineage: the policies that it evaluated go in, and its own files come out
    used = [part for part in of_type(found, "artifact") if part.get("use_after_commit")]
    assert {part["name"] for part in used} == set(evaluated)
    assert {part["type"] for part in used} == {"model"}
    (run,) = of_type(found, "run")
    assert run["entity"] == "someone"
    assert {"evaluation", "HalfCheetah-v5", "ndp-oja", "trial", "robots"} <= set(
        run["tags"]
    )
    assert [part.get("exit_code", 0) for part in of_type(found, "exit")] == [0]


# the workspace


def test_the_workspace_has_its_sections_and_panels():
    made = dashboards.workspace("someone", "some-project")
    spec = made._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    sections = spec["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [
        "learning", "spikes", "plasticity", "adaptation", "system",
    ]  # fmt: skip
    for section in sections:
        plots = [
            part["config"]
            for part in section["panels"]
            if "Line Plot" in part["viewType"]
        ]
        shown = [(part["chartTitle"], part["metricRegex"]) for part in plots]
        known = dashboards.WORKSPACE[section["name"]]["plots"].items()
        assert shown == [(title, f"^{metrics}$") for title, metrics in known]
    kinds = {part["viewType"] for part in sections[3]["panels"]}
    assert {"Media Browser", "Weave"} <= kinds


def test_without_an_account_there_is_no_workspace():
    with pytest.raises(UsageError, match="a workspace needs an account"):
        dashboards.main([])
