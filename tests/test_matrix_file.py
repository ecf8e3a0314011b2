"""Files of matrices: what they may hold, and which cells, contrasts and rows follow."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from matrices import ROOT, TINY, commands, file, of

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.matrix import (
    command,
)
from spikepropamine.matrix.cells import cells_of
from spikepropamine.matrix.definition import load_matrix
from spikepropamine.matrix.rows import missing
from spikepropamine.report import contrasts as contrasts_on_file
from spikepropamine.report.contrasts import MATRICES, planned_contrasts


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
        ({"train": "--teacher {seed[0]}"}, ["{seed[0]}", "{env}"]),
        ({"train": "--teacher {env.name}"}, ["{env.name}", "{env}"]),
        ({"train": "--help"}, ["leave out --help"]),
        ({"evaluate": ["--episodes 3 -h"]}, ["leave out -h"]),
        ({"evaluate": ["runs/other --episodes 3"]}, ["runs/other", "alone"]),
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
    for wrong in ({"policy": ["snn"]}, {"policies": ["snm"]}, {"seeds": []}):
        assert command.main([file(only=[wrong])]) == 2
        assert "only: " in capsys.readouterr().err


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


@pytest.mark.parametrize("name", sorted(path.stem for path in MATRICES.glob("*.yaml")))
def test_every_matrix_of_several_policies_names_its_contrasts(name):
    matrix = load_matrix(name)
    assert len(matrix.policies) == 1 or matrix.planned()


@pytest.mark.nightly
def test_matrices_hold_what_was_run_and_no_more():
    for path in MATRICES.glob("*.yaml"):
        file = ROOT / table.RESULTS / f"{path.stem}.csv"
        left = missing(load_matrix(path.stem), file)
        assert not left, (path.stem, left)
