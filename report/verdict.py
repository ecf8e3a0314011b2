"""What an evaluation found, in sentences computed from its summary."""

from collections.abc import Sequence

from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    Comparison,
    ConditionSummary,
    ContextScores,
    Estimate,
    Score,
    Summary,
)
from spikepropamine.report.reading import (
    condition_name,
    context_scores,
    has_no_plasticity,
    lesion_name,
    lesioned,
    perturbs,
    severest,
    share_kept,
)
from spikepropamine.report.words import (
    listed,
    number,
    percent,
    plural,
    with_interval,
)

FEW_SEEDS = 5
FEW_EPISODES = 20
UNEQUAL = 1.1  # times the steps of the shortest training
MANY_COMPARISONS = 10


def verdict(summary: Summary, policy: str) -> list[str]:
    """Sentences on one policy; the first one begins after its name: "earns 4,572 ..."."""
    clean = _clean(summary, policy)
    kept, adapted = _kept(summary, policy), _adapted(summary, policy)
    trials = summary["results"][policy][CLEAN_KEY]["accuracy_by_trial"]
    # the question comes first: of contexts the pace, of other perturbations what is kept of what
    if adapted and adapted[0].startswith("It ") and not trials:
        first, *others = adapted
        asked = [first.removeprefix("It "), f"In the clean task it {clean}", *others, *kept]
    elif kept and not trials:
        first, *others = kept
        asked = [f"{clean[:-1]} and {first.removeprefix('It ')}", *others, *adapted]
    else:
        asked = [clean, *kept, *adapted]
    return [*asked, *_recovered(summary, policy), *_cause(summary, policy)]


def comparisons(summary: Summary) -> list[str]:
    """A sentence for each two policies of which one is shown to be better, and one on the rest."""
    every = summary["comparisons"]
    shown = [c for c in every if side(c["difference"])]
    sentences = [_compared(comparison) for comparison in shown]
    rest = len(every) - len(shown)
    if rest:
        which = "The other comparisons leave" if shown else "Comparisons between policies leave"
        sentences.append(f"{which} it open which policy is better.")
    return sentences


def caveats(summary: Summary) -> list[str]:
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
            f"Few training seeds ({listed(few)}): intervals over so few runs are wide where they "
            "can be told at all, and know nothing of seeds that fail unless one did."
        )
    sentences += _trained_for(summary)
    if summary["settings"]["episodes"] < FEW_EPISODES:
        episodes = plural(summary["settings"]["episodes"], "episode")
        sentences.append(f"Only {episodes} per condition and run: small effects cannot be seen.")
    if not summary["settings"]["own_limit"]:
        sentences.append(
            f"The task has no time limit: episodes were cut after {summary['settings']['horizon']} "
            "steps."
        )
    if len(summary["comparisons"]) >= MANY_COMPARISONS:
        sentences.append(
            f"{len(summary['comparisons'])} comparisons: of policies that do not differ, one pair "
            "in twenty would be said to."
        )
    onsets = [c["onset"] for c in summary["conditions"] if c["onset"]]
    for name, part in summary["policies"].items():
        length = summary["results"][name][CLEAN_KEY]["length"]["mean"]
        if onsets and length <= min(onsets):
            sentences.append(
                f"Episodes of {name} have {length:.0f} steps on average in the clean task, and the "
                f"first change begins at step {min(onsets)}: what it keeps is mostly of episodes "
                "that had no change."
            )
        if part["dead_seeds"]:
            seeds = listed([f"seed {seed}" for seed in part["dead_seeds"]])
            sentences.append(
                f"{name} hardly got beyond random actions in training {seeds}, "
                "which all numbers include."
            )
    return sentences


def _trained_for(summary: Summary) -> list[str]:
    """What is to be said of trainings that were stopped, or were not equally long."""
    sentences, longest = [], {}
    for name, part in summary["policies"].items():
        longest[name] = max(part["steps_trained"])
        runs = zip(part["training_seeds"], part["steps_trained"], part["steps_planned"])
        for seed, steps, planned in runs:
            if planned is not None and steps < planned:
                sentences.append(
                    f"{name}, training seed {seed}, was stopped after {steps:,} of {planned:,} "
                    "steps."
                )
    if max(longest.values()) > UNEQUAL * min(longest.values()):
        listing = listed([f"{name} {steps:,}" for name, steps in longest.items()])
        sentences.append(f"Policies were trained for different numbers of steps: {listing}.")
    return sentences


def side(estimate: Estimate | Score) -> int:
    """1 or -1 where the interval lies above or below zero; 0 where it does not, or is unknown."""
    if estimate["interval"] is None:
        return 0
    low, high = estimate["interval"]
    return (low > 0) - (high < 0)


def _clean(summary: Summary, policy: str) -> str:
    clean, part = summary["results"][policy][CLEAN_KEY], summary["policies"][policy]
    late, trials = clean["late_accuracy"], clean["accuracy_by_trial"]
    chance = summary["settings"]["chance"]
    if late is not None and chance is not None:
        text = f"is right in {with_interval(late, as_percent=True)} of the late trials, "
        text += _against_chance(late, chance)
        if late["interval"] is not None and late["interval"][0] <= chance:
            text = f"has learned nothing that shows: it {text}"
        if trials and len(trials) > 1:
            first = f"{percent(trials[0]['mean'])} of the first trials"
            known = trials[0]["interval"] is not None and trials[0]["interval"][0] > chance
            if clean["accuracy_rise"] is not None and side(clean["accuracy_rise"]) > 0:
                text += f", after {first}: it learns inside the episode"
            elif known:  # as where it is told before it is asked
                text += f", and in {first}"
            else:
                text += f", after {first}: no clear rise inside the episode"
        return f"{text}."
    others = f"random actions: {number(part['random_return'])}"
    if part["still_return"] is not None:
        others += f", standing still: {number(part['still_return'])}"
    earned = f"{with_interval(clean['return'])} an episode ({others})"
    if part["learned"] is None:
        return f"earns {earned}; whether it has learned anything cannot be told."
    if not part["learned"]:
        return f"has learned nothing that shows: it earns {earned}."
    return f"earns {earned}."


def _kept(summary: Summary, policy: str) -> list[str]:
    """How much of the return is kept under perturbations, with plasticity and without."""
    results = summary["results"][policy]
    kept = []
    for condition in severest(summary):
        score = results[condition["key"]]["retention"] if condition["key"] in results else None
        if score is not None:
            kept.append((score, condition))
    if not kept:
        return []
    kept.sort(key=lambda item: item[0]["mean"])
    shares = []
    for score, condition in kept:
        where = f"with “{condition_name(condition)}”"
        key = lesioned(summary, condition["key"], "off")
        part = results[key]["retention"] if key is not None and key in results else None
        if part is not None and not has_no_plasticity(summary, policy):
            where += f" (plasticity off: {_share(part)})"
        shares.append((_part_kept(score), where))
    (least, hardest), (most, easiest) = shares[0], shares[-1]
    intact = [c for c in summary["conditions"] if c["lesion"] is None and perturbs(c)]
    if len(intact) == 1:
        return [f"It keeps {least} {hardest}."]
    sentences = []
    overall, off = share_kept(summary, policy), share_kept(summary, policy, "off")
    if overall is not None:
        labels = {condition["label"] for condition in intact}
        where = (
            f"the severities of “{labels.pop()}”"
            if len(labels) == 1
            else "all perturbed conditions"
        )
        text = f"It keeps {_part_kept(overall)}, on average over {where}"
        if off is not None and not has_no_plasticity(summary, policy):
            text += f"; with plasticity off {_share(off)}"
        sentences.append(f"{text}.")
    if len(kept) == 1:
        return [*sentences, f"It keeps {least} at the highest severity, {hardest}."]
    graded = any(c["severity"] is not None for c in intact)
    it = "At the highest severities it" if graded else "It"
    return [*sentences, f"{it} keeps {least} {hardest}, and {most} {easiest}."]


def _part_kept(score: Score) -> str:
    """More than all cannot be kept: it is earned."""
    if score["mean"] > 1:
        return f"all of its return (it earns {_share(score)})"
    return f"{_share(score)} of its return"


def _adapted(summary: Summary, policy: str) -> list[str]:
    """How it comes to act in contexts that it has to find out; those held out first."""
    references = summary["references"]
    every = [c for c in summary["conditions"] if c["key"] in references]
    held_out = [c for c in every if c["split"] == "held-out"]
    # episodes that begin in the same contexts say the same of their openings: once is enough
    sentences = [s for c in held_out or every for s in _adapted_in(summary, policy, c)]
    return list(dict.fromkeys(sentences))


def _adapted_in(summary: Summary, policy: str, condition: ConditionSummary) -> list[str]:
    results = summary["results"][policy]
    intact = context_scores(results.get(condition["key"]))
    if not intact:
        return []

    def with_lesion(lesion: str) -> dict[str, ContextScores]:
        return context_scores(results.get(lesioned(summary, condition["key"], lesion) or ""))

    name = condition_name(condition, onset=False)
    sentences = []
    for part, scores in intact.items():
        if not _pace(scores):
            continue
        begins = "with the episode" if part == "first" else "within the episode"
        where = f"of a context that begins {begins} (“{name}”)"
        text = f"It {_pace_of(scores, where)}"
        lesions = []
        for lesion in ("off", "frozen"):
            other = with_lesion(lesion)
            # frozen weights may well know the first context; the question is of the next one, and
            # where there is none, of what freezing does by itself
            asked = part == "later" or lesion == "off" or "later" not in intact
            pace = _pace(other[part]) if asked and part in other else ""
            if pace and not has_no_plasticity(summary, policy):
                lesions.append(f"{lesion_name(lesion)}: {pace}")
        sentences.append(f"{text}{' (' + '; '.join(lesions) + ')' if lesions else ''}.")
    if "later" in intact and (back := intact["later"]["regained"]) is not None:
        frozen = with_lesion("frozen")
        held = frozen["later"]["regained"] if "later" in frozen else None
        teacher = summary["references"][condition["key"]]["teacher"]["later"]
        beside = [f"{lesion_name('frozen')}: {_share(held)}"] if held else []
        if teacher is not None and teacher["regained"] is not None:
            beside.append(f"the teacher that is told: {percent(teacher['regained'])}")
        others = f" ({'; '.join(beside)})" if beside else ""
        sentences.append(
            "Of the changes from a context that it had found out, nine tenths of its reward rate "
            f"are back within 50 steps in {_share(back)}{others}."
        )
    for lesion, kept in (("carry-over", ""), ("carry-over-frozen", " held")):
        carried = with_lesion(lesion)
        worse = carried["first"]["opening_over_off"] if carried else None
        if worse is not None and not has_no_plasticity(summary, policy):
            than = {-1: "less", 0: "neither clearly less nor more", 1: "more"}[side(worse)]
            sentences.append(
                f"With the fast weights of an episode in the opposite context{kept}, the first 50 "
                f"steps earn {than} than with plasticity off (difference: {with_interval(worse)} "
                "per step)."
            )
    return sentences


def _turned(score: Score | Estimate) -> Estimate:
    """The size of a difference, with its interval."""
    if score["mean"] >= 0 or score["interval"] is None:
        return Estimate(mean=abs(score["mean"]), interval=score["interval"])
    low, high = score["interval"]
    return Estimate(mean=-score["mean"], interval=[-high, -low])


def _pace_of(scores: ContextScores, where: str) -> str:
    where = f"in steps 100 to 200 {where}"
    if scores["settled_contexts"] < scores["contexts"]:
        where += f", as {scores['settled_contexts']} of {scores['contexts']} last so long"
    if scores["settled_pace"] is None:
        return f"earns {_pace(scores)} {where}"
    text = f"has {_pace(scores)} of the pace of the teacher that is told, {where}"
    if scores["time_to_identify"] is None:
        return text
    return f"{text}, and nine tenths of that after {scores['time_to_identify']['mean']:.0f} steps"


def _pace(scores: ContextScores) -> str:
    """Nothing where no context lasts long enough."""
    if scores["settled_pace"] is not None:
        return _share(scores["settled_pace"])
    if scores["settled_rate"] is not None:
        return f"{with_interval(scores['settled_rate'])} per step"
    return ""


def _recovered(summary: Summary, policy: str) -> list[str]:
    """How the reward rate comes back, in the condition with an onset that hurts most."""
    results = summary["results"][policy]
    changes = []
    for condition in severest(summary):
        found = results[condition["key"]]["recovery"] if condition["key"] in results else None
        if found is not None:
            changes.append((found, condition))
    if not changes:
        return []
    recovery, condition = max(changes, key=lambda item: item[0]["drop"]["mean"])
    text = f"When “{condition_name(condition)}” sets in, "
    before, drop = recovery["before"]["mean"], recovery["drop"]
    first = f"in the first {summary['settings']['window']} steps"
    falls = f"its reward per step falls from {number(before)} by {number(drop['mean'])} {first}"
    if recovery["fraction"] is None:
        if side(drop) > 0:
            return [f"{text}{falls}, which is less than a tenth."]
        return [f"{text}no fall of its reward per step {first} can be shown."]
    text += f"{falls}, and "
    back = f"{_share(recovery['fraction'])} of the loss comes back"
    if side(recovery["fraction"]) < 0:
        left = number(recovery["left"]["mean"])
        text += f"more than that is missing in the end: {left}, so that {back}"
    elif side(recovery["fraction"]) == 0:
        text += f"it is not shown that any of that comes back ({_share(recovery['fraction'])})"
    elif recovery["time"] is None:
        text += f"no more than {back}"
    else:
        text += f"{back}, within {recovery['time']['mean']:.0f} steps"
    key = lesioned(summary, condition["key"], "off")
    off = results[key]["recovery"] if key is not None and key in results else None
    if off and off["fraction"] is not None and not has_no_plasticity(summary, policy):
        text += f" (plasticity off: {_share(off['fraction'])})"
    return [f"{text}."]


def _cause(summary: Summary, policy: str) -> list[str]:
    """What plasticity has to do with it: the same weights and episodes with plasticity off."""
    lesions = summary["lesions"].get(policy, {}).get("off")
    if not lesions:
        return []
    if has_no_plasticity(summary, policy):
        return ["It has no plasticity: switching it off changes nothing, bit for bit."]
    if all(part["identical"] for part in lesions.values()):
        return ["Switching its plasticity off changed nothing in these episodes."]
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
    return [*sentences, _judged([part["paired_difference"] for part in lesions.values()])]


def _judged(differences: Sequence[Score]) -> str:
    """Whether plasticity changes the return, by the intervals that leave out zero."""
    sides = [side(difference) for difference in differences]
    unknown = sum(difference["interval"] is None for difference in differences)
    helps, harms = sides.count(1), sides.count(-1)
    # where nothing is changed, more than half of the intervals lie on one given side less often
    # than one time in twenty, however much conditions have in common (Markov's inequality)
    if 2 * helps > len(sides):
        claim = "Plasticity raises the return"
    elif 2 * harms > len(sides):
        claim = "Plasticity lowers the return"
    elif unknown == len(sides):
        return "Whether plasticity changes the return cannot be told from so little."
    else:
        claim = "No effect of plasticity on the return can be shown"
    if len(sides) == 1:
        interval = "leaves out zero" if helps or harms else "includes zero"
        return f"{claim}: the interval of the paired difference {interval}."
    counts = {
        "is above zero": helps,
        "is below zero": harms,
        "includes zero": sides.count(0) - unknown,
        "cannot be told": unknown,
    }
    found = [f"{where} in {count}" for where, count in counts.items() if count]
    if len(found) == 1:
        found = [found[0].removesuffix(f" {len(sides)}") + f" all {len(sides)}"]
    return f"{claim}: over conditions, the interval of the paired difference {listed(found)}."


def _against_chance(score: Score, chance: float) -> str:
    level = percent(chance)
    if score["interval"] is None:
        return f"where chance is {level}"
    low, high = score["interval"]
    if low > chance:
        return f"above chance ({level})"
    if high < chance:
        return f"below chance ({level})"
    return f"not to be told from chance ({level})"


def _compared(comparison: Comparison) -> str:
    first, second = comparison["policy"], comparison["other"]
    difference, better = comparison["difference"], comparison["probability_of_improvement"]
    as_percent = comparison["measure"] == "retention"
    more = "more" if difference["mean"] >= 0 else "less"
    amount = with_interval(_turned(difference), as_percent)
    unit = {"run": "a run", "episode": "an episode"}[comparison["unit"]]
    if as_percent:
        points = amount.replace("\u00a0%", "")
        text = f"{first} keeps {points} points {more} of its return than {second}"
        what = "keeps more"
    else:
        text = f"{first} earns {amount} {more} than {second} in the clean task"
        what = "earns more"
    odds = with_interval(better, as_percent=True)
    return f"{text}; {unit} of {first} {what} than one of {second} with a probability of {odds}."


def _share(score: Score | Estimate) -> str:
    return with_interval(score, as_percent=True)
