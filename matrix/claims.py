"""Whether the claims of a page are no larger than their comparisons, as far as a machine can tell.

In the section "Results" a sentence that compares ("better", "ahead", "more than", "level") has to
refer to rows of a table of comparisons, which says the same:

    On HalfCheetah it is ahead ([HalfCheetah-v5: `ndp-oja` ahead of `mlp`](docs/results.md#...)).
"""

import re
from collections.abc import Iterator

from spikepropamine.matrix.tables import AHEAD, BEHIND, EVEN

CLAIM = re.compile(r"\b(better|ahead|more than|level)\b", re.IGNORECASE)
REFERENCE = re.compile(rf"\[([^\]:]+): `(\S+)` ({AHEAD}|{BEHIND}|{EVEN}) `(\S+)`\]\([^)]*\)")
ROW = re.compile(
    rf"^\| ([^|]+?) \| `(\S+)` \| ({AHEAD}|{BEHIND}|{EVEN}) \| `(\S+)` \|", re.MULTILINE
)
TURNED = {AHEAD: BEHIND, BEHIND: AHEAD, EVEN: EVEN}


def unsupported(page: str, results: str) -> list[str]:
    """What is wrong with the claims of a page, one line each.

    Args:
        page: Markdown; its section "## Results" is read.
        results: Markdown with the tables of comparisons.
    """
    rows = {(task, one, other): said for task, one, said, other in ROW.findall(results)}
    rows |= {(task, other, one): TURNED[said] for (task, one, other), said in rows.items()}
    found = []
    for sentence in _sentences(page):
        references = REFERENCE.findall(sentence)
        if CLAIM.search(REFERENCE.sub("", sentence)) and not references:
            found.append(f"no comparison is named: {sentence}")
        for task, one, said, other in references:
            there = rows.get((task, one, other))
            if there is None:
                found.append(f"there is no comparison of {one} and {other} on {task}")
            elif there != said:
                found.append(f"on {task}, {one} {there} {other}, not: {said}")
    return found


def _sentences(page: str) -> Iterator[str]:
    """Of the section "Results", without tables, comments and headings."""
    section = re.search(r"^## Results\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if section is None:
        return
    text = re.sub(r"^[|<#].*$", "", section[1], flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        flat = " ".join(paragraph.split())
        yield from filter(None, re.split(r"(?<=[.!?])\s+(?=[A-Z`\[*])", flat))
