"""What an evaluation found: facts about each policy, and the sentences that say them."""

from typing import Any, NamedTuple

from spikepropamine import statistics
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.rows import TOLD
from spikepropamine.report.evaluation import Condition, Estimate, Evaluation, lesion_name
from spikepropamine.statistics import HIGHER, LOWER, NO_DIFFERENCE
from spikepropamine.words import listed, number, p_value, percent, plural, with_interval

FEW_SEEDS = 5
FEW_EPISODES = 20
UNEQUAL = 1.1  # times the steps of the shortest training
CONTEXT_LESIONS = ("off", "frozen")


class Kept(NamedTuple):
    """What is kept of the return in a condition, as trained and with plasticity off."""

    condition: Condition
    score: Estimate
    off: Estimate | None


class Context(NamedTuple):
    """How contexts are found out."""

    condition: Condition
    later: bool  # they begin within an episode
    relative: bool  # paces are relative to the teacher, or else rewards per step
    paces: dict[str | None, Estimate]  # by lesion; None: intact
    time: Estimate | None
    regained: Estimate | None
    teacher_regained: Estimate | None


class Facts(NamedTuple):
    """What the sentences about a policy say."""

    policy: str
    returns: Estimate  # of an episode in the clean task
    random: float | None  # what random actions earn
    still: float | None  # what standing still earns, where there is such a thing
    learned: list[bool | None]  # of each run, see `Evaluation.learned`
    late: Estimate | None  # accuracies in the clean task, where there are trials
    first: Estimate | None
    rise: Estimate | None
    kept: Estimate | None  # retention over all perturbed conditions
    kept_off: Estimate | None
    severest: list[Kept]  # in the severest condition of each label, the least kept first
    contexts: list[Context]  # those held out, or else all
    recovery: tuple[Condition, dict[str, Estimate | None], Estimate | None] | None
    """From the change that hurts most, and the fraction regained with plasticity off."""
    plastic: bool  # it has plasticity that works
    off: list[str]  # verdicts on the return with plasticity less that without, by condition
    without: Estimate | None  # return or late accuracy in the clean task with plasticity off


def facts(found: Evaluation, policy: str) -> Facts:
    """All about one policy."""
    plastic = found.is_plastic(policy)

    def off_key(condition: Condition) -> str:
        key = found.with_lesion(condition.key, "off")
        return key if plastic and found.conditions.get(key) in found.conditions_of(policy) else ""

    kept: list[Kept] = []
    changes: list[Any] = []
    for condition in found.severest:
        off = off_key(condition)
        if (score := found.retention(policy, [condition.key])) is not None:
            kept.append(Kept(condition, score, found.retention(policy, [off]) if off else None))
        if scores := found.recovery(policy, condition.key):
            without = found.recovery(policy, off).get("fraction") if off else None
            changes.append((condition, scores, without))
    lesions = [part for part in found.lesioned(policy) if part.lesioned.lesion == "off"]
    p_values = statistics.holm([statistics.decisive(part.returns) for part in lesions])
    off = off_key(found.conditions[CLEAN_KEY])
    trials = found.trials(policy, CLEAN_KEY)
    return Facts(
        policy=policy,
        returns=found.returns(policy),
        random=_mean(found.fact(policy, "random_return")),
        still=_mean(found.fact(policy, "still_return")),
        learned=found.learned(policy),
        late=found.late_accuracy(policy, CLEAN_KEY),
        first=trials[0] if len(trials) > 1 else None,
        rise=found.rise(policy),
        kept=found.overall(policy),
        kept_off=found.overall(policy, "off") if plastic else None,
        severest=sorted(kept, key=lambda one: one.score.mean),
        contexts=_contexts(found, policy, plastic),
        recovery=max(changes, key=lambda change: change[1]["drop"].mean, default=None),
        plastic=plastic,
        off=[statistics.verdict(part.returns, p) for part, p in zip(lesions, p_values)],
        without=(found.late_accuracy(policy, off) or found.returns(policy, off)) if off else None,
    )


def _contexts(found: Evaluation, policy: str, plastic: bool) -> list[Context]:
    every = [c for c in found.severest if found.contexts(policy, c.key)]
    facts = []
    for c in [c for c in every if c.split == "held-out"] or every:
        for prefix in found.contexts(policy, c.key):
            relative = found.estimate(policy, c.key, f"{prefix}settled_pace") is not None
            measure = f"{prefix}settled_{'pace' if relative else 'rate'}"
            paces = {}
            for lesion in (None, *CONTEXT_LESIONS) if plastic else (None,):
                key = found.with_lesion(c.key, lesion)
                if (score := found.estimate(policy, key, measure)) is not None:
                    paces[lesion] = score
            time = found.estimate(policy, c.key, f"{prefix}time_to_identify")
            back = found.estimate(policy, c.key, "regained") if prefix else None
            teacher = found.estimate(TOLD, c.key, "regained") if prefix else None
            if None in paces:
                facts.append(Context(c, bool(prefix), relative, paces, time, back, teacher))
    return facts


def sentences(fact: Facts) -> list[str]:
    """About one policy; the first one begins after its name: "earns 4,572 ..."."""
    contexts = [sentence for context in fact.contexts for sentence in _context(context)]
    return [f"{_clean(fact)}.", *_kept(fact), *contexts, *_recovered(fact), *_cause(fact)]


def verdict(found: Evaluation, policy: str) -> list[str]:
    """The sentences about one policy."""
    return sentences(facts(found, policy))


def _clean(fact: Facts) -> str:
    if fact.late is not None:
        text = f"is right in {fact.late.text(True)} of the late trials"
        if fact.first is not None and fact.rise is not None:
            text += f", and in {percent(fact.first.mean)} of the first ones: "
            if not any(fact.learned):
                text += "it earns no more than random actions"
            else:
                text += "it learns in the episode" if fact.rise.side > 0 else "no significant rise"
        return text
    others = {"random actions": fact.random, "standing still": fact.still}
    known = [f"{name}: {number(value)}" for name, value in others.items() if value is not None]
    text = f"earns {fact.returns.text()} an episode ({', '.join(known)})"
    if fact.learned.count(False) == len(fact.learned):
        return f"has not learned: it {text}, which is not significantly more"
    if None in fact.learned:
        return f"{text}; these are too few episodes to tell whether it has learned"
    return text


def _kept(fact: Facts) -> list[str]:
    if not fact.severest or fact.kept is None:
        return []

    def share(score: Estimate, off: Estimate | None) -> str:
        return score.text(True) + (f" (plasticity off: {off.text(True)})" if off else "")

    ends = fact.severest[:1] + fact.severest[1:][-1:]
    texts = [f"{share(one.score, one.off)} with “{one.condition.name()}”" for one in ends]
    return [
        f"It keeps {share(fact.kept, fact.kept_off)} of its return, on average over all perturbed "
        f"conditions; at the highest severities, {' to '.join(texts)}."
    ]


def _context(context: Context) -> list[str]:
    begins = "within" if context.later else "with"
    where = f"in steps 100 to 200 of contexts that begin {begins} the episode"
    where += f" (“{context.condition.name(onset=False)}”)"

    def pace(score: Estimate) -> str:
        return score.text(context.relative) + ("" if context.relative else " per step")

    own = pace(context.paces[None])
    text = f"It has {own} of the pace of the teacher that is told, {where}"
    if not context.relative:
        text = f"It earns {own} {where}"
    lesions = [f"{lesion_name(name)}: {pace(of)}" for name, of in context.paces.items() if name]
    text += f" ({'; '.join(lesions)})" if lesions else ""
    if context.time is not None:
        text += f". Nine tenths of that is reached after {context.time.mean:.0f} steps"
    found = [f"{text}."]
    if context.regained is not None:
        teacher = context.teacher_regained
        beside = f" (the teacher: {percent(teacher.mean)})" if teacher else ""
        found.append(
            f"Within 50 steps of a change, nine tenths of its reward rate are back in "
            f"{context.regained.text(True)} of the changes{beside}."
        )
    return found


def _recovered(fact: Facts) -> list[str]:
    if fact.recovery is None:
        return []
    condition, scores, off = fact.recovery
    before, drop, fraction = (scores[name] for name in ("reward_before", "drop", "fraction"))
    assert before is not None and drop is not None
    text = f"When “{condition.name()}” sets in, its reward per step of {number(before.mean)} "
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
    return [f"{text}{f' (plasticity off: {off.text(True)})' if off and fraction.side > 0 else ''}."]


def _cause(fact: Facts) -> list[str]:
    """What plasticity has to do with it: the same weights and episodes with plasticity off."""
    if not fact.off:
        return []
    if not fact.plastic:
        return ["It has no plasticity: switching it off changes nothing, bit for bit."]
    text = ""
    if fact.without is not None:
        trials = fact.late is not None
        text = f"With plasticity off it {'is right in' if trials else 'earns'} "
        text += fact.without.text(trials) + (" of the late trials. " if trials else ". ")
    names = {HIGHER: "significantly lower", LOWER: "significantly higher",
             NO_DIFFERENCE: "not significantly different"}  # fmt: skip
    counts = {name: fact.off.count(verdict) for verdict, name in names.items()}
    some = [f"{name} in {count}" for name, count in counts.items() if count]
    of = "" if len(fact.off) == 1 else f" of {plural(len(fact.off), 'condition')}"
    if not some:
        return [f"{text}Its effect on the return cannot be tested with so few episodes."]
    if len(fact.off) == 1:
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
    episodes = asked["seeds"][1] - asked["seeds"][0] + 1
    if episodes < FEW_EPISODES:
        said.append(f"Only {plural(episodes, 'episode')} per condition and run: small effects "
                    "cannot be seen.")  # fmt: skip
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
