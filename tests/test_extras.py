"""What is no dependency is imported late, after a sentence that names the extra."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spikepropamine import __main__, api, common
from spikepropamine.common import UsageError

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TRAINED = "cue-ppo/CueAssociation-v0/ndp-oja"
CUE = "--env CueAssociation-v0 --policy mlp --steps 8 --n-envs 1"


WHERE = {
    "av": [
        f"train {CUE} --video-every 8 --runs RUNS",
        f"evaluate {TRAINED} --video --out RUNS/out",
        f"enjoy {TRAINED} --video RUNS/films",
    ],
    "evotorch": [f"train {CUE} --trainer.kind evolution --runs RUNS"],
    "huggingface_hub": [f"push {TRAINED} owner/name", "enjoy hf:owner/name"],
    "nir": [f"export {TRAINED} --format nir --out RUNS/policy.nir"],
    "onnx": [f"export {TRAINED} --format onnx --out RUNS/policy.onnx"],
    "onnxruntime": [f"export {TRAINED} --format onnx --out RUNS/policy.onnx"],
    "optuna": ["tune --env CueAssociation-v0 --policy mlp --study RUNS/study"],
    "tensorboard": [f"train {CUE} --tensorboard --runs RUNS"],
    "vl_convert": ["dashboards --local RUNS", "dashboards --live RUNS"],
    "wandb": [
        f"train {CUE} --track offline --runs RUNS",
        f"evaluate {TRAINED} --track online --out RUNS/out",
    ],
    "wandb_workspaces": ["dashboards"],
}
"""Where each package is needed: commands that say so, and how to get it."""
PROJECT_FOLDERS = [
    file.parent.name
    for file in ROOT.glob("*/__init__.py")
    if file.parent.name != "benchmarks"
]
ELSEWHERE = {
    "cloudpickle": "Stable-Baselines3 requires it",
    "llvmlite": "numba requires it",
    "sqlalchemy": "optuna requires it",
    "sympy": "torch requires it",
    "matplotlib": "Stable-Baselines3 requires it",
    "pandas": "Stable-Baselines3 requires it",
    "ray": "evotorch requires it",
    "rsl_rl": "rsl_rl imports the module that imports it",
    "tensordict": "rsl_rl requires it",
    "websockets": "tests of `play` have it",
    "markupsafe": "Jinja2 requires it",
}
"""What comes with a package that is checked."""


@functools.cache
def modules_of_dependencies():
    """Top-level modules of what every installation has."""
    names = [re.match(r"[\w.-]+", line)[0] for line in PROJECT["dependencies"]]
    distributions = {name.lower().replace("-", "_") for name in names}
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if distributions & {owner.lower().replace("-", "_") for owner in owners}
    }


def imported(tree):
    """Top-level modules that a file imports, but not for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_every_package_that_may_be_missing_is_in_the_list():
    needed = set()
    for package in PROJECT_FOLDERS:
        for file in (ROOT / package).rglob("*.py"):
            if file != ROOT / "export" / "example.py":  # it stands for itself
                needed |= set(imported(ast.parse(file.read_text())))
    known = modules_of_dependencies() | sys.stdlib_module_names | {"spikepropamine"}
    assert needed - known - set(ELSEWHERE) <= {*WHERE, "altair"}


@pytest.mark.parametrize(
    ("module", "words"), [(name, words) for name, all in WHERE.items() for words in all]
)
def test_a_missing_package_is_one_sentence_with_its_extra(
    module, words, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUNS").mkdir()
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert __main__.main(words.split()) == 2
    message = capsys.readouterr().err
    check_sentence(message, module)
    assert message.count("\n") == 1
    assert not list((tmp_path / "RUNS").iterdir())  # nothing half-written


def test_a_figure_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UsageError) as caught:
        api.Run(ROOT / "trained" / TRAINED / "seed-23").figure()
    check_sentence(str(caught.value), "altair")


def check_sentence(message, module):
    """That a message says which package is missing, and which extra brings it."""
    assert f" needs {module}: " in message
    extra = re.search(r"pip install 'spikepropamine\[([\w-]+)\]'", message)[1]
    brought = " ".join(PROJECT["optional-dependencies"][extra])
    assert module.replace("_", "-") in brought


def test_training_and_evaluation_need_no_extra(tmp_path):
    """In a Python that has no package of any extra."""
    blocked = sorted({*WHERE, "altair", "websockets", "ray"})
    script = f"""
import sys
sys.modules |= dict.fromkeys({blocked})
from spikepropamine.__main__ import main
import spikepropamine as sp
for name in sp.__all__:
    getattr(sp, name)
words = "train --env CueAssociation-v0 --policy mlp --steps 64 --runs runs --n-envs 2"
assert main([*words.split(), "--trainer.n-steps", "32"]) == 0
sys.exit(main("evaluate runs/CueAssociation-v0/mlp/seed-0 --episodes 2".split()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "no report: report.html needs vl_convert: pip install" in done.stdout
    assert list(tmp_path.rglob("results.csv"))


def test_the_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError) as caught:
        common.require("wandb", "wandb", "--track")
    assert str(caught.value) == (
        "--track needs wandb: pip install 'spikepropamine[wandb]', or '.[wandb]' in a "
        "checkout"
    )
