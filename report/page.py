"""One self-contained HTML page: sections of text, tables that sort, interactive plots, videos."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import vl_convert
from markupsafe import Markup

from spikepropamine.reading import read_text
from spikepropamine.report.colours import paint, styles
from spikepropamine.words import number

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A cell whose text does not sort as it should: `order` does. None sorts last."""

    text: str
    order: float | str | None


@dataclass(frozen=True)
class Text:
    """Paragraphs, or with `bullets` a list; with `folded`, shown when that title is opened.

    Items of type Markup may hold HTML.
    """

    items: Sequence[str]
    bullets: bool = False
    folded: str = ""
    kind: ClassVar = "text"


class Table:
    """A table that sorts by a click on the head of a column. Cells are strings, numbers, None (a
    dash), `Cell` or Markup; columns in which nothing stands are left out.
    """

    kind: ClassVar = "table"

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = ""
    ) -> None:
        keep = [
            k for k in range(len(columns)) if any(row[k] is not None for row in rows)
        ]
        self.columns = [columns[k] for k in keep]
        self.rows = [[row[k] for k in keep] for row in rows]
        self.caption = caption

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers, which are set flush right."""
        return [
            any(isinstance(order_of(row[i]), int | float) for row in self.rows)
            and all(not isinstance(order_of(row[i]), str) for row in self.rows)
            for i in range(len(self.columns))
        ]


@dataclass(frozen=True)
class Plot:
    """A Vega-Lite chart with a title; `legend` has policies."""

    title: str
    chart: Mapping[str, Any]
    legend: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class Plots:
    """Charts side by side, as many as fit, or with `wide` one below the other."""

    plots: Sequence[Plot]
    wide: bool = False
    kind: ClassVar = "plots"


@dataclass(frozen=True)
class Videos:
    """Videos beside the page: {title: address relative to it}."""

    addresses: Mapping[str, str]
    kind: ClassVar = "videos"


CONTENT = {Text: "items", Table: "rows", Plots: "plots", Videos: "addresses"}


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its contents; left out where all that its texts are about
    is empty.
    """

    title: str
    blocks: Sequence[Text | Table | Plots | Videos]

    @property
    def shown(self) -> list[Text | Table | Plots | Videos]:
        """The blocks that hold anything."""
        held = [block for block in self.blocks if getattr(block, CONTENT[type(block)])]
        alone = all(isinstance(block, Text) for block in held) and len(held) < len(
            self.blocks
        )
        return [] if alone else held

    @property
    def anchor(self) -> str:
        """What a link to it ends with."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as HTML, with its styles, scripts and data inside. Text is escaped."""
    sections = [section for section in sections if section.shown]
    plots = any(
        isinstance(block, Plots) for section in sections for block in section.shown
    )
    return _template().render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        style=Markup(read_text(FOLDER / "page.css")),
        script=Markup(read_text(FOLDER / "page.js")),
        colours=Markup(styles()),
        vega=Markup(_vega()) if plots else "",
    )


def order_of(cell: Any) -> float | str | None:
    """What a cell sorts by."""
    if isinstance(cell, Markup):
        return cell.striptags()
    return cell.order if isinstance(cell, Cell) else cell


def show(cell: Any) -> str:
    """What a cell shows."""
    if cell is None:
        return "\u2013"
    if isinstance(cell, Cell):
        return cell.text
    return (
        cell
        if isinstance(cell, str)
        else number(cell)
        if isinstance(cell, float)
        else str(cell)
    )


def unbroken(text: str) -> Markup:
    """Keeps names such as ndp-oja on one line."""
    whole = Markup("<span class=unbroken>{}</span>")
    return Markup(" ").join(whole.format(x) if "-" in x else x for x in text.split(" "))


def templates(**options: Any) -> jinja2.Environment:
    """What reads the templates of this folder, in which nothing may be undefined."""
    loader, undefined = jinja2.FileSystemLoader(FOLDER), jinja2.StrictUndefined
    shape: Any = dict.fromkeys(
        ("trim_blocks", "lstrip_blocks", "keep_trailing_newline"), True
    )
    return jinja2.Environment(loader=loader, undefined=undefined, **shape, **options)


@functools.cache
def _template() -> jinja2.Template:
    environment = templates(autoescape=True)
    filters = {"show": show, "order": order_of, "unbroken": unbroken, "paint": paint}
    environment.filters |= filters
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "allow_nan": False,
    }
    return environment.get_template("page.html")


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(
        "</script", "<\\/script"
    )
