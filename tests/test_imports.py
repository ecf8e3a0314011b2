"""Who may import whom."""

import ast
import functools
import graphlib
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {
    "spikepropamine"
}
# what is not named here imports nothing else of this project but spikepropamine/ itself
ALLOWED = {
    "agents": {"policies"},
    "benchmarks": PACKAGES,
    "evaluation": {"agents", "envs", "policies"},
    "export": {"envs", "evaluation", "policies"},
    "matrix": {"envs", "evaluation", "export", "report", "training"},
    "report": {"agents", "envs", "evaluation", "policies", "training"},
    "training": {"agents", "envs", "evaluation", "policies"},
}
LEARNING = {"torch", "stable_baselines3", "sb3_contrib", "safetensors"}


@functools.cache
def imported(folder):
    """Modules that the files of a folder import, each with the file that does."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif (
                isinstance(node, ast.ImportFrom)
                and file.parent.name == "synapses"
                and node.level
            ):
                assert (
                    node.level == 1
                )  # a template, which sees the modules of its own copy
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= dict.fromkeys(names, file.name)
    return found


def folders(names):
    """The folders of this project among names of modules, and top-level names of all
    others.
    """
    return {name.removeprefix("spikepropamine.").split(".")[0] for name in names}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_folder_imports_only_the_folders_below_it(package):
    allowed = ALLOWED.get(package, set()) | {package}
    wrong = (folders(imported(package)) & PACKAGES) - allowed
    assert not wrong, [
        pair for pair in imported(package).items() if folders([pair[0]]) & wrong
    ]


def modules_named(node):
    """What an import statement names, as modules may be called."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_the_modules_of_policies_can_be_drawn_as_a_tree():
    """No circle, not even one that is closed inside a function or for a type
    checker.
    """
    names = {}
    for file in (ROOT / "policies").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = file
    below = {}
    for name, file in names.items():
        below[name] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            for module in modules_named(node):
                target = module.removeprefix("spikepropamine.")
                while "." in target:  # a package runs before what is in it
                    if target in names and not f"{name}.".startswith(f"{target}."):
                        below[name].add(target)
                    target = target.rpartition(".")[0]
    assert "policies.compiled.step" in below["policies.backends"]
    tuple(graphlib.TopologicalSorter(below).static_order())  # raises CycleError


def test_the_environments_need_neither_torch_nor_stable_baselines():
    found = folders(imported("envs"))
    assert "gymnasium" in found
    assert not found & LEARNING


def test_the_command_line_starts_without_the_libraries_of_its_commands():
    for file in (ROOT / "spikepropamine").glob("*.py"):
        tops = [
            node
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.Import)
        ]
        assert (
            not folders(alias.name for node in tops for alias in node.names) & LEARNING
        )


def test_links_stand_for_the_folders_in_the_package():
    """Editors, mypy and the site find the one package as it is when it is installed."""
    links = [path for path in (ROOT / "spikepropamine").iterdir() if path.is_symlink()]
    assert {link.name for link in links} == PACKAGES - {"benchmarks"}
    assert all(link.readlink() == Path("..") / link.name for link in links)


@pytest.mark.parametrize(
    "name", ["policies", "agents.ppo", "envs.making", "report.html", "common"]
)
def test_nothing_is_imported_through_a_link(name):
    module = importlib.import_module(f"spikepropamine.{name}")
    assert not {path for path in Path(module.__file__).parents if path.is_symlink()}


DEFINITIONS = {
    "from spikepropamine.policies.rules import register": "policies/rules.py",
    "from spikepropamine.agents import PlasticPPO": "agents/ppo.py",
    "from spikepropamine import PlasticSAC": "agents/sac.py",
    "from spikepropamine import register_rule": "policies/rules.py",
    "from spikepropamine.envs.making import make": "envs/making.py",
    "from spikepropamine.training.run import train": "training/run.py",
    "from spikepropamine import load": "spikepropamine/api.py",
}


@pytest.mark.parametrize("line", DEFINITIONS)
def test_editors_go_to_definitions_in_a_fresh_clone(line):
    """With Jedi, which knows the checkout alone: nothing that is installed."""
    jedi = pytest.importorskip("jedi")
    checkout = jedi.Project(ROOT, sys_path=[])
    script = jedi.Script(line, path=ROOT / "script.py", project=checkout)
    (definition,) = script.goto(1, len(line), follow_imports=True)
    assert definition.module_path.resolve() == ROOT / DEFINITIONS[line]


def test_every_folder_is_installed():
    """`pip install` takes the packages that pyproject.toml names."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "setuptools"
    ]
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in PACKAGES - {"benchmarks"}
        for file in (ROOT / package).rglob("__init__.py")
    }
    there |= {"configs", "trained"}  # data alone
    assert {f"spikepropamine.{name}" for name in there} | {"spikepropamine"} == set(
        setuptools["packages"]
    )
    mapped = {name.removeprefix("spikepropamine."): folder
              for name, folder in setuptools["package-dir"].items()}  # fmt: skip
    folders = PACKAGES - {"benchmarks"} | {"spikepropamine", "configs", "trained"}
    assert mapped == {name: name for name in folders}


def test_data_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "setuptools"
    ]
    for package in setuptools["packages"]:
        parts = package.split(".")[1:] or ["spikepropamine"]
        there = {
            file.name
            for file in ROOT.joinpath(*parts).iterdir()
            if file.is_file() and file.suffix not in (".py", ".pyc")
        }
        patterns = setuptools["package-data"].get(package, [])
        named = {file.name for p in patterns for file in ROOT.joinpath(*parts).glob(p)}
        assert there <= named, package


def required(name):
    """The lines of a file of requirements, without what they are for."""
    lines = (ROOT / name).read_text().splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def test_extras_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = required("requirements-dev.txt") | required("requirements.txt")
    extras = project["optional-dependencies"]
    (every,) = extras.pop("all")
    for extra, needs in extras.items():
        assert set(needs) <= tested, extra
    named = re.fullmatch(r"spikepropamine\[(.*)\]", every)[1].split(",")
    assert set(named) == set(extras) - {"docs"}


def test_requirements_are_those_of_the_package_and_its_most_used_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = set(project["dependencies"])
    for extra in ("wandb", "pages", "films"):
        needs |= set(project["optional-dependencies"][extra])
    assert required("requirements.txt") == needs
