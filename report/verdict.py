"""What an evaluation found, in sentences."""

from typing import Any

from spikepropamine import statistics
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.rows import TOLD
from spikepropamine.report.evaluation import Estimate, Evaluation, lesion_name
from spikepropamine.statistics import HIGHER, LOWER, NO_DIFFERENCE
from spikepropamine.words import listed, number, p_value, percent, plural, with_interval

FEW_SEEDS = 5
FEW_EPISODES = 20
UNEQUAL = 1.1  # times the steps of the shortest training
CONTEXT_LESIONS = ("off", "frozen")


def verdict(found: Evaluation, policy: str) -> list[str]:
    """The sentences about one policy; the first one begins after its name: "earns 4,572 ..."."""
    return [
        f"{_clean(found, policy)}.",
        *_kept(found, policy),
        *_contexts(found, policy),
        *_recovered(found, policy),
        *_cause(found, policy),
    ]


def _clean(found: Evaluation, policy: str) -> str:
    learned = found.learned(policy)
    if (late := found.late_accuracy(policy, CLEAN_KEY)) is not None:
        text = f"is right in {late.text(True)} of the late trials"
        trials, rise = found.trials(policy, CLEAN_KEY), found.rise(policy)
        if len(trials) > 1 and rise is not None:
            text += f", and in {percent(trials[0].mean)} of the first ones: "
            if not any(learned):
                text += "it earns no more than random actions"
            else:
                text += "it learns in the episode" if rise.side > 0 else "no significant rise"
        return text
    others = {"random actions": "random_return", "standing still": "still_return"}
    known = {name: _mean(found.fact(policy, measure)) for name, measure in others.items()}
    listing = [f"{name}: {number(value)}" for name, value in known.items() if value is not None]
    text = f"earns {found.returns(policy).text()} an episode ({', '.join(listing)})"
    if learned.count(False) == len(learned):
        return f"has not learned: it {text}, which is not significantly more"
    if None in learned:
        return f"{text}; these are too few episodes to tell whether it has learned"
    return text


def _kept(found: Evaluation, policy: str) -> list[str]:
    severest = [(score, c) for c in found.severest if (score := found.retention(policy, [c.key]))]
    overall = found.overall(policy)
    if not severest or overall is None:
        return []

    def share(score: Estimate, off: Estimate | None) -> str:
        return score.text(True) + (f" (plasticity off: {off.text(True)})" if off else "")

    severest.sort(key=lambda one: one[0].mean)
    texts = []
    for score, c in severest[:1] + severest[1:][-1:]:
        off = found.off(policy, c)
        without = found.retention(policy, [off]) if off else None
        texts.append(f"{share(score, without)} with “{c.name()}”")
    without = found.overall(policy, "off") if found.is_plastic(policy) else None
    return [
        f"It keeps {share(overall, without)} of its return, on average over all perturbed "
        f"conditions; at the highest severities, {' to '.join(texts)}."
    ]


def _contexts(found: Evaluation, policy: str) -> list[str]:
    """Of contexts held out, or else of all."""
    every = [c for c in found.severest if found.contexts(policy, c.key)]
    held_out = [c for c in every if c.split == "held-out"]
    return [
        sentence
        for c in held_out or every
        for prefix in found.contexts(policy, c.key)
        for sentence in _context(found, policy, c, prefix)
    ]


def _context(found: Evaluation, policy: str, c: Condition, prefix: str) -> list[str]:
    """How a context is found out; paces are relative to the teacher, or else rewards per step."""
    relative = found.estimate(policy, c.key, f"{prefix}settled_pace") is not None

    def pace(lesion: str | None) -> str:
        measure = f"{prefix}settled_{'pace' if relative else 'rate'}"
        score = found.estimate(policy, found.with_lesion(c.key, lesion), measure)
        return score.text(relative) + ("" if relative else " per step") if score else ""

    begins = "within" if prefix else "with"
    where = f"in steps 100 to 200 of contexts that begin {begins} the episode"
    where += f" (“{c.name(onset=False)}”)"
    if not (own := pace(None)):
        return []
    text = f"It earns {own} {where}"
    if relative:
        text = f"It has {own} of the pace of the teacher that is told, {where}"
    lesions = CONTEXT_LESIONS if found.is_plastic(policy) else ()
    without = [f"{lesion_name(name)}: {of}" for name in lesions if (of := pace(name))]
    text += f" ({'; '.join(without)})" if without else ""
    if (time := found.estimate(policy, c.key, f"{prefix}time_to_identify")) is not None:
        text += f". Nine tenths of that is reached after {time.mean:.0f} steps"
    said = [f"{text}."]
    if prefix and (back := found.estimate(policy, c.key, "regained")) is not None:
        teacher = found.estimate(TOLD, c.key, "regained")
        beside = f" (the teacher: {percent(teacher.mean)})" if teacher else ""
        said.append(
            f"Within 50 steps of a change, nine tenths of its reward rate are back in "
            f"{back.text(True)} of the changes{beside}."
        )
    return said


def _recovered(found: Evaluation, policy: str) -> list[str]:
    """From the change that hurts most."""
    changes: list[Any] = [(found.recovery(policy, c.key), c) for c in found.severest]
    changes = [change for change in changes if change[0]]
    if not changes:
        return []
    scores, c = max(changes, key=lambda change: change[0]["drop"].mean)
    before, drop, fraction = (scores[name] for name in ("reward_before", "drop", "fraction"))
    text = f"When “{c.name()}” sets in, its reward per step of {number(before.mean)} "
    if fraction is None:
        return [f"{text}does not fall by a tenth or more."]
    text += f"falls by {number(drop.mean)}, and "
    left, time = scores["missing_at_end"], scores["recovery_time"]
    if fraction.side < 0 and left is not None:
        text += f"more is missing in the end: {number(left.mean)}"
    elif fraction.side == 0:
        text += f"no significant part of that comes back ({fraction.text(True)})"
    else:
        text += f"{fraction.text(True)} of the loss comes back"
        text += f" within {time.mean:.0f} steps" if time is not None else ""
        key = found.off(policy, c)
        if off := found.recovery(policy, key).get("fraction") if key else None:
            text += f" (plasticity off: {off.text(True)})"
    return [f"{text}."]


def _cause(found: Evaluation, policy: str) -> list[str]:
    """What plasticity has to do with it: the same weights and episodes with plasticity off."""
    lesions = [part.returns for part in found.lesioned(policy) if part.lesioned.lesion == "off"]
    if not lesions:
        return []
    if not found.is_plastic(policy):
        return ["It has no plasticity: switching it off changes nothing, bit for bit."]
    text = ""
    if key := found.off(policy, found.conditions[CLEAN_KEY]):
        late = found.late_accuracy(policy, key)
        text = f"With plasticity off it earns {found.returns(policy, key).text()}. "
        if late is not None:
            text = f"With plasticity off it is right in {late.text(True)} of the late trials. "
    p_values = statistics.holm([statistics.decisive(returns) for returns in lesions])
    verdicts = [statistics.verdict(returns, p) for returns, p in zip(lesions, p_values)]
    names = {HIGHER: "significantly lower", LOWER: "significantly higher",
             NO_DIFFERENCE: "not significantly different"}  # fmt: skip
    some = [f"{name} in {count}" for of, name in names.items() if (count := verdicts.count(of))]
    of = "" if len(verdicts) == 1 else f" of {plural(len(verdicts), 'condition')}"
    if not some:
        return [f"{text}Its effect on the return cannot be tested with so few episodes."]
    if len(verdicts) == 1:
        some = [some[0].removesuffix(" in 1")]
    return [f"{text}The return is then {listed(some)}{of}."]


def comparisons(found: Evaluation) -> list[str]:
    """A sentence for each two policies that differ significantly, and one on the rest."""
    said, rest = [], 0
    for part in found.comparisons:
        if part.verdict not in (HIGHER, LOWER):
            rest += 1
            continue
        share = part.measure != "return"
        amount = with_interval(part.found.mean, part.found.interval, share)
        what = {"retention": "share of the return kept"}.get(part.measure, part.measure)
        p = "" if part.p is None else f", p = {p_value(part.p)}".replace("= <", "<")
        said.append(
            f"The {what} of {part.policy} is {part.verdict} than that of {part.other}: "
            f"difference {amount}{p}."
        )
    if rest:
        said.append(f"{plural(rest, 'comparison')}: no significant difference.")
    return said


def caveats(found: Evaluation) -> list[str]:
    """What the numbers cannot tell."""
    said, asked = [], found.asked
    once = [name for name, seeds in found.policies.items() if len(seeds) == 1]
    few = [f"{name} {len(s)}" for name, s in found.policies.items() if 1 < len(s) < FEW_SEEDS]
    if once:
        said.append(
            f"Trained once: {listed(once)}. Intervals are over episodes and say nothing about "
            "how another training run would have turned out."
        )
    if few:
        said.append(f"Few training seeds ({listed(few)}): seeds that fail may not be among them.")
    longest: dict[str, int] = {}
    for name, seed, steps in ((run["policy"], run["seed"], run["steps"]) for run in asked["runs"]):
        longest[name] = max(steps, longest.get(name, 0))
        planned = found.fact(name, "steps_planned")[found.policies[name].index(seed)]
        if planned is not None and steps < planned:
            done = f"{steps:,} of {planned:,.0f} steps"
            said.append(f"{name}, training seed {seed}, was stopped after {done}.")
    if max(longest.values()) > UNEQUAL * min(longest.values()):
        listing = listed([f"{name} {steps:,}" for name, steps in longest.items()])
        said.append(f"Policies were trained for different numbers of steps: {listing}.")
    if found.episodes < FEW_EPISODES:
        few_episodes = plural(found.episodes, "episode")
        said.append(f"Only {few_episodes} per condition and run: small effects cannot be seen.")
    if not asked["own_limit"]:
        said.append(
            f"The task has no time limit: episodes were cut after {asked['horizon']} steps."
        )
    onsets = [c.onset for c in found.conditions.values() if c.onset]
    for name, seeds in found.policies.items():
        length = found.estimate(name, CLEAN_KEY, "length")
        if onsets and length and length.mean <= min(onsets):
            said.append(
                f"Episodes of {name} have {length.mean:.0f} steps on average in the clean task, "
                f"and the first change begins at step {min(onsets)}: most episodes had none."
            )
        failed = [f"seed {s}" for s, answer in zip(seeds, found.learned(name)) if answer is False]
        if failed and len(failed) < len(seeds):
            said.append(f"{name} did not learn with training {listed(failed)}: returns include "
                        "these, what is kept does not.")  # fmt: skip
    return said


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
