"""`spikepropamine matrix`: cells, what is left of them, and the rows they leave."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import train_runs
import yaml

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.evaluation.derived import late_accuracy
from spikepropamine.folder import RunFolder
from spikepropamine.matrix import (
    command,
    execution,
    kept,
    process,
    stamp,
    summary,
)
from spikepropamine.matrix.cells import cells_of
from spikepropamine.matrix.definition import load_matrix
from spikepropamine.matrix.execution import execute
from spikepropamine.matrix.kept import keep_medians
from spikepropamine.matrix.rows import OBSERVER, missing, rows_of
from spikepropamine.matrix.stamp import is_finished
from spikepropamine.policies.export import load_policy
from spikepropamine.report import contrasts as contrasts_on_file
from spikepropamine.report import figures
from spikepropamine.report.contrasts import MATRICES, Contrast, planned_contrasts
from spikepropamine.report.evaluate import main as evaluate
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.table import read, where
from spikepropamine.training import sections
from spikepropamine.training.command_line import going_on
from spikepropamine.training.run import main as train
from spikepropamine.training.settings import with_network_of_policy

ROOT = Path(__file__).parent.parent
TINY = " ".join(train_runs.TINY)
PLAIN = {
    "envs": ["CueAssociation-v0"],
    "policies": {"snn": None, "sized": "mlp --match-parameters snn"},
    "settings": {"plain": None, "noisy": "--env-kwargs noise 0.1"},
    "seeds": [0, 1],
    "train": TINY,
    "evaluate": ["--suite standard --episodes 2"],
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a matrix and returns its file; the working directory is a new one."""
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(PLAIN | changes, sort_keys=False))
        return str(path)

    return write


class Commands:
    """Stands for the processes of cells: notes commands, and leaves what they would
    leave.
    """

    def __init__(self):
        self.seen, self.failing, self.diverging = [], set(), set()

    def __call__(self, command, cell, stopped):
        self.seen.append(command.words)
        if cell.name in self.failing:
            cell.log.write_text("usage\nspikepropamine train: error: no luck\n")
            return 2
        run = cell.run
        if command.words[0] == "train":
            run.path.mkdir(parents=True, exist_ok=True)
            run.config.write_text("versions: {revision: abc}")
            run.progress.write_text("time/total_timesteps\n64\n")
            if cell.name in self.diverging:
                cell.log.write_text("spikepropamine train: error: it diverged\n")
                return process.DIVERGED
            run.policy.mkdir(exist_ok=True)
            (run.policy / "policy.json").write_text('{"metadata": {}}')
        if command.words[0] == "evaluate":
            for folder in cell.results:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "results.csv").write_text("{}")
        return 0


@pytest.fixture
def commands(monkeypatch):
    """Cells run nothing; their rows are none."""
    commands = Commands()
    monkeypatch.setattr(process, "run_alone", commands)
    monkeypatch.setattr(command, "collect", lambda cells, file: len(cells))
    monkeypatch.setattr(command, "_show", lambda *_: True)
    return commands


def of(path):
    return cells_of(load_matrix(path), Path("runs"))


# the file


def test_the_first_seed_of_everything_comes_first_and_every_cell_has_a_folder(
    file,
):
    names = [cell.name for cell in of(file())]
    assert names[:4] == [
        "CueAssociation-v0 plain snn seed 0",
        "CueAssociation-v0 plain sized seed 0",
        "CueAssociation-v0 noisy snn seed 0",
        "CueAssociation-v0 noisy sized seed 0",
    ]
    assert len(set(names)) == len(names) == 8
    paths = [cell.path for cell in of(file())]
    assert len(set(paths)) == len(paths)
    assert Path("runs/tiny/noisy/sized/CueAssociation-v0/mlp/seed-1") in paths


def test_arguments_of_all_axes_are_in_the_command_and_names_stand_for_those_of_the_cell(
    file,
):
    path = file(
        settings={"noisy": "--env-kwargs noise 0.1"},
        evaluate=["--suite standard --out runs/{policy}/{env}-{seed}"],
    )
    (cell,) = [
        cell for cell in of(path) if cell.name == "CueAssociation-v0 noisy sized seed 1"
    ]
    train, evaluate = (shlex.join(command.words) for command in cell.commands)
    assert train.startswith(
        "train --env CueAssociation-v0 --policy mlp --seed 1 --runs "
    )
    assert train.endswith(f"{TINY} --env-kwargs noise 0.1 --match-parameters snn")
    assert "--out runs/mlp/CueAssociation-v0-1" in evaluate


def test_modules_of_the_training_are_imported_by_all_that_follows(file):
    (cell, *_) = of(
        file(envs=["example_evaluation:CueAssociation-v0"], export=["onnx"])
    )
    for command_of in cell.commands[1:]:
        assert "--import example_evaluation" in " ".join(command_of.words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": []}, ["seeds", "missing"]),
        ({"polices": ["snn"]}, ["unknown setting 'polices'", "policies"]),
        ({"policies": {"nobody": "  "}}, ["policies", "'nobody' has no name"]),
        ({"evaluate": ["--suite standart"]}, ["'standart'", "did you mean 'standard'"]),
        ({"evaluate": ["--perturb mass=2"]}, ["CueAssociation-v0", "mass=2"]),
        (
            {"evaluate": ["--episodes 2", "--suite standard --episodes 2"]},
            ["add --out"],
        ),
        (
            {"evaluate": ["--episodes 2", "--episodes 3 --out more"]},
            ["standard", "--episodes"],
        ),
        ({"settings": ["plain"]}, ["settings"]),
        ({"train": "--teacher runs/{task}"}, ["runs/{task}", "{env}"]),
        ({"train": "--perturb 'mass=2"}, ["quotes"]),
        ({"seeds": [0, 0]}, ["one run folder"]),
        ({"train": f"{TINY} --seed 7"}, ["leave out", "--seed", "of each cell"]),
        (
            {"evaluate": ["--episodes 3 --out shared"]},
            ["one folder of results, shared"],
        ),
        ({"train": f"{TINY} --runs elsewhere"}, ["leave out --runs"]),
        ({"keep": "runs/matrices/tiny"}, ["keep", "is where the runs are"]),
        ({"policies": {"../..": "mlp"}}, ["'../..' names a folder"]),
        ({"runs": "../elsewhere"}, ["'../elsewhere' names a folder"]),
        ({"evaluate": ["--episodes 3 --out ../elsewhere"]}, ["--out", "leads out"]),
        ({"seeds": [True, False]}, ["seeds are whole numbers"]),
        ({"contrasts": {"snm": ["sized"]}}, ["contrasts", "did you mean 'snn'"]),
        ({"contrasts": {"snn": ["size"]}}, ["contrasts", "did you mean 'sized'"]),
        ({"contrasts": {"snn": ["snn"]}}, ["contrasts", "against itself"]),
        (
            {"contrasts": {"snn": ["sized"], "sized": ["snn"]}},
            ["contrasts", "compared twice"],
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    file, commands, capsys, changes, words
):
    assert command.main([file(**changes)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error
    assert not commands.seen


def test_a_matrix_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'cue-ppo'"):
        load_matrix("cue-pp")
    with pytest.raises(UsageError, match="there is no file"):
        load_matrix("mine.yaml")


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(path.stem for path in MATRICES.glob("*.yaml")))
def test_the_matrices_of_the_project_work(name):
    """Their arguments are those that the commands take; one seed stands for all."""
    matrix = load_matrix(name)
    for text in matrix.envs.values():
        module, colon, _ = text.partition(":")
        if colon:
            pytest.importorskip(module)
    cells = cells_of(replace(matrix, seeds=matrix.seeds[:1]), Path("runs"))
    assert cells and all(command.words for cell in cells for command in cell.commands)


# going on


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
    suite, of_suite = Path(what).with_suffix(".yaml"), what in ("own.yaml", "noise")
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
    assert copy.name == "seed-2" and (copy / "policy" / "policy.json").is_file()
    assert (copy / "README.md").read_text() == "a card" and (
        copy / "progress.csv"
    ).is_file()


def test_only_the_cells_that_are_named_are_those_of_a_matrix(
    file, commands, tmp_path, capsys
):
    path = file(only=[{"policies": ["snn"]}, {"settings": ["noisy"], "seeds": [1]}])
    names = [cell.name.removeprefix("CueAssociation-v0 ") for cell in of(path)]
    assert sorted(names) == [
        "noisy sized seed 1", "noisy snn seed 0", "noisy snn seed 1",
        "plain snn seed 0",
        "plain snn seed 1",
    ]  # fmt: skip
    rows = [{"environment": "CueAssociation-v0", "setting": "noisy", "policy": "sized",
             "seed": 1,
             "measure": "return", "value": 1.0}]  # fmt: skip
    table.write(tmp_path / "rows.csv", table.table(rows))
    assert (1, "noisy", "CueAssociation-v0", "sized") not in missing(
        load_matrix(path), tmp_path / "rows.csv"
    )
    assert len(missing(load_matrix(path), tmp_path / "none.csv")) == 5
    for wrong in ({"policy": ["snn"]}, {"policies": ["snm"]}):
        assert command.main([file(only=[wrong])]) == 2
        assert "only: " in capsys.readouterr().err


PLANNED = {"robot-map"}  # matrices that are yet to be run


@pytest.mark.nightly
def test_matrices_hold_what_was_run_and_no_more():
    for path in MATRICES.glob("*.yaml"):
        file = ROOT / table.RESULTS / f"{path.stem}.csv"
        if path.stem in PLANNED:
            assert not file.exists(), f"{path.stem} was run: take it out of PLANNED"
            continue
        left = missing(load_matrix(path.stem), file)
        assert not left, (path.stem, left)


# the stamp


def test_a_cell_has_one_stamp_and_a_pattern_of_seeds_names_runs_alone(file, commands):
    for cell in of(file(policies=["snn"], settings={"": ""})):
        assert execute(cell) is None
    stamps = sorted(path.name for path in cell.files.glob("*.json"))
    assert stamps == ["seed-0.tiny.json", "seed-1.tiny.json"]
    folder = cell.run.path.parent
    assert sorted(path.name for path in folder.glob("seed-*")) == ["seed-0", "seed-1"]


def test_what_an_older_version_finished_is_finished_and_moved(file, commands):
    path = file(policies=["snn"], settings={"": ""}, seeds=[0])
    (cell,) = of(path)
    execute(cell)
    stem = cell.run.path
    content = json.loads(cell.stamp.read_text())
    shutil.rmtree(cell.files)
    stem.with_suffix(".tiny.json").write_text(json.dumps(content))
    stem.with_suffix(".training.json").write_text(json.dumps(content["asked"]))
    stem.with_suffix(".tiny.log").write_text("what it said")
    stem.with_suffix(".lock").touch()
    assert is_finished(cell)
    stamp.move_old_files(cell)
    assert is_finished(cell) and cell.log.read_text() == "what it said"
    assert list(stem.parent.glob("seed-*")) == [stem]
    # the old file of what its training was asked for is heeded as a stamp is
    cell.stamp.unlink()
    other = file(
        policies=["snn"], settings={"": ""}, seeds=[0], train=f"{TINY} --n-envs 4"
    )
    assert "was trained with another n_envs" in execute(of(other)[0])


def test_a_run_is_held_against_the_stamps_of_all_matrices_until_it_is_deleted(
    file, commands, tmp_path
):
    one = {"policies": ["snn"], "settings": {"": ""}, "seeds": [0], "runs": "shared"}
    execute(of(file(**one))[0])
    changed = PLAIN | one | {"train": f"{TINY} --trainer.n-epochs 3"}
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(changed))
    (cell,) = of(str(other))
    assert "was trained with another trainer.n_epochs" in execute(cell)
    shutil.rmtree(cell.run.path)
    assert execute(cell) is None and is_finished(cell)


def test_a_training_that_diverged_is_a_result(file, commands):
    cell = of(file())[0]
    commands.diverging = {cell.name}
    assert execute(cell) is None and is_finished(cell)
    assert stamp.divergence(cell) == "it diverged"
    assert [words[0] for words in commands.seen] == ["train"]
    rows = rows_of(cell).select("policy", "seed", "steps", "measure", "value")
    assert rows.rows() == [("snn", 0, 64, "diverged", 1.0)]
    # other evaluations do not make it new; without its run it is to do
    assert is_finished(of(file(evaluate=["--episodes 5"]))[0])
    shutil.rmtree(cell.run.path)
    assert not is_finished(cell)


def test_a_run_goes_on_with_the_settings_that_it_was_made_with(file):
    cell = next(c for c in of(file()) if c.labels.policy == "sized")
    settings = replace(cell.training.settings, resume=True)
    assert going_on(settings) == settings  # there is nothing yet
    scaled = replace(settings, network=replace(settings.network, hidden=(7, 7)))
    cell.run.path.mkdir(parents=True)
    made = with_network_of_policy(scaled).as_dict()
    cell.run.config.write_text(yaml.safe_dump({"settings": made}))
    assert going_on(settings).network.hidden == (7, 7)
    with pytest.raises(UsageError, match="--normalize-rewards was False"):
        going_on(replace(settings, normalize_rewards=True))


# contrasts, and what a matrix ends with


def test_contrasts_are_those_of_the_file_in_its_order(file, monkeypatch):
    policies = ["snn", "mlp", "lstm"]
    contrasts = {"snn": ["lstm", "mlp"], "mlp": ["lstm"]}
    path = file(policies=policies, contrasts=contrasts)
    every = [("snn", "lstm"), ("snn", "mlp"), ("mlp", "lstm")]
    assert load_matrix(path).planned() == every
    # and those of a matrix of this project are found by the name of its results
    monkeypatch.setattr(contrasts_on_file, "MATRICES", Path(path).parent)
    assert planned_contrasts(Path("results/tiny.csv")) == every
    assert planned_contrasts(Path("results/other.csv")) == []


def results_of(values, **more):
    """Rows of returns by policy, one for each seed; NaN: it diverged."""
    rows = []
    for policy, returns in values.items():
        for seed, value in enumerate(returns):
            run = {"environment": "Task-v0", "policy": policy, "seed": seed} | more
            if np.isnan(value):
                rows.append(run | {"measure": "diverged", "value": 1.0})
                continue
            clean = {"suite": "standard", "condition": "clean", "value": value}
            rows.append(run | clean | {"measure": "return"})
            for at in (10, 20):
                curve = {"measure": "training_return", "at": at, "value": value}
                rows.append(run | curve)
    return table.table(rows)


VALUES = {
    "snn": [1.0, 2.0, 3.0, 2.0, 2.0],
    "mlp": [7.0, 9.0, 8.0, 8.5, 7.5],
    "lstm": [2.0, 1.0, np.nan, 2.0, 1.0],
}


def test_planned_contrasts_alone_are_compared_and_corrected_for():
    results = summary.results_by_task(results_of(VALUES))

    def p_of(contrasts):
        planned = summary.planned_comparisons(results, contrasts)
        assert [row.contrast for row in planned] == contrasts
        return [row.comparison.p for row in planned]

    (alone,) = p_of([Contrast("snn", "mlp")])
    first, _ = p_of([Contrast("snn", "mlp"), Contrast("snn", "lstm")])
    assert first == pytest.approx(min(1.0, 2 * alone))  # Holm, of two
    difference = summary.planned_comparisons(results, [Contrast("mlp", "snn")])[0]
    assert difference.comparison.difference.mean == pytest.approx(6.0)


@pytest.mark.parametrize("name", sorted(path.stem for path in MATRICES.glob("*.yaml")))
def test_every_matrix_of_several_policies_names_its_contrasts(name):
    matrix = load_matrix(name)
    assert len(matrix.policies) == 1 or matrix.planned()


def test_a_policy_of_one_run_is_not_compared_and_runs_that_diverged_are_counted(file):
    values = VALUES | {"lstm": [np.nan, 1.0, np.nan], "gru": [np.nan]}
    path = file(policies=list(values), contrasts={"snn": ["lstm", "gru"]})
    observer = {"environment": "Task-v0", "policy": OBSERVER, "measure": "return"}
    observer |= {"suite": "standard", "condition": "clean", "value": 9.0}
    frame = pl.concat([results_of(values), table.table([observer])])
    text = summary.table_of(load_matrix(path), frame)
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    rows = {tuple(line[2:5]) for line in lines if len(line) == 10}
    assert rows >= {
        ("snn", "5", "0"),
        ("lstm", "1", "2"),
        ("gru", "0", "1"),
        (OBSERVER, "0", "0"),
    }
    # the runs that diverged count as the worst: 1, that of the spiking network
    assert "| snn | not tested: fewer than 4 runs | lstm |" in text
    assert text.count("not compared: fewer than 2 runs") == 1


def test_a_matrix_ends_with_a_table_a_figure_and_a_report(
    file, commands, monkeypatch, capsys
):
    monkeypatch.undo()  # of what stands for the rows and the end
    monkeypatch.chdir(Path(file()).parent)
    monkeypatch.setattr(process, "run_alone", commands)

    def collect(cells, path):
        table.write(path, results_of(VALUES))
        return len(cells)

    monkeypatch.setattr(command, "collect", collect)
    monkeypatch.setattr(figures, "draw", lambda chart, path: path.write_text("picture"))
    path = file(policies=list(VALUES), contrasts={"snn": ["mlp", "lstm"]})
    commands.failing = {"CueAssociation-v0 plain mlp seed 1"}
    ends = ["--settings", "plain", "--runs", "runs", "--results", "results"]
    assert command.main([path, *ends]) == 1  # since a cell failed
    said = capsys.readouterr().out
    assert "| Task-v0 | snn | 5 | 0 | return | clean | 2.00 [" in said
    assert "| snn | significantly lower | mlp |" in said
    assert "| snn | no significant difference | lstm |" in said
    report = Path("runs/tiny/report.html").read_text()
    for title in ("Results", "Planned contrasts", "Learning", "Every condition"):
        assert f">{title}</h2>" in report
    assert "mlp seed 1: failed: train ended with 2: no luck" in report
    assert Path("runs/tiny/figure.png").read_text() == "picture"


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
    late = where(late_accuracy(rows), policy="ndp-oja", condition="noise-0.1")["value"]
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
