"""`spikepropamine export`, and the example that needs nothing of this project."""

import ast
import json
import subprocess
import sys

import onnx
import pytest
from saved_runs import ARGUMENTS, CUES, PENDULUM, ROBOT, ROOT, save_run

from spikepropamine.__main__ import main
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.export import onnx_file

EXAMPLE = ROOT / "export" / "example.py"


def export(*arguments) -> int:
    return main(["export", *map(str, arguments)])


def example(file):
    """What the example prints of an episode."""
    command = [sys.executable, "-I", EXAMPLE, file, "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_exported_file_drives_its_task_by_onnx_runtime_alone(tmp_path, capsys):
    run = save_run(tmp_path, PENDULUM, "ndp-oja")
    assert export(run, "--format", "onnx") == 0
    told = capsys.readouterr().out
    assert "1000 steps beside the policy" in told
    file = run / "exports" / "policy.onnx"
    model = onnx.load(file)
    card = {entry.key: entry.value for entry in model.metadata_props}
    assert model.doc_string == card["summary"]
    assert json.loads(card["state"])["layer1.fast_weights"] == [16, 24]
    assert json.loads(card["task"])["env"] == PENDULUM
    assert json.loads(card["training"]) == {"seed": 0, "steps": 123, "perturb": None}
    assert example(file).stdout.startswith("episode 0: return -")


def test_an_exported_file_names_the_plain_task(tmp_path):
    """Without what helped in training: the robot's arguments have told=0.5."""
    run = save_run(tmp_path, ROBOT, "mlp")
    assert export(run, "--format", "onnx") == 0
    model = onnx.load(run / "exports" / "policy.onnx")
    card = {entry.key: entry.value for entry in model.metadata_props}
    expected = ARGUMENTS[ROBOT] | {"told": 0.0, "noise": 0.0}
    assert json.loads(card["task"])["env_kwargs"] == expected


def test_the_example_refuses_what_it_cannot_make_in_one_line(tmp_path):
    run = save_run(tmp_path, CUES, "mlp")
    assert export(run, "--format", "onnx") == 0
    done = example(run / "exports" / "policy.onnx")
    assert done.returncode == 1 and done.stderr.startswith(
        "this example needs one of Gymnasium's"
    )


def test_the_example_needs_onnx_runtime_numpy_and_the_robot():
    tree = ast.parse(EXAMPLE.read_text())
    names = {
        a.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for a in node.names
    }
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert names == {"json", "sys", "pathlib", "gymnasium", "numpy", "onnxruntime"}


def test_a_nir_file_is_kept_where_its_spikes_are_the_policys(tmp_path, capsys):
    run = save_run(tmp_path, PENDULUM, "ndp-oja")
    assert export(run, "--format", "nir", "--out", tmp_path / "a.nir") == 0
    assert "of 300 steps are those of the policy" in capsys.readouterr().out
    assert (tmp_path / "a.nir").is_file()


def test_a_file_that_does_not_act_as_the_policy_is_not_kept(
    tmp_path, capsys, monkeypatch
):
    run = save_run(tmp_path, PENDULUM, "mlp")
    other = save_run(tmp_path, PENDULUM, "mlp", seed=1)
    (wrong,), _ = load_runs([other])
    to_onnx = onnx_file.to_onnx
    monkeypatch.setattr(
        onnx_file, "to_onnx", lambda _, *rest: to_onnx(wrong.policy, *rest)
    )
    assert export(run, "--format", "onnx") == 2
    assert "the file acts" in capsys.readouterr().err
    assert list((run / "exports").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "nir"], "use --format onnx"),
        (["--format", "onnx", "--seed", "-1"], "must be 0 or more"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, tmp_path, capsys):
    assert export(save_run(tmp_path, PENDULUM, "mlp"), *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
