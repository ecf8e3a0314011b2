"""The tables that an evaluation prints."""

from collections.abc import Callable
from typing import Any

from spikepropamine.evaluation.schema import CLEAN_KEY, Score, Summary
from spikepropamine.report.reading import context_scores

MANY_CONDITIONS = 10  # from so many on, no table or figure has room for all of them

PACE = "pace"
WHAT_PACE_IS = (
    "(pace: in steps 100 to 200 of a context, relative to the teacher that is told, 1, and to "
    "random actions, 0)"
)

NOTHING_KEPT = (
    "(no retention: no policy is shown to earn more than random actions and standing still)"
)


def tables(summary: Summary) -> str:
    """Plain text: every policy in every condition; and, where there are many, the policies."""
    results: Any = summary["results"]
    conditions = summary["conditions"]
    measures = _measures([r for of in results.values() for r in of.values()])
    legend = f"\n{WHAT_PACE_IS}" if PACE in measures else ""
    kept_nothing = list(measures) == ["return"] and len(conditions) > 1
    reason = f"\n{NOTHING_KEPT}" if kept_nothing else ""
    if len(conditions) <= MANY_CONDITIONS:
        rows = [["policy", "condition", *measures]]
        for name, of in results.items():
            for key, result in of.items():
                rows.append([name, key, *(_cell(part(result)) for part in measures.values())])
                name = ""  # once per policy
        return _aligned(rows) + legend + reason
    overall: Any = summary["overall"]
    splits = [
        s
        for s in ("all", "train", "held-out")
        if any(s in of.get("intact", {}) for of in overall.values())
    ]
    rows = [["policy", "lesion", "return", *(f"retention, {split}" for split in splits)]]
    for name, of in results.items():
        for lesion in [None, *summary["settings"]["lesions"]]:
            keys = [
                c["key"]
                for c in conditions
                if c["lesion"] == lesion and c["intact"] == CLEAN_KEY and c["key"] in of
            ]
            kept = overall[name].get(lesion or "intact", {})
            if keys:
                cells = [_cell(of[keys[0]]["return"]), *(_cell(kept.get(s)) for s in splits)]
                rows.append([name, lesion or "", *cells])
    by_condition = [["condition", *results]]
    # where nothing was learned, there is nothing to be kept
    asked = next((measure for measure in measures if measure != "return"), "return")
    for c in conditions:
        found = [of.get(c["key"]) for of in results.values()]
        by_condition.append([c["key"], *(_cell(measures[asked](r)) if r else "" for r in found)])
    legend = legend or f"\n({asked})"
    return f"{_aligned(by_condition)}{legend}{reason}\n\n{_aligned(rows)}"


def _measures(results: list[Any]) -> dict[str, Callable[[Any], Score | None]]:
    """What a row of results has, by name."""

    def earned(result: Any) -> Score | None:
        return result["return"]

    if any(result["late_accuracy"] for result in results):
        return {"late accuracy": lambda result: result["late_accuracy"], "return": earned}
    relative = {PACE: _pace, "retention": lambda result: result["retention"]}
    pace, kept = ({name: of} if any(map(of, results)) else {} for name, of in relative.items())
    return pace | {"return": earned} | kept


def _pace(result: Any) -> Score | None:
    """Of the contexts that episodes begin with, else of later ones."""
    paces = (scores["settled_pace"] for scores in context_scores(result).values())
    return next((pace for pace in paces if pace is not None), None)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    if score["interval"] is None:
        return f"{_number(score['mean'])} [?]"
    low, high = score["interval"]
    return f"{_number(score['mean'])} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )
