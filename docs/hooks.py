"""What `mkdocs` does besides, for pages that are read in the checkout too.

Every setting and the help of every command become pages, and so does the notebook. The
page of `play` is copied, where it is built. Equations become MathML. A link out of
docs/ is checked and becomes the name of the file, since the site does not have it.
"""

import html
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

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
    """Adds pages that are made from the code, the notebook, and the page of `play`."""
    pages = _module("generated").PAGES | _module("notebook").PAGES
    for place, content in pages.items():
        files.append(File.generated(config, place, content=content()))
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


def _module(name: str) -> ModuleType:
    """A file beside this one, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
