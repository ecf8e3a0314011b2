"""The tables that an evaluation prints."""

from typing import Any

from spikepropamine.evaluation.schema import CLEAN_KEY, Score, Summary

MANY_CONDITIONS = 10  # from so many on, no table or figure has room for all of them


def tables(summary: Summary) -> str:
    """Plain text: every policy in every condition; and, where there are many, the policies."""
    results: Any = summary["results"]
    conditions = summary["conditions"]
    has_trials = any(r["late_accuracy"] for of in results.values() for r in of.values())
    shown = ["late_accuracy", "return"] if has_trials else ["return", "retention"]
    if len(conditions) <= MANY_CONDITIONS:
        rows = [["policy", "condition", *(m.replace("_", " ") for m in shown)]]
        for name, of in results.items():
            for key, result in of.items():
                rows.append([name, key, *(_cell(result[m]) for m in shown)])
                name = ""  # once per policy
        return _aligned(rows)
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
    measure = "late_accuracy" if has_trials else "retention"
    for c in conditions:
        cells = [_cell(of[c["key"]][measure]) if c["key"] in of else "" for of in results.values()]
        by_condition.append([c["key"], *cells])
    return f"{_aligned(by_condition)}\n({measure.replace('_', ' ')})\n\n{_aligned(rows)}"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
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
