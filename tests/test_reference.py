"""The pages of the reference that are made from the code, Home, and the notebook."""

import importlib.util
import re
from dataclasses import fields, is_dataclass

import pytest
from PIL import Image
from saved_runs import ROOT

import spikepropamine as sp
from spikepropamine.__main__ import COMMANDS
from spikepropamine.agents.algorithms import ALGORITHMS, TrainerSettings
from spikepropamine.options import flag
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.training.settings import Settings

DOCS = ROOT / "docs"


def module(name):
    """A file of docs/ that makes pages."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


PAGES = {
    place: content()
    for name in ("generated", "notebook")
    for place, content in module(name).PAGES.items()
}
SETTINGS = PAGES["reference/settings.md"]


def row_of(option):
    """The cells of a setting."""
    (line,) = [x for x in SETTINGS.splitlines() if x.startswith(f"| `{option}` |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize(
    ("cls", "prefix"),
    [(Settings, ""), (TrainerSettings, "trainer."), (NetworkConfig, "network.")],
)
def test_every_setting_has_a_row_with_an_explanation(cls, prefix):
    for part in fields(cls):
        if not is_dataclass(part.default_factory):
            *_, explanation = row_of(flag(part, prefix))
            assert len(explanation) > 10, part.name


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_setting_of_the_trainer_says_whose_it_is(kind):
    for part in fields(TrainerSettings):
        _, whose, *_ = row_of(flag(part, "trainer."))
        of_all = {x.name for one in ALGORITHMS.values() for x in fields(one.settings)}
        mine = {x.name for x in fields(ALGORITHMS[kind].settings)}
        expected = part.name in mine or part.name not in of_all
        assert (whose == "all" or kind in whose.split(", ")) == expected, part.name


def test_ranges_and_defaults_are_in_words():
    assert row_of("--steps")[1:3] == ["whole number from 1", "1,000,000"]
    assert row_of("--n-envs")[1:3] == ["whole number from 1 to 10,000", "8"]
    assert row_of("--trainer.gamma")[2:4] == ["number from 0 to 1", "0.99"]
    assert row_of("--device")[1] == "`cpu`, `cuda`, `auto`"
    assert row_of("--network.hidden")[1:3] == ["several: whole number", "64 64"]


def test_every_command_has_its_arguments_in_tables():
    page = PAGES["reference/commands.md"]
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert sections.keys() == COMMANDS.keys()
    assert "| `--steps N` |" in sections["train"]
    assert "| `--video" in sections["evaluate"]
    for name, text in sections.items():
        assert "| argument | what it is |" in text, name
        assert "show this help message" not in text


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference" / "python.md").read_text()
    whole_modules = ("spikepropamine.api", "spikepropamine.environments")
    for name in set(sp.__all__) - {"envs"}:
        value = getattr(sp, name)
        listed = value.__module__ in whole_modules
        assert listed or re.search(rf"\b{value.__name__}\b", page), name
    for module_name in whole_modules:
        assert f"::: {module_name}\n" in page


@pytest.mark.parametrize("word", ["EvalCallback", "hyperparameter", "migrate"])
def test_a_search_finds_the_words_of_a_user_of_stable_baselines(word):
    pages = [file.read_text() for file in DOCS.rglob("*.md")] + list(PAGES.values())
    assert any(word in page for page in pages)


def test_the_notebook_is_a_page_with_its_code_and_outputs():
    page = PAGES["tutorials/notebook.md"]
    assert page.startswith("# ")
    assert "sp.train(TASK" in page
    assert page.count("data:image/png;base64,") == 2
    assert "%%capture" not in page
    listed = (ROOT / "mkdocs.yml").read_text()
    for place in PAGES:
        assert place in listed


GALLERY = module("gallery")


@pytest.mark.parametrize("task", GALLERY.TASKS)
def test_a_task_of_the_gallery_has_a_small_moving_picture(task):
    file = GALLERY.PICTURES / f"{task}.webp"
    assert file.stat().st_size <= 300_000
    with Image.open(file) as picture:
        assert picture.n_frames >= 20
    assert f"../tasks/{file.name}" in GALLERY.PAGE.read_text()


@pytest.mark.nightly
@pytest.mark.parametrize("task", GALLERY.TASKS)
def test_the_gallery_says_what_the_tasks_are_and_the_cards_say(task):
    assert GALLERY.section(task) in GALLERY.PAGE.read_text(), (
        "run python docs/gallery.py"
    )


def code_of_home():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(), re.S)
    return code


def test_home_has_an_install_line_and_about_ten_lines_of_code():
    page = (DOCS / "index.md").read_text()
    assert "pip install -e '.[all]'" in page
    lines = [x for x in code_of_home().splitlines() if x and "import" not in x]
    assert len(lines) <= 10


@pytest.mark.nightly
def test_the_code_of_home_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = code_of_home()
    assert "150_000" in code and "episodes=200" in code
    short = code.replace("150_000", "6_000").replace("episodes=200", "episodes=4")
    names = {}
    exec(short, names)
    assert names["results"].report.is_file()
    assert names["action"] in (0, 1)
