"""What an evaluation found, in sentences computed from its summary."""

from collections.abc import Mapping
from typing import Any

from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.report.words import (
    Score,
    listed,
    number,
    percent,
    plural,
    with_interval,
)
from spikepropamine.evaluation.schema import CLEAN_KEY

FEW_SEEDS = 5
FEW_EPISODES = 20


def lesion_name(lesion: str) -> str:
    """In words."""
    return LESIONS[lesion].words if lesion in LESIONS else lesion.replace("-", " ")


def condition_name(
    summary: Mapping[str, Any],
    condition: Mapping[str, Any],
    severity: bool = True,
    onset: bool = True,
) -> str:
    """A condition without its lesion, for example "heavier, severity 0.5, from step 500"."""
    if not perturbs(summary, condition):
        return "clean task"
    parts = [condition["label"]]
    if severity and condition["severity"] is not None:
        parts.append(f"severity {condition['severity']:g}")
    if onset and condition["onset"] is not None and condition["label"] != condition["text"]:
        parts.append(f"from step {condition['onset']}")
    return ", ".join(parts)


def severest(summary: Mapping[str, Any], lesion: str | None = None) -> list[dict[str, Any]]:
    """Of each label that perturbs, the condition of the highest severity."""
    found: dict[str, dict[str, Any]] = {}
    for condition in summary["conditions"]:
        if condition["lesion"] != lesion or not perturbs(summary, condition):
            continue
        best = found.get(condition["label"])
        if best is None or (condition["severity"] or 0) > (best["severity"] or 0):
            found[condition["label"]] = condition
    return list(found.values())


def perturbs(summary: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether the condition changes the task, rather than the policy alone."""
    return bool(condition["intact"] != CLEAN_KEY)


def lesioned(summary: Mapping[str, Any], intact: str, lesion: str) -> str | None:
    """Key of the lesioned form of an intact condition, if there is one."""
    for condition in summary["conditions"]:
        if condition["intact"] == intact and condition["lesion"] == lesion:
            return str(condition["key"])
    return None


def has_no_plasticity(summary: Mapping[str, Any], policy: str) -> bool:
    """Whether every episode with plasticity off is the same as with it, or there is none such."""
    lesions = summary["lesions"].get(policy, {}).get("off", {})
    return all(part["identical"] for part in lesions.values())


def share_kept(summary: Mapping[str, Any], policy: str, lesion: str = "intact") -> Score | None:
    """Mean retention over all perturbed conditions."""
    by_split: Mapping[str, Score] = summary["overall"].get(policy, {}).get(lesion, {})
    return by_split.get("all")


def verdict(summary: Mapping[str, Any], policy: str) -> list[str]:
    """Sentences on one policy; the first one begins after its name: "earns 4,572 ..."."""
    clean, kept = _clean(summary, policy), _kept(summary, policy)
    trials = summary["results"][policy][CLEAN_KEY]["accuracy_by_trial"]
    if kept and not trials:
        # what is kept is the question; what there is to keep comes after it
        kept = [kept[0].removeprefix("It "), f"In the clean task it {clean}", *kept[1:]]
    else:
        kept = [clean, *kept]
    return [*kept, *_recovered(summary, policy), *_cause(summary, policy)]


def comparisons(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each two policies of which one is shown to be better, and one on the rest."""
    every = summary["comparisons"]
    shown = []
    for comparison in every:
        low, high = comparison["difference"]["interval"]
        if low > 0 or high < 0:
            shown.append(comparison)
    sentences = [_compared(summary, comparison) for comparison in shown]
    rest = len(every) - len(shown)
    if rest:
        which = "The other comparisons leave" if shown else "Comparisons between policies leave"
        sentences.append(f"{which} it open which policy is better.")
    return sentences


def caveats(summary: Mapping[str, Any]) -> list[str]:
    """What the numbers cannot tell."""
    sentences = []
    counts = {name: len(part["training_seeds"]) for name, part in summary["policies"].items()}
    once = [name for name, count in counts.items() if count == 1]
    few = [f"{name} {count}" for name, count in counts.items() if 1 < count < FEW_SEEDS]
    if once:
        sentences.append(
            f"Trained once: {listed(once)}. Intervals are then over episodes, and say nothing "
            "about how another training run would have turned out."
        )
    if few:
        sentences.append(
            f"Few training seeds ({listed(few)}): intervals over so few runs are rough. Take "
            "differences as indications."
        )
    if summary["settings"]["episodes"] < FEW_EPISODES:
        episodes = plural(summary["settings"]["episodes"], "episode")
        sentences.append(f"Only {episodes} per condition and run: small effects cannot be seen.")
    for name, part in summary["policies"].items():
        if part["dead_seeds"]:
            seeds = listed([f"seed {seed}" for seed in part["dead_seeds"]])
            sentences.append(
                f"{name} hardly got beyond random actions in training {seeds}, "
                "which all numbers include."
            )
    return sentences


def _clean(summary: Mapping[str, Any], policy: str) -> str:
    clean = summary["results"][policy][CLEAN_KEY]
    late, trials = clean["late_accuracy"], clean["accuracy_by_trial"]
    if late is None:
        by_chance = number(summary["policies"][policy]["random_return"])
        earned = with_interval(clean["return"])
        return f"earns {earned} an episode (random actions: {by_chance})."
    text = f"is right in {with_interval(late, as_percent=True)} of the late trials"
    if summary["settings"]["chance"] is not None:
        text += f", {_against_chance(late, summary['settings']['chance'])}"
    if trials and len(trials) > 1:
        first = f"{percent(trials[0]['mean'])} of the first trials"
        learns = late["interval"][0] > trials[0]["interval"][1]
        text += f", after {first}: " + (
            "it learns inside the episode" if learns else "no clear rise inside the episode"
        )
    return f"{text}."


def _kept(summary: Mapping[str, Any], policy: str) -> list[str]:
    """How much of the return is kept under perturbations, with plasticity and without."""
    results = summary["results"][policy]
    kept = [
        (results[condition["key"]]["retention"], condition)
        for condition in severest(summary)
        if condition["key"] in results and results[condition["key"]]["retention"] is not None
    ]
    if not kept:
        return []
    kept.sort(key=lambda item: item[0]["mean"])
    shares = []
    for score, condition in kept:
        where = f"with “{condition_name(summary, condition)}”"
        key = lesioned(summary, condition["key"], "off")
        part = results.get(key, {}).get("retention") if key else None
        if part is not None and not has_no_plasticity(summary, policy):
            where += f" (plasticity off: {_share(part)})"
        shares.append((_share(score), where))
    (least, hardest), (most, easiest) = shares[0], shares[-1]
    intact = [c for c in summary["conditions"] if c["lesion"] is None and perturbs(summary, c)]
    if len(intact) == 1:
        return [f"It keeps {least} of its return {hardest}."]
    sentences = []
    overall, off = share_kept(summary, policy), share_kept(summary, policy, "off")
    if overall is not None:
        text = f"It keeps {_share(overall)} of its return, on average over all perturbed conditions"
        if off is not None and not has_no_plasticity(summary, policy):
            text += f"; with plasticity off {_share(off)}"
        sentences.append(f"{text}.")
    if len(kept) == 1:
        return [*sentences, f"It keeps {least} at the highest severity, {hardest}."]
    extremes = f"{least} {hardest} and {most} {easiest}"
    return [*sentences, f"At the highest severities it keeps between {extremes}."]


def _recovered(summary: Mapping[str, Any], policy: str) -> list[str]:
    """How the reward rate comes back, in the condition with an onset that hurts most."""
    results = summary["results"][policy]
    changes = [
        (results[condition["key"]]["recovery"], condition)
        for condition in severest(summary)
        if condition["key"] in results and results[condition["key"]]["recovery"] is not None
    ]
    if not changes:
        return []
    recovery, condition = max(changes, key=lambda item: item[0]["drop"]["mean"])
    text = f"When “{condition_name(summary, condition)}” sets in, "
    if recovery["fraction"] is None:
        return [f"{text}its reward per step does not fall."]
    before, drop = recovery["before"]["mean"], recovery["drop"]["mean"]
    text += f"its reward per step falls from {number(before)} to {number(before - drop)}, and "
    back = f"{_share(recovery['fraction'])} of the loss comes back"
    if recovery["time"] is None:
        text += f"no more than {back}"
    else:
        text += f"{back}, within {with_interval(recovery['time'])} steps"
    key = lesioned(summary, condition["key"], "off")
    off = results.get(key, {}).get("recovery") if key else None
    if off and off["fraction"] is not None and not has_no_plasticity(summary, policy):
        text += f" (plasticity off: {_share(off['fraction'])})"
    return [f"{text}."]


def _cause(summary: Mapping[str, Any], policy: str) -> list[str]:
    """What plasticity has to do with it: the same weights and episodes with plasticity off."""
    lesions = summary["lesions"].get(policy, {}).get("off")
    if not lesions:
        return []
    if has_no_plasticity(summary, policy):
        return ["It has no plasticity: switching it off changes nothing, bit for bit."]
    sentences = []
    off = lesions.get(CLEAN_KEY)
    if off is not None:
        result, chance = summary["results"][policy][off["key"]], summary["settings"]["chance"]
        late = result["late_accuracy"]
        if late is None:
            text = f"earns {with_interval(result['return'])} in the clean task"
        else:
            text = f"is right in {_share(late)} of the late trials"
            text += f", {_against_chance(late, chance)}" if chance is not None else ""
        sentences.append(f"With plasticity off it {text}.")
    differences = [part["paired_difference"]["interval"] for part in lesions.values()]
    helps = sum(low > 0 for low, _ in differences)
    harms = sum(high < 0 for _, high in differences)
    return [*sentences, _judged(helps, harms, len(differences))]


def _judged(helps: int, harms: int, of: int) -> str:
    """Whether plasticity changes the return, by the intervals that leave out zero."""
    if helps and harms:
        claim = "Plasticity raises the return in some conditions and lowers it in others"
    elif helps:
        claim = "Plasticity raises the return"
    elif harms:
        claim = "Plasticity lowers the return"
    else:
        claim = "No effect of plasticity on the return can be shown"
    if of == 1:
        interval = "leaves out zero" if helps or harms else "includes zero"
        return f"{claim}: the interval of the paired difference {interval}."
    counts = {"is above zero": helps, "is below zero": harms, "includes zero": of - helps - harms}
    found = [f"{where} in {count}" for where, count in counts.items() if count]
    if len(found) == 1:
        found = [found[0].removesuffix(f" {of}") + f" all {of}"]
    return f"{claim}: over conditions, the interval of the paired difference {listed(found)}."


def _against_chance(score: Score, chance: float) -> str:
    low, high = score["interval"]
    level = percent(chance)
    if low > chance:
        return f"above chance ({level})"
    if high < chance:
        return f"below chance ({level})"
    return f"not to be told from chance ({level})"


def _compared(summary: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    first, second = comparison["policy"], comparison["other"]
    difference, better = comparison["difference"], comparison["probability_of_improvement"]
    low, high = difference["interval"]
    as_percent = comparison["measure"] == "retention"
    if difference["mean"] < 0:
        difference = {"mean": -difference["mean"], "interval": [-high, -low]}
    amount = with_interval(difference, as_percent)
    more = "more" if comparison["difference"]["mean"] >= 0 else "less"
    if as_percent:
        points = amount.replace("\u00a0%", "")
        text = f"{first} keeps {points} points {more} of its return than {second}"
    else:
        text = f"{first} earns {amount} {more} than {second} in the clean task"
    seeds = min(len(summary["policies"][name]["training_seeds"]) for name in (first, second))
    unit = "a run" if seeds > 1 else "an episode"
    return f"{text}; {unit} of {first} is the better one with a probability of {_share(better)}."


def _share(score: Score) -> str:
    return with_interval(score, as_percent=True)
