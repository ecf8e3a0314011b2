"""Who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"agents", "benchmarks", "dashboards", "envs", "evaluation", "policies", "training"}
ALLOWED = {
    "dashboards": set(),
    "policies": set(),
    "envs": set(),
    "agents": {"policies"},
    "evaluation": {"envs", "policies"},
    "training": {"agents", "envs", "policies"},
}
LEARNING = {"torch", "stable_baselines3", "sb3_contrib", "safetensors"}


def imported(package):
    """Top-level names that the modules of a package import, each with the file that does."""
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            shortened = [name.removeprefix("spikepropamine.") for name in names]
            found |= {name.split(".")[0]: file.name for name in shortened}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_the_packages_below_it(package):
    wrong = (imported(package).keys() & OURS) - ALLOWED[package] - {package}
    assert not wrong, {name: imported(package)[name] for name in wrong}


def test_the_environments_need_neither_torch_nor_stable_baselines():
    found = imported("envs")
    assert "gymnasium" in found
    assert not found.keys() & LEARNING


@pytest.mark.parametrize(
    ("package", "needs"), [("agents", "policies"), ("training", "agents"), ("policies", "torch")]
)
def test_imports_are_found(package, needs):
    assert needs in imported(package)


def test_every_package_has_its_rule():
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} & OURS
    assert packages - {"benchmarks"} <= ALLOWED.keys()
    assert {"agents", "envs", "policies", "training"} <= packages
