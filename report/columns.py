"""Columns of tables: a title, and what makes the cells below it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A column of a table, whose rows are of items of one kind."""

    title: str
    cell: Callable[[Item], Any]
    about: str = ""  # a sentence that says what it shows


def cells_of(columns: Sequence[Column[Item]], item: Item) -> list[Any]:
    """The cells of a row."""
    return [column.cell(item) for column in columns]


def markdown(
    columns: Sequence[Column[Item]], items: Iterable[Item], rule: str = "---"
) -> str:
    """A table in Markdown.

    Args:
        columns: from left to right.
        items: one for each row.
        rule: stands below the head of each column.

    Returns:
        The table, without a line break at its end.
    """
    rows = [[column.title for column in columns]]
    rows += [list(map(str, cells_of(columns, item))) for item in items]
    head, *lines = [f"| {' | '.join(row)} |" for row in rows]
    below = f"|{'|'.join([rule] * len(columns))}|"
    return "\n".join([head, below, *lines])
