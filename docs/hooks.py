"""What `mkdocs` does besides, for pages that are read in the checkout too.

The help of every command becomes a page. The page of `play` is copied, where it is
built. Equations become MathML. A link out of docs/ is checked and becomes the name of
the file, since the site does not have it.
"""

import contextlib
import html
import io
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

from spikepropamine.__main__ import COMMANDS, main

DOCS = Path(__file__).resolve().parent
PLAYED = DOCS.parent / "export" / "assets"
"""The page of `spikepropamine play`, which `make page` builds."""
PICTURE = re.compile(r"!\[[^\]]*\]\(unplug\.webp\)")
"""Of the page, which stands for it where it is not built."""
OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s#]*)(?:#[^)]*)?\)")
EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)
log = get_plugin_logger("hooks")


def on_files(files: Files, config: Any) -> Files:
    """Adds a page of all commands, and the files of the page of `play`."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    for file in sorted(PLAYED.rglob("*")):
        if file.is_file():
            path = f"unplug/{file.relative_to(PLAYED).as_posix()}"
            files.append(File.generated(config, path, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Names files of the checkout in the place of links to them.

    Args:
        markdown: of the page.
        page: of mkdocs.
    """

    def named(match: re.Match[str]) -> str:
        text, target = match.groups()
        there = (DOCS / page.file.src_uri).parent.joinpath(target).resolve()
        if there.is_relative_to(DOCS):
            return match.group()
        if not there.exists():
            log.warning(f"{page.file.src_uri} refers to {target}, which is not there")
        path = there.relative_to(DOCS.parent).as_posix()
        return text if path in text else f"{text} (`{path}`)"

    markdown = OUTSIDE.sub(named, markdown)
    return PICTURE.sub(played, markdown)


def played(picture: re.Match[str]) -> str:
    """The page of `play` in a frame; its picture, and why, where it is not built."""
    if not (PLAYED / "index.html").is_file():
        why = "*The page is not built here: `make page` builds it, with Node 20.*"
        return f"{picture.group()}\n\n{why}"
    return (
        '<p><a class="md-button" href="unplug/index.html">'
        "Open it on a page of its own</a></p>"
        '<iframe class="unplug" src="unplug/index.html" title="Unplug"></iframe>'
    )


def on_page_content(content: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw without a script."""

    def drawn(match: re.Match[str]) -> str:
        _, bracket, latex = match.groups()
        return convert(
            html.unescape(latex), display="block" if bracket == "[" else "inline"
        )

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
