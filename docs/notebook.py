"""The notebook as a page: its text, its code and its outputs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "cue-task.ipynb"
PLACE = "tutorials/notebook.md"


def notebook_page() -> str:
    """The notebook, as Markdown."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    first, *rest = map(_cell, cells)
    where = (
        f"This page is a notebook, [`docs/{NOTEBOOK.name}`](../{NOTEBOOK.name}), with "
        "its outputs."
    )
    title, _, text = first.partition("\n")
    return "\n\n".join([title, where, text.strip(), *rest]) + "\n"


def _cell(cell: Mapping[str, Any]) -> str:
    """A cell with its outputs."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return text
    lines = [line for line in text.splitlines() if not line.startswith("%%")]
    code = "\n".join(lines).strip()
    parts = [f"```python\n{code}\n```"]
    parts += map(_output, cell["outputs"])
    return "\n\n".join(parts)


def _output(output: Mapping[str, Any]) -> str:
    """What a cell gave: text, or a picture."""
    if output["output_type"] == "stream":
        return _text(output["text"])
    data = output["data"]
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="output" src="data:image/png;base64,{picture}">'
    return _text(data["text/plain"])


def _text(lines: list[str]) -> str:
    """Text as it was printed."""
    return f"```text\n{''.join(lines).strip()}\n```"


PAGES: dict[str, Callable[[], str]] = {PLACE: notebook_page}
"""By its place in docs/."""
