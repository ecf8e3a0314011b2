"""The tables that an evaluation prints."""

from collections.abc import Callable

from spikepropamine.report.evaluation import SPLITS, Estimate, Evaluation

MANY_CONDITIONS = 10  # from so many on, a table has a line for each condition, and one measure

PACE = "pace"
WHAT_PACE_IS = (
    "(pace: in steps 100 to 200 of a context, relative to the teacher that is told, 1, and to "
    "random actions, 0)"
)
NOTHING_KEPT = (
    "(no retention: no run earns significantly more than random actions and standing still)"
)
Measure = Callable[[str, str], Estimate | None]


def tables(found: Evaluation) -> str:
    """Plain text: every policy in every condition; and, where there are many, the policies."""
    measures = _measures(found)
    conditions = {policy: found.conditions_of(policy) for policy in found.policies}
    legend = f"\n{WHAT_PACE_IS}" if PACE in measures else ""
    if list(measures) == ["return"] and any(c.perturbs for c in found.conditions.values()):
        legend += f"\n{NOTHING_KEPT}"
    if len(found.conditions) <= MANY_CONDITIONS:
        rows = [["policy", "condition", *measures]]
        for policy, evaluated in conditions.items():
            for i, c in enumerate(evaluated):  # the policy's name once
                cells = [_cell(of(policy, c.key)) for of in measures.values()]
                rows.append(["" if i else policy, c.key, *cells])
        return _aligned(rows) + legend
    # where nothing was learned, there is nothing to be kept
    asked = next((measure for measure in measures if measure != "return"), "return")
    by_condition = [["condition", *found.policies]]
    for c in found.conditions.values():
        cells = [_cell(measures[asked](p, c.key)) if c in evaluated else ""
                 for p, evaluated in conditions.items()]  # fmt: skip
        by_condition.append([c.key, *cells])
    rows = [["policy", "lesion", "return", *(f"retention, {split}" for split in SPLITS)]]
    for policy, evaluated in conditions.items():
        for c in evaluated:
            if not c.perturbs:
                kept = [_cell(found.overall(policy, c.lesion, split)) for split in SPLITS]
                rows.append([policy, c.lesion or "", _cell(found.returns(policy, c.key)), *kept])
    legend = legend or f"\n({asked})"
    return f"{_aligned(by_condition)}{legend}\n\n{_aligned(rows)}"


def _measures(found: Evaluation) -> dict[str, Measure]:
    """What a row of results has, by name; columns without values are left out."""

    def of(measure: str) -> Measure:
        return lambda policy, key: found.measured(policy, key, measure)

    def pace(policy: str, key: str) -> Estimate | None:
        """Of the contexts that episodes begin with, else of later ones."""
        first = found.estimate(policy, key, "settled_pace")
        return first or found.estimate(policy, key, "later_settled_pace")

    every = {"late accuracy": of("late accuracy"), PACE: pace, "return": of("return")}
    every["retention"] = of("retention")
    where = [(policy, c.key) for policy in found.policies for c in found.conditions_of(policy)]
    there = {name: get for name, get in every.items() if any(get(*place) for place in where)}
    if "late accuracy" in there:
        there = {name: there[name] for name in ("late accuracy", "return")}
    return there


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cell(score: Estimate | None) -> str:
    return "-" if score is None else score.text()
