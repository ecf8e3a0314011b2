"""`spikepropamine matrix`: cells that run, go on, break and are interrupted."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from matrices import PLAIN, TINY, commands, file, of

from spikepropamine import table
from spikepropamine.evaluation.derived import late_accuracy
from spikepropamine.folder import RunFolder
from spikepropamine.matrix import (
    command,
    execution,
    kept,
    process,
    stamp,
)
from spikepropamine.matrix.cells import cells_of
from spikepropamine.matrix.definition import load_matrix
from spikepropamine.matrix.execution import execute
from spikepropamine.matrix.kept import keep_medians
from spikepropamine.matrix.rows import OBSERVER
from spikepropamine.matrix.stamp import is_finished
from spikepropamine.policies.export import load_policy
from spikepropamine.report.evaluate import main as evaluate
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.table import read, where
from spikepropamine.training import sections
from spikepropamine.training.run import main as train


def test_what_is_finished_is_not_done_again(file, commands, capsys):
    assert command.main([file(), "--seeds", "0"]) == 0
    assert "4 cells, 0 done, 4 to do" in capsys.readouterr().out
    assert len(commands.seen) == 8
    assert command.main([file()]) == 0
    assert "8 cells, 4 done, 4 to do" in capsys.readouterr().out
    assert len(commands.seen) == 16
    assert command.main([file()]) == 0
    assert len(commands.seen) == 16


@pytest.mark.parametrize(
    "what", ["policy", "results", "command", "own.yaml", "noise", "size"]
)
def test_a_cell_whose_results_are_of_something_else_is_not_finished(
    file, commands, monkeypatch, what
):
    monkeypatch.setattr(stamp, "SUITES", Path.cwd())
    text = "train: {noise: obs_noise=0.1}\nheld-out: {bias: obs_bias=0.1}\n"
    suite = Path(what).with_suffix(".yaml")
    of_suite = what in ("own.yaml", "noise")
    suite.write_text(text)
    asked = [f"--suite {what} --episodes 2"] if of_suite else PLAIN["evaluate"]
    cell = next(c for c in of(file(evaluate=asked)) if c.labels.policy == "sized")
    assert execute(cell) is None and is_finished(cell)
    if of_suite:
        suite.write_text(text.replace("noise=0.1", "noise=0.2"))
    elif what == "size":
        matched = sections.matched(cell.training.settings)
        wider = replace(matched, network=replace(matched.network, hidden=(7, 7)))
        monkeypatch.setattr(stamp, "matched", lambda _: wider)
    elif what == "policy":
        (cell.run.policy / "policy.json").write_text("another")
    elif what == "results":
        (cell.results[0] / "results.csv").unlink()
    else:
        cell = of(file(evaluate=["--suite standard --episodes 3"]))[0]
    assert not is_finished(cell)


def test_training_goes_on_where_it_was(file, commands):
    cell = of(file())[0]
    cell.run.path.mkdir(parents=True)
    execute(cell)
    assert commands.seen[0] == (*cell.training.words, "--resume")
    assert cell.training.going_on().settings == replace(
        cell.training.settings, resume=True
    )


def test_a_run_that_was_trained_with_other_settings_is_not_taken_for_this_one(
    file, commands, monkeypatch, capsys
):
    assert command.main([file(), "--seeds", "0", "--policies", "snn"]) == 0
    more = file(train=f"{TINY} --trainer.n-epochs 3")
    assert command.main([more, "--seeds", "0", "--policies", "snn"]) == 1
    assert "was trained with another trainer.n_epochs" in capsys.readouterr().err
    # but for what changes no number
    alike = file(train=f"{TINY} --trainer.workers 2")
    assert command.main([alike, "--seeds", "0", "--policies", "snn"]) == 0
    # what a file says counts, too
    suite = Path("own.yaml")
    for mass in ("1.5", "2"):
        suite.write_text(f"train: {{light: mass={mass}}}\n")
        own = file(train=f"{TINY} --perturb own.yaml", settings={"own": None})
        code = command.main([own, "--seeds", "0", "--policies", "snn"])
        assert code == (mass == "2")
    assert "was trained with another content of own.yaml" in capsys.readouterr().err
    # and defaults
    defaults = sections.defaults

    def others(*arguments):
        return replace(defaults(*arguments), normalize_rewards=True)

    monkeypatch.setattr(sections, "defaults", others)
    assert command.main([file(), "--dry-run", "--seeds", "0", "--policies", "snn"]) == 0
    assert "2 cells, 0 done, 2 to do" in capsys.readouterr().out


def test_matrices_that_evaluate_the_same_runs_have_folders_of_their_own(file, commands):
    first, second = (of(file(runs=runs))[0] for runs in ("tiny", "others"))
    assert first.results[0].name == "standard"
    assert second.results[0].name == "tiny-standard"


def test_two_matrices_in_one_folder_run_each_cell_once(file, commands, monkeypatch):
    def slowly(*arguments):
        time.sleep(0.05)
        return commands(*arguments)

    monkeypatch.setattr(process, "run_alone", slowly)
    path = file()
    with ThreadPoolExecutor(2) as pool:
        mains = [
            pool.submit(command.main, [path, "--runs", "runs", "--jobs", "2"])
            for _ in "ab"
        ]
    assert [main.result() for main in mains] == [0, 0]
    assert len(commands.seen) == len(set(commands.seen)) == 16
    assert all(is_finished(cell) for cell in of(path))


@pytest.mark.parametrize("step", ["_execute", "finish"])
def test_a_cell_that_breaks_stops_no_other(file, commands, monkeypatch, capsys, step):
    owner = stamp if step == "finish" else execution
    works = getattr(owner, step)

    def breaks(cell, *more):
        if cell.name.endswith("plain snn seed 0"):
            raise OSError(28, "No space left on device")
        return works(cell, *more)

    monkeypatch.setattr(owner, step, breaks)
    assert command.main([file(), "--seeds", "0"]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert command.main([file(), "--seeds", "0", "--dry-run"]) == 0
    assert "4 cells, 3 done, 1 to do" in capsys.readouterr().out


def test_a_cell_that_fails_stops_no_other_and_is_reported(file, commands, capsys):
    commands.failing = {"CueAssociation-v0 plain snn seed 0"}
    assert command.main([file(), "--seeds", "0"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(
        "failed: CueAssociation-v0 plain snn seed 0: train ended with 2: no luck"
    )
    assert len([c for c in commands.seen if c[0] == "evaluate"]) == 3
    commands.failing = set()
    assert command.main([file(), "--seeds", "0"]) == 0


def test_a_dry_run_prints_the_commands(file, commands, capsys):
    assert command.main([file(), "--dry-run", "--seeds", "1", "--policies", "snn"]) == 0
    said = capsys.readouterr().out
    assert (
        said.count(
            "  spikepropamine train --env CueAssociation-v0 --policy snn --seed 1"
        )
        == 2
    )
    assert not commands.seen


def test_the_run_of_the_median_seed_is_kept(file, commands, tmp_path, monkeypatch):
    cells = of(file(keep="kept", policies=["snn"], settings={"": ""}, seeds=[0, 1, 2]))
    for cell in cells:
        execute(cell)
    rows = [{"environment": cell.labels.env, "policy": cell.labels.policy,
             "seed": cell.labels.seed, "measure": "return",
             "suite": "standard", "condition": "clean",
             "value": (3.0, 1.0, 2.0)[cell.labels.seed]}
            for cell in cells]  # fmt: skip
    table.write(tmp_path / "rows.csv", table.table(rows))
    monkeypatch.setattr(kept, "card_of", lambda *_: "a card")
    keep_medians(cells, cells[:2], tmp_path / "rows.csv")
    assert not Path("kept").exists()  # a seed is missing
    keep_medians(cells, cells, tmp_path / "rows.csv")
    (copy,) = Path("kept/CueAssociation-v0/snn").iterdir()
    # once another seed is the median, its copy takes the place; what is no copy stays
    Path("kept/CueAssociation-v0/snn/seed-1").mkdir()
    for row, value in zip(rows, (2.0, 1.0, 3.0)):
        row["value"] = value
    table.write(tmp_path / "other.csv", table.table(rows))
    keep_medians(cells, cells, tmp_path / "other.csv")
    assert {path.name for path in copy.parent.iterdir()} == {"seed-0", "seed-1"}
    keep_medians(cells, cells, tmp_path / "rows.csv")
    Path("kept/CueAssociation-v0/snn/seed-1").rmdir()
    (copy,) = Path("kept/CueAssociation-v0/snn").iterdir()
    assert copy.name == "seed-2" and (copy / "policy" / "policy.json").is_file()
    assert (copy / "README.md").read_text() == "a card" and (
        copy / "progress.csv"
    ).is_file()


# for real


def test_a_cell_is_the_same_as_its_single_commands(file, monkeypatch):
    # in this process, which saves the time of starting others
    monkeypatch.setattr(process, "run_alone", lambda command, *_: command.perform())
    path = file(policies=["ndp-oja"], settings={"": ""}, seeds=[0], keep="kept")
    assert command.main([path, "--runs", "matrix", "--results", "results"]) == 0
    cell = cells_of(load_matrix(path), Path("matrix"))[0]
    assert train([*cell.training.words[1:], "--runs", "single"]) == 0
    weights = [
        load_policy(
            Path(root, "CueAssociation-v0/ndp-oja/seed-0/policy")
        ).policy.state_dict()
        for root in ("matrix/tiny", "single")
    ]
    assert all((weights[0][name] == value).all() for name, value in weights[1].items())
    rows = read(Path("results/tiny.csv"))
    returns = where(rows, measure="return")
    mine = where(returns, policy="ndp-oja")
    assert mine["condition"].to_list() == [
        "clean",
        "noise-0.1",
        "noise-0.2",
        "plasticity-off",
    ]
    evaluated = EvaluationResults.read(cell.results[0]).measured(
        "ndp-oja", "noise-0.1", "late_accuracy"
    )
    of_noise = {"policy": "ndp-oja", "condition": "noise-0.1"}
    late = where(rows, measure="late_accuracy", **of_noise)["value"]
    assert late.to_list() == pytest.approx([evaluated.mean])
    assert mine.select("seed", "steps").row(0) == (0, 32)
    assert where(rows, policy="ndp-oja", measure="episodes")["value"].to_list() == [2]
    observer = where(returns, policy=OBSERVER)
    assert observer["condition"].to_list() == ["clean", "noise-0.1", "noise-0.2"]
    assert (
        where(late_accuracy(rows), policy=OBSERVER, condition="clean")["value"].item()
        == 1
    )

    card = RunFolder(Path("kept/CueAssociation-v0/ndp-oja/seed-0")).card.read_text()
    assert (
        "# ndp-oja on CueAssociation-v0" in card
        and f"value: {round(mine['value'][0], 3)}" in card
    )

    # another evaluation in the same place is not taken for that of the matrix
    assert is_finished(cell)
    place = cell.results[0]
    evaluated = [
        str(cell.path),
        "--episodes",
        "1",
        "--conditions",
        "clean",
        "--overwrite",
    ]
    evaluated += ["--out", str(place)]
    assert evaluate(evaluated) == 0
    assert not is_finished(cell)
    assert command.main([path, "--runs", "matrix", "--results", "results"]) == 0
    assert is_finished(cell) and read(Path("results/tiny.csv")).equals(rows)
    cell.stamp.write_text('{"policy": ')
    assert not is_finished(cell)


def test_ctrl_c_ends_cleanly_and_leaves_the_last_checkpoint(file):
    train = f"{TINY} --steps 100000000 --checkpoint-every 64"
    path = file(policies=["snn"], settings={"": ""}, seeds=[0], train=train)
    started = subprocess.Popen(
        [sys.executable, "-m", "spikepropamine", "matrix", path, "--runs", "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = RunFolder(Path("runs/tiny/CueAssociation-v0/snn/seed-0"))
    end = time.monotonic() + 400  # where cores are busy
    while not (folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())):
        assert started.poll() is None, started.communicate()
        if time.monotonic() > end:
            started.kill()
            pytest.fail("there is no checkpoint")
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    error = started.communicate(timeout=120)[1]
    assert started.returncode == 130
    # the command that a run says made it is one that can be typed
    words = yaml.safe_load(folder.config.read_text())["command"]
    assert words[:4] == ["-m", "spikepropamine", "train", "--env"]
    assert "the same command goes on" in error and "Traceback" not in error
    assert any(folder.checkpoints.iterdir())
