"""The documentation: its pages, pictures, commands and notebook. `make site` checks its
links.
"""

import importlib.util
import re
import shlex

import pytest
from saved_runs import ROOT

from spikepropamine.__main__ import COMMANDS
from spikepropamine.common import UsageError
from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.export import command as export
from spikepropamine.report import evaluate
from spikepropamine.training import command_line as train
from spikepropamine.training import tune

pytestmark = pytest.mark.nightly
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PARSERS = {
    "train": train.parse,
    "evaluate": lambda words: evaluate.parse(words, "evaluate"),
    "export": lambda words: export.parse(words, "export"),
    "tune": lambda words: tune.parse(words, "tune"),
}


def blocks(page, language) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )


def commands() -> list[tuple[str, str, list[str]]]:
    """Page, command and arguments of all that is typed in the pages."""
    found = []
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            match words[:2]:
                case ["python", "train.py" | "evaluate.py" as script]:
                    found.append((page.name, script.removesuffix(".py"), words[2:]))
                case ["spikepropamine", name]:
                    found.append((page.name, name, words[2:]))
    return found


def test_every_perturbation_is_listed_as_it_is_with_a_small_picture():
    spec = importlib.util.spec_from_file_location("listing", DOCS / "perturbations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text()
    assert module.with_listing(page) == page, "run python docs/perturbations.py"
    pictures = {file.stem: file.stat().st_size for file in module.PICTURES.iterdir()}
    assert pictures.keys() == CATALOGUE.keys()
    assert max(pictures.values()) < 50_000


@pytest.mark.parametrize("name", PARSERS)
def test_what_the_pages_say_to_type_can_be_typed(name):
    typed = [(page, words) for page, command, words in commands() if command == name]
    assert typed
    for page, words in typed:
        if "..." in words or any(
            word.partition(":")[0].startswith("my_") for word in words
        ):
            continue
        try:
            PARSERS[name](words)
        except UsageError as error:
            pytest.fail(f"{page}: {name} {' '.join(words)}: {error}")


def test_every_command_of_the_pages_is_one():
    unknown = {(page, name) for page, name, _ in commands() if name not in COMMANDS}
    assert unknown <= {("first-hour.md", "--help"), ("README.md", "--help")}
