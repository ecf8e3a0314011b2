"""Writes the picture of the project into CONTRIBUTING.md, out of the first lines of its files."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
START, END = "<!-- made by `python docs/tree.py` -->\n```\n", "```\n"
OTHERS = {
    "configs": "defaults of training by environment, suites of perturbations, spaces to search",
    "docs": "the documentation: pages of the site, tables of results, pictures",
    "tests": "one file for each subject; `-m slow` trains until something is learned",
    "trained": "policies to look at without training any",
}
ORDER = ["spikepropamine", "policies", "agents", "envs", "training", "evaluation", "export"]


def summary(file: Path) -> str:
    """The first sentence of a file, without the example or the second half of a long one."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = " ".join(text.split("\n\n")[0].split())
    first = first.split(": `python")[0].rstrip(".")
    return first if len(first) <= 110 else first.split(";")[0]


def tree() -> str:
    """One line for each folder and file of code."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [Path(name) for name in listed.stdout.split()]
    shown = [file for file in files if file.parts[0] not in OTHERS and len(file.parts) > 1]
    folders = sorted({file.parent for file in shown}, key=lambda f: (rank(f.parts[0]), f.parts))
    lines = [line(file, 0, summary(ROOT / file)) for file in files if len(file.parts) == 1]
    for folder in folders:
        depth = len(folder.parts) - 1
        lines.append(line(folder, depth, summary(ROOT / folder / "__init__.py"), "/"))
        inside = [f for f in shown if f.parent == folder and f.name != "__init__.py"]
        lines += [line(file, depth + 1, summary(ROOT / file)) for file in inside]
    lines += [line(Path(name), 0, text, "/") for name, text in OTHERS.items()]
    return "\n".join(lines) + "\n"


def rank(folder: str) -> int:
    """Folders in the order in which they use one another, then all others."""
    return ORDER.index(folder) if folder in ORDER else len(ORDER)


def line(path: Path, depth: int, text: str, end: str = "") -> str:
    """A name, further right the deeper it lies, and what is there."""
    return f"{'  ' * depth + path.name + end:24} {text}".rstrip()


if __name__ == "__main__":
    page = ROOT / "CONTRIBUTING.md"
    before, _, after = page.read_text().partition(START)
    page.write_text(before + START + tree() + END + after.partition(END)[2])
