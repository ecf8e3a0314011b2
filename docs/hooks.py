"""What `mkdocs` does besides, for pages that are read in the checkout too.

The notebook and the help of every command become pages. Equations become MathML. A link out of
docs/ is checked and becomes the name of the file, since the site does not have it.
"""

import contextlib
import html
import io
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

from spikepropamine.__main__ import COMMANDS, main

DOCS = Path(__file__).resolve().parent
OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s#]*)(?:#[^)]*)?\)")
NOTEBOOK = re.compile(r"\]\(((?:\.\./)?[\w-]+)\.ipynb\)")  # is a page here
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
log = get_plugin_logger("hooks")


def on_files(files: Files, config: Any) -> Files:
    """Adds a page for each notebook, and one of all commands."""
    for notebook in sorted(Path(config.docs_dir).glob("*.ipynb")):
        page = markdown_of(json.loads(notebook.read_text(encoding="utf-8")))
        files.append(File.generated(config, f"{notebook.stem}.md", content=page))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Names files of the checkout in the place of links to them."""

    def named(match: re.Match[str]) -> str:
        text, target = match.groups()
        there = (DOCS / page.file.src_uri).parent.joinpath(target).resolve()
        if there.is_relative_to(DOCS):
            return match.group()
        if not there.exists():
            log.warning(f"{page.file.src_uri} refers to {target}, which is not there")
        path = there.relative_to(DOCS.parent).as_posix()
        return text if path in text else f"{text} (`{path}`)"

    return OUTSIDE.sub(named, NOTEBOOK.sub(r"](\1.md)", markdown))


def on_page_content(content: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw without a script."""

    def drawn(match: re.Match[str]) -> str:
        _, bracket, latex = match.groups()
        return convert(html.unescape(latex), display="block" if bracket == "[" else "inline")

    return EQUATION.sub(drawn, content)


def commands() -> str:
    """The help of every command."""
    parts = ["# Commands", "`spikepropamine COMMAND --help` prints the same."]
    for name, (_, summary) in COMMANDS.items():
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main([name, "--help"])
        parts += [f"## {name}", f"{summary[0].upper()}{summary[1:]}."]
        parts.append(f"```text\n{said.getvalue()}```")
    return "\n\n".join(parts) + "\n"


def markdown_of(notebook: dict[str, Any]) -> str:
    """The cells of a notebook and their outputs: text and PNG."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![What the code above draws](data:image/png;base64,{picture})")
            else:
                text = "".join(output.get("text") or data.get("text/plain", ""))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
