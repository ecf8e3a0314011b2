"""Whether the claims of a page are no larger than their comparisons, as far as a machine can tell.

In the section "Results" a sentence that compares ("better", "ahead", "more than", "level" and the
like) has to refer to rows of a table of comparisons, by the titles of its links, in the sections
that they lead to. The verdicts of the references are those of the tables, and one of them is of
the sentence's kind; whether the sentence says what they say is for its readers:

    On Ant it is [ahead](docs/results/robots.md#comparisons "Ant-v5: ndp-oja ahead of mlp").

There and in the section "Claims", an estimate that comes with an interval is in a table.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from spikepropamine.matrix.tables import AHEAD, BEHIND, EVEN

CLAIM = re.compile(
    r"\b(better|worse|ahead|behind|beats?|more than|level|cannot be told)\b", re.IGNORECASE
)
LINK = re.compile(r'\[([^\]]*)\]\(([^)\s#]*)#?([^)\s]*) "([^"]*)"\)')
TITLE = re.compile(rf"(.+): (\S+) ({AHEAD}|{BEHIND}|{EVEN}) (\S+)")
SOME = r"(?: \(\d+ of \d+ seeds\))?"
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
ROW = re.compile(
    rf"^\| ([^|]+?) \| `(\S+)`{SOME} \| ({AHEAD}|{BEHIND}|{EVEN}) \| `(\S+)`{SOME} \|",
    re.MULTILINE,
)
MEANT = (
    (re.compile(r"\b(ahead|behind|beats?)\b"), {AHEAD, BEHIND}),
    (re.compile(r"\bcannot be told\b"), {EVEN}),
)
NUMBER = r"(-?\d[\d,.]*)"
ESTIMATE = re.compile(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]")
TURNED = {AHEAD: BEHIND, BEHIND: AHEAD, EVEN: EVEN}


def unsupported(page: Path, texts: Mapping[Path, str]) -> list[str]:
    """What is wrong with the claims of a page, one line each.

    Args:
        page: its sections "## Results" and "## Claims" are read.
        texts: Markdown of this page and of those with the tables, by path.
    """
    rows = re.findall(r"^\|.*$", "\n".join(texts.values()), re.MULTILINE)
    tabled = set(ESTIMATE.findall("\n".join(rows)))
    tabled |= {(_negative(value), _negative(b), _negative(a)) for value, a, b in tabled}
    found = []
    for title in ("Results", "Claims"):
        for sentence in _sentences(texts[page], title):
            for value, *ends in ESTIMATE.findall(sentence):
                if (value, *ends) not in tabled:
                    found.append(f"no table has {value} [{', '.join(ends)}]: {sentence}")
    for sentence in _sentences(texts[page], "Results"):
        references, plain = [], LINK.sub(r"\1", sentence)
        for _, file, anchor, name in LINK.findall(sentence):
            if said := TITLE.fullmatch(name):
                references.append((*said.groups(), file, anchor))
            else:
                found.append(f"the title of a link names no comparison, {name!r}: {sentence}")
        if CLAIM.search(plain) and not references:
            found.append(f"no comparison is named: {sentence}")
        kinds = {said for _, _, said, *_ in references}
        for words, fitting in MEANT:
            if references and words.search(plain) and not kinds & fitting:
                found.append(f"none of the comparisons says so: {sentence}")
        for task, one, said, other, file, anchor in references:
            target = Path(os.path.normpath(page.parent / file)) if file else page
            text = texts.get(target, "")
            there = _said(_section(text, anchor) if anchor else text, task, one, other)
            where = f" in {target}#{anchor}" if anchor else f" in {target}"
            if not there:
                found.append(f"there is no comparison of {one} and {other} on {task}{where}")
            elif there != {said}:
                verdicts = " and ".join(sorted(there))
                found.append(f"on {task}, {one} {verdicts} {other}{where}, not: {said}")
    return found


def _negative(number: str) -> str:
    return number[1:] if number.startswith("-") else f"-{number}"


def _said(text: str, task: str, one: str, other: str) -> set[str]:
    """What the tables in a text say of two policies."""
    rows = ROW.findall(text)
    turned = [(of, second, TURNED[said], first) for of, first, said, second in rows]
    names = task, one, other
    return {said for of, first, said, second in rows + turned if (of, first, second) == names}


def _section(text: str, anchor: str) -> str:
    """The text below the heading of this anchor, as far as the next one that is no deeper."""
    headings = list(HEADING.finditer(text))
    for index, heading in enumerate(headings):
        if re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-") == anchor:
            deep = len(heading[1])
            ends = (other.start() for other in headings[index + 1 :] if len(other[1]) <= deep)
            return text[heading.end() : next(ends, len(text))]
    return ""


def _sentences(page: str, title: str) -> Iterator[str]:
    """Of the section of this title, without tables, comments and headings."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if section is None:
        return
    text = re.sub(r"^[|<#].*$", "", section[1], flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        yield from filter(None, re.split(r"(?<=[.!?])\s+(?=[A-Z`\[*])", flat))
