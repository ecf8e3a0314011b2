"""Small evaluations made of numbers, for tests of their readers.

The first half turns arrays into the results of an evaluation. The second half is one
example, of three policies in a few conditions; its numbers are at the top of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.description import parsed, write_description
from spikepropamine.evaluation.tabulation import RANDOM, TOLD
from spikepropamine.folder import RESULTS
from spikepropamine.report.evaluation import EvaluationResults

FIRST = 1_000_000
"""Seed of the first episode."""
EPISODES = 5
OF_RUN = (
    "parameters",
    "steps_planned",
    "training_return",
    "best_training_return",
    "cost/",
)
"""Beginnings of the measures that no suite was needed for."""

Measured = dict[tuple[str, str | None, str], Any]
"""Values by policy, key of the condition (None: of the run) and measure: an array
[runs], [runs, episodes] or [runs, episodes, trials], or a curve, which is {step:
[runs]}."""


def condition(key=CLEAN_KEY, label=None, lesion=None, **more) -> dict[str, Any]:
    """As `evaluation.json` has it."""
    onset = more.get("onset")
    plain = {
        "key": f"{key} [{lesion}]" if lesion else key,
        "label": label or key,
        "intact": key,
        "lesion": lesion,
        "text": "",
        "severity": None,
        "split": None,
        "onset": onset,
        "last_onset": onset,
    }
    return plain | more


def with_lesion(intact: dict[str, Any], lesion: str) -> dict[str, Any]:
    """A condition with a lesion of the policy."""
    key = intact["key"]
    return intact | {"key": f"{key} [{lesion}]", "lesion": lesion, "intact": key}


def rows_of(conditions, measured: Measured) -> Iterator[dict[str, Any]]:
    """Rows of the results table; numbers that are not finite have none."""
    known = {one["key"]: one for one in conditions}
    for (policy, key, measure), values in measured.items():
        shared = {"environment": "Robot-v0", "policy": policy, "measure": measure}
        shared["suite"] = None if measure.startswith(OF_RUN) else "some"
        if key is not None:
            shared["condition"] = key
            for name in ("lesion", "severity", "split"):
                shared[name] = known[key][name]
        for run, place, value in _numbers(values):
            row = shared | place | {"value": value}
            if policy not in (RANDOM, TOLD):
                row |= {"seed": run, "steps": 1_000_000}
            if np.isfinite(value):
                yield row


def _numbers(values: Any) -> Iterator[tuple[int, dict[str, int], float]]:
    """Run, place in the table and value of each number."""
    if isinstance(values, dict):
        for step, of_runs in values.items():
            for run, value in enumerate(of_runs):
                yield run, {"at": step}, float(value)
        return
    for (run, *place), value in np.ndenumerate(np.asarray(values, dtype=float)):
        named = {}
        if place:
            named["episode"] = FIRST + place[0]
        if len(place) > 1:
            named["at"] = place[1]
        yield run, named, float(value)


def asked_of(conditions, policies, **changes) -> dict[str, Any]:
    """What `evaluation.json` holds, of policies with their seeds."""
    runs = [
        {
            "policy": policy,
            "seed": seed,
            "steps": 1_000_000,
            "perturb": None,
            "folder": f"../{policy}/seed-{seed}",
        }
        for policy, seeds in policies.items()
        for seed in seeds
    ]
    no_plasticity = {
        "condition": "off",
        "policy": "mlp",
        "reason": "it has no plasticity",
    }
    asked = {
        "environment": "HalfCheetah-v5",
        "env_kwargs": {},
        "suite": "mid-episode",
        "seeds": [FIRST, FIRST + EPISODES - 1],
        "deterministic": True,
        "horizon": 1000,
        "own_limit": True,
        "window": 50,
        "chance": None,
        "return_range": None,
        "teacher": None,
        "versions": {"python": "3.11.0", "revision": "abcdef0"},
        "command": ["evaluate.py", "runs", "--suite", "mid-episode"],
        "conditions": conditions,
        "runs": runs,
        "skipped": [no_plasticity],
    }
    return asked | changes


def evaluation(conditions, measured: Measured, **changes) -> EvaluationResults:
    """Results of an evaluation, of arrays; each policy has a seed for each run."""
    policies = {}
    for (policy, key, _), values in measured.items():
        is_clean_array = key == CLEAN_KEY and not isinstance(values, dict)
        if is_clean_array and policy not in (RANDOM, TOLD):
            policies[policy] = range(len(values))
    asked = asked_of(conditions, policies, **changes)
    return EvaluationResults(parsed(asked), table.table(rows_of(conditions, measured)))


# ---------------------------------------------------------------- the example

RUNS = {"ndp-oja": 3, "snn": 3, "mlp": 1}
PLASTIC = "ndp-oja"
LESIONS = ("off", "modulator-shuffled")
CONTEXTS = "motor_signs=held_out@change(500)"
STEPS = range(50, 1001, 50)  # of curves

PARAMETERS = {"ndp-oja": 15_624, "snn": 11_624, "mlp": 7_624}
BEST_RETURN = {"ndp-oja": 4000.0, "snn": 3700.0, "mlp": 3400.0}  # in the clean task
HARM_OF_SEVERITY = 0.4  # of the return, at severity 1
HARM_OF_LESION = 400.0  # less return
RATE = 4.0  # reward a step before a change
LOST = 3.0  # of it after a change
LOST_BY_PLASTIC = 0.2  # of that, by a policy that recovers
COSTS = {  # accumulates; a fifth as many multiply-accumulates
    "ndp-oja": {"synapses": 8000.0, "plasticity": 16_000.0, "neuromodulators": 4000.0},
    "snn": {"synapses": 6000.0, "plasticity": 0.0, "neuromodulators": 0.0},
    "mlp": {"synapses": 4000.0, "plasticity": 0.0, "neuromodulators": 0.0},
}


def example(
    cue=False, contexts=False, only_clean=False, **changes
) -> EvaluationResults:
    """Three policies, one of which is plastic, with their lesions.

    Args:
        cue: whether the task has trials with right answers.
        contexts: one condition with contexts, a teacher and random actions, in place
            of perturbations.
        only_clean: the plastic policy in the clean task alone, without lesions.
        changes: of `evaluation.json`.
    """
    conditions = [condition()]
    if contexts:
        held_out = {"text": CONTEXTS, "split": "held-out", "onset": 500}
        conditions.append(condition("held out", **held_out))
    elif not only_clean:
        conditions += _perturbed()
    policies = list(RUNS)
    if only_clean:
        policies = [PLASTIC]
    else:
        intact = list(conditions)
        for lesion in LESIONS:
            conditions += [with_lesion(one, lesion) for one in intact]

    measured: Measured = {}
    for policy in policies:
        measured |= _of_run(policy)
        for one in conditions:
            if one["lesion"] is None or policy == PLASTIC:
                measured |= _of_condition(policy, one, cue, contexts)
    if contexts:
        measured |= _of_contexts(RANDOM, "held out", 1, -0.3, finds=False)
        measured |= _of_contexts(TOLD, "held out", 1, 4.8, finds=True)
        changes = {"teacher": "mlp, seed 0"} | changes
    if cue:
        changes = {"chance": 0.5, "environment": "CueAssociation-v0"} | changes
    return evaluation(conditions, measured, **changes)


def _perturbed() -> list[dict[str, Any]]:
    """Three perturbations at two severities, one from step 500 on; and one of no
    severity.
    """
    found = []
    for severity in (0.5, 1.0):
        heavier = {"text": f"mass~{severity}", "severity": severity, "split": "train"}
        found.append(condition(f"heavier {severity}", "heavier", **heavier))
    for severity in (0.5, 1.0):
        gravity = {"text": f"gravity~{severity}", "severity": severity}
        gravity["split"] = "held-out"
        found.append(condition(f"gravity {severity}", "gravity", **gravity))
    for severity in (0.5, 1.0):
        crippled = {"text": f"crippled_leg:-1~{severity}@500", "severity": severity}
        crippled |= {"split": "held-out", "onset": 500}
        label = "crippled last limb"
        found.append(condition(f"{label} {severity}", label, **crippled))
    return [*found, condition("light", text="mass=0.3", split="held-out")]


def _of_run(policy: str) -> Measured:
    """What is measured once a run."""
    runs = RUNS[policy]
    facts = {
        "parameters": PARAMETERS[policy],
        "steps_planned": 1_000_000,
        "training_return": 3000.0,
        "best_training_return": 3100.0,
        "cost/energy_nJ": 25.0,
        "cost/parameter_bytes": 120_000.0,
        "cost/state_bytes": 34_000.0,
        "cost/activation_sparsity": 0.8,
    }
    for part, size in (COSTS[policy] | {"neurons": 200.0}).items():
        facts[f"cost/{part}_accumulates"] = size
        facts[f"cost/{part}_multiply_accumulates"] = size / 5
    found: Measured = {
        (policy, None, name): np.full(runs, value) for name, value in facts.items()
    }
    found[policy, None, "random_return"] = around(-280.0, runs, 1.0)
    found[policy, None, "still_return"] = around(-1.0, runs, 1.0)
    return found


def _of_condition(policy: str, of: dict[str, Any], cue: bool, contexts: bool):
    """What is measured in a condition."""
    runs = RUNS[policy]
    key = of["key"]
    is_plastic = policy == PLASTIC and of["lesion"] is None
    level = BEST_RETURN[policy]
    level -= 4000.0 * HARM_OF_SEVERITY * (of["severity"] or 0.0)
    step = 10.0
    if of["lesion"] is not None:
        level -= HARM_OF_LESION
        step = 12.0
    found: Measured = {
        (policy, key, "return"): around(level, runs, step),
        (policy, key, "length"): np.full((runs, EPISODES), 1000.0),
    }
    if cue:
        found[policy, key, "correct"] = _answers(runs, is_plastic)
    is_clean = of["intact"] == CLEAN_KEY or key == CLEAN_KEY
    if of["onset"] is None and not is_clean:
        return found
    found |= _curves(policy, of, is_plastic)
    if of["onset"] is None:
        return found
    if contexts:
        rate = RATE if is_plastic else 0.0
        return found | _of_contexts(policy, key, runs, rate, finds=is_plastic)
    missing = LOST * LOST_BY_PLASTIC if is_plastic else LOST
    found[policy, key, "reward_before"] = around(RATE, runs, 0.1)
    found[policy, key, "drop"] = around(LOST, runs, 0.1)
    found[policy, key, "missing_at_end"] = around(missing, runs, 0.1)
    if is_plastic:
        found[policy, key, "recovery_time"] = np.array([200.0, 230.0, 260.0])
    return found


def around(value: float, runs: int, step: float) -> np.ndarray:
    """[runs, episodes] around a value: evenly spaced, `step` from episode to episode
    and three times as much from run to run.
    """
    run = np.arange(runs) - (runs - 1) / 2
    episode = np.arange(EPISODES) - (EPISODES - 1) / 2
    return value + 3 * step * run[:, None] + step * episode


def _answers(runs: int, is_plastic: bool) -> np.ndarray:
    """Right answers [runs, episodes, 10 trials]: from the third trial on all of them by
    the plastic policy, half of them by others.
    """
    episode, trial = np.indices((EPISODES, 10))
    right = (episode + trial) % 2
    if is_plastic:
        right = np.where(trial < 2, episode % 2, 1)
    return np.tile(right.astype(float), (runs, 1, 1))


def _curves(policy: str, of: dict[str, Any], is_plastic: bool) -> Measured:
    """Reward and series of the network by step."""
    runs = RUNS[policy]
    key = of["key"]
    lost = LOST * LOST_BY_PLASTIC if is_plastic else LOST
    rewards = {}
    for step in STEPS:
        is_changed = of["onset"] is not None and step > of["onset"]
        rate = RATE - lost if is_changed else RATE
        rewards[step] = around(rate, runs, 0.1)[:, 0]
    found: Measured = {(policy, key, "reward"): rewards}
    series = ["firing_rate"]
    if policy == PLASTIC:
        series += ["fast_weight_norm", "modulator_mean", "modulator_spread"]
    if policy != "mlp":
        for name in series:
            found[policy, key, name] = {step: np.full(runs, 0.2) for step in STEPS}
    return found


def _of_contexts(
    policy: str, key: str, runs: int, rate: float, finds: bool
) -> Measured:
    """What is measured under contexts, of a policy that settles at a rate of reward,
    and perhaps finds out which context it is in.
    """
    found: Measured = {}
    for prefix in ("", "later_"):
        facts = {"contexts": 20.0, "settled_contexts": 18.0}
        if finds:
            facts["time_to_identify"] = 40.0
        for name, value in facts.items():
            found[policy, key, prefix + name] = np.full(runs, value)
        rates = {
            "opening_rate": rate / 2,
            "settled_rate": rate,
            "settled_pace": (rate + 0.3) / 5.1,  # from -0.3, random, to 4.8, told
        }
        for name, value in rates.items():
            found[policy, key, prefix + name] = around(value, runs, 0.1)
        curve = {step: np.full(runs, rate) for step in range(10, 301, 10)}
        found[policy, key, f"{prefix}context_reward"] = curve
    if finds:
        found[policy, key, "regained"] = around(0.75, runs, 0.01)
    return found


def write_example(folder: Path, **kind) -> Path:
    """Writes an example as `evaluate` leaves it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = example(**kind)
    write_description(folder, found.description)
    measures = [name for name in found.frame["measure"].unique() if name != "learned"]
    table.write(folder / RESULTS, table.where(found.frame, measure=measures))
    return folder
