"""Names in a summary, and parts of it that pages, figures and cards ask for."""

from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.judge.cost import total
from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    ConditionSummary,
    ContextScores,
    Result,
    Score,
    Summary,
)


def lesion_name(lesion: str) -> str:
    """In words."""
    return LESIONS[lesion].words if lesion in LESIONS else lesion.replace("-", " ")


def network_name(lesion: str | None) -> str:
    """The same of a network that may have none."""
    return "as trained" if lesion is None else lesion_name(lesion)


def condition_name(condition: ConditionSummary, severity: bool = True, onset: bool = True) -> str:
    """A condition without its lesion, for example "heavier, severity 0.5, from step 500"."""
    if not perturbs(condition):
        return "clean task"
    parts = [condition["label"]]
    if severity and condition["severity"] is not None:
        parts.append(f"severity {condition['severity']:g}")
    if onset and condition["onset"] is not None and condition["label"] != condition["text"]:
        first, last = condition["onset"], condition["last_onset"]
        parts.append(f"from step {first}" if first == last else f"from step {first} to {last} on")
    return ", ".join(parts)


def severest(summary: Summary) -> list[ConditionSummary]:
    """Of each label that perturbs, the intact condition of the highest severity."""
    found: dict[str, ConditionSummary] = {}
    for condition in summary["conditions"]:
        if condition["lesion"] is not None or not perturbs(condition):
            continue
        best = found.get(condition["label"])
        if best is None or (condition["severity"] or 0) > (best["severity"] or 0):
            found[condition["label"]] = condition
    return list(found.values())


def perturbs(condition: ConditionSummary) -> bool:
    """Whether the condition changes the task, rather than the policy alone."""
    return condition["intact"] != CLEAN_KEY


def lesioned(summary: Summary, intact: str, lesion: str) -> str | None:
    """Key of the lesioned form of an intact condition, if there is one."""
    for condition in summary["conditions"]:
        if condition["intact"] == intact and condition["lesion"] == lesion:
            return condition["key"]
    return None


def context_scores(result: Result | None) -> dict[str, ContextScores]:
    """By "first" and "later", of the contexts that there are."""
    if result is None or result["adaptation"] is None:
        return {}
    adaptation = result["adaptation"]
    found = {"first": adaptation["first"], "later": adaptation["later"]}
    return {part: scores for part, scores in found.items() if scores is not None}


def has_no_plasticity(summary: Summary, policy: str) -> bool:
    """Whether it has none that works, by the operations of one clean episode."""
    return not any(total(summary["cost"][policy], "plasticity").values())


def share_kept(summary: Summary, policy: str, lesion: str = "intact") -> Score | None:
    """Mean retention over all perturbed conditions."""
    return summary["overall"].get(policy, {}).get(lesion, {}).get("all")
