"""One self-contained HTML page: sections of text, tables that sort, interactive plots,
videos.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jinja2
from markupsafe import Markup

from spikepropamine.common import require
from spikepropamine.reading import read_text
from spikepropamine.report.columns import Column, Item, cells_of
from spikepropamine.report.paint import paint, styles
from spikepropamine.words import number

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A cell whose text does not sort as it should: `order` does. None sorts last."""

    text: str
    order: float | str | None


@dataclass(frozen=True)
class Text:
    """Paragraphs, or with `bullets` a list; with `folded`, shown when that title is
    opened.

    Items of type Markup may hold HTML.
    """

    items: Sequence[str]
    bullets: bool = False
    folded: str = ""
    kind: ClassVar = "text"


class Table:
    """A table that sorts by a click on the head of a column.

    Cells are strings, numbers, None (a dash), `Cell` or Markup; columns in which
    nothing stands are left out.

    Attributes:
        columns: those that are shown.
        rows: their cells.
        caption: above the table; empty: none.
    """

    kind: ClassVar = "table"

    def __init__(
        self, columns: Sequence[Column[Item]], items: Iterable[Item], caption: str = ""
    ) -> None:
        rows = [cells_of(columns, item) for item in items]
        shown = [
            index
            for index in range(len(columns))
            if any(row[index] is not None for row in rows)
        ]
        self.columns = [columns[index] for index in shown]
        self.rows = [[row[index] for index in shown] for row in rows]
        self.caption = caption

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers, which are set flush right."""
        return [self._is_numeric(index) for index in range(len(self.columns))]

    def _is_numeric(self, index: int) -> bool:
        orders = [order_of(row[index]) for row in self.rows]
        has_text = any(isinstance(order, str) for order in orders)
        return not has_text and any(order is not None for order in orders)


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
    """A part of the page with an entry in its contents; left out where all that its
    texts are about is empty.
    """

    title: str
    blocks: Sequence[Text | Table | Plots | Videos]

    @property
    def shown(self) -> list[Text | Table | Plots | Videos]:
        """The blocks that hold anything."""
        held = [block for block in self.blocks if getattr(block, CONTENT[type(block)])]
        only_texts = all(isinstance(block, Text) for block in held)
        if only_texts and len(held) < len(self.blocks):
            return []
        return held

    @property
    def anchor(self) -> str:
        """What a link to it ends with."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def render(
    title: str, subtitle: str, sections: Sequence[Section], version: str = ""
) -> str:
    """The page as HTML, with its styles, scripts and data inside.

    Args:
        title: its head, plain text.
        subtitle: the line below it, plain text.
        sections: from top to bottom; those without content are left out.
        version: of a page that is served, which reloads when `version` beside it says
            another one; empty: it does not.
    """
    sections = [section for section in sections if section.shown]
    blocks = [block for section in sections for block in section.shown]
    plots = any(isinstance(block, Plots) for block in blocks)
    return _template().render(
        title=title,
        subtitle=subtitle,
        version=version,
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


def show(cell: object) -> str:
    """What a cell shows."""
    if cell is None:
        return "\u2013"
    if isinstance(cell, Cell):
        return cell.text
    if isinstance(cell, str):
        return cell
    return number(cell) if isinstance(cell, float) else str(cell)


def unbroken(text: str) -> Markup:
    """Keeps names such as ndp-oja on one line."""
    whole = Markup("<span class=unbroken>{}</span>")
    words = [whole.format(word) if "-" in word else word for word in text.split(" ")]
    return Markup(" ").join(words)


def templates(**options: Any) -> jinja2.Environment:
    """What reads the templates of this folder, in which nothing may be undefined."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


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
    require("vl_convert", "pages", "a page with plots")
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")
