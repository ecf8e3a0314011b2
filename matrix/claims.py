"""Whether the claims of a page are no larger than their comparisons, as far as a machine can tell.

In the section "Results" a sentence that compares ("better", "ahead", "more than", "level" and the
like) has to refer to rows of a table of comparisons, in the section that it links to. The verdicts
of the references are those of the tables, and one of them is of the sentence's kind; whether the
sentence says what they say is for its readers:

    On HalfCheetah it is ahead ([HalfCheetah-v5: `ndp-oja` ahead of `mlp`](docs/results.md#...)).

There and in the section "Claims", an estimate that comes with an interval is in a table.
"""

import re
from collections.abc import Iterator

from spikepropamine.matrix.tables import AHEAD, BEHIND, EVEN

CLAIM = re.compile(
    r"\b(better|worse|ahead|behind|beats?|more than|level|cannot be told)\b", re.IGNORECASE
)
REFERENCE = re.compile(
    rf"\[([^\]:]+): `(\S+)` ({AHEAD}|{BEHIND}|{EVEN}) `(\S+)`\]\([^)#]*#?([^)]*)\)"
)
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


def unsupported(page: str, results: str) -> list[str]:
    """What is wrong with the claims of a page, one line each.

    Args:
        page: Markdown; its sections "## Results" and "## Claims" are read.
        results: Markdown with the tables.
    """
    sections = {"": results} | _sections_of(results)
    tabled = set(ESTIMATE.findall("\n".join(re.findall(r"^\|.*$", results, re.MULTILINE))))
    tabled |= {(_negative(value), _negative(b), _negative(a)) for value, a, b in tabled}
    found = []
    for title in ("Results", "Claims"):
        for sentence in _sentences(page, title):
            for value, *ends in ESTIMATE.findall(sentence):
                if (value, *ends) not in tabled:
                    found.append(f"no table has {value} [{', '.join(ends)}]: {sentence}")
    for sentence in _sentences(page, "Results"):
        references = REFERENCE.findall(sentence)
        if CLAIM.search(REFERENCE.sub("", sentence)) and not references:
            found.append(f"no comparison is named: {sentence}")
        plain, kinds = REFERENCE.sub("", sentence), {said for _, _, said, _, _ in references}
        for words, fitting in MEANT:
            if references and words.search(plain) and not kinds & fitting:
                found.append(f"none of the comparisons says so: {sentence}")
        for task, one, said, other, anchor in references:
            there = _said(sections.get(anchor, ""), task, one, other)
            where = f" in #{anchor}" if anchor else ""
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


def _sections_of(text: str) -> dict[str, str]:
    """The text below each heading, as far as the next one that is no deeper, by anchor."""
    headings = list(HEADING.finditer(text))
    sections: dict[str, str] = {}
    for index, heading in enumerate(headings):
        deep = len(heading[1])
        ends = (other.start() for other in headings[index + 1 :] if len(other[1]) <= deep)
        anchor = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
        sections[anchor] = text[heading.end() : next(ends, len(text))]
    return sections


def _sentences(page: str, title: str) -> Iterator[str]:
    """Of the section of this title, without tables, comments and headings."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if section is None:
        return
    text = re.sub(r"^[|<#].*$", "", section[1], flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        yield from filter(None, re.split(r"(?<=[.!?])\s+(?=[A-Z`\[*])", flat))
