"""One small evaluation, of three policies in a few conditions, for tests of readers.

All numbers are at the top. Each policy has a few runs of five episodes, whose values
lie evenly around these numbers (`around`). The plastic policy recovers, finds out its
context and answers right from the third trial on; others and lesions do not.
"""

from pathlib import Path
from typing import Any

import numpy as np
from evaluation_of_arrays import (
    EPISODES,
    Measured,
    condition,
    evaluation,
    with_lesion,
)

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.description import write_description
from spikepropamine.evaluation.tabulation import RANDOM, TOLD
from spikepropamine.folder import RESULTS
from spikepropamine.report.evaluation import EvaluationResults

RUNS = {"ndp-oja": 3, "snn": 3, "mlp": 1}
PLASTIC = "ndp-oja"
LESIONS = ("off", "modulator-shuffled")
CONTEXTS = "motor_signs=held_out@change(500)"
STEPS = range(50, 1001, 50)  # of curves

PARAMETERS = {"ndp-oja": 15_624, "snn": 11_624, "mlp": 7_624}
CLEAN_RETURN = {"ndp-oja": 4000.0, "snn": 3700.0, "mlp": 3400.0}
LOST_TO_SEVERITY = {None: 0.0, 0.5: 800.0, 1.0: 1600.0}  # of the return
LOST_TO_LESION = 400.0
RATE = 4.0  # reward a step, before a change
DROP = 3.0  # of that rate, right after a change
MISSING = 3.0  # of that rate, in the end
MISSING_OF_PLASTIC = 0.6  # of a policy that recovers
RATE_OF_RANDOM = -0.3  # under contexts
RATE_OF_TOLD = 4.8
COSTS = {  # accumulates; a fifth as many multiply-accumulates
    "ndp-oja": {"synapses": 8000.0, "plasticity": 16_000.0, "neuromodulators": 4000.0},
    "snn": {"synapses": 6000.0, "plasticity": 0.0, "neuromodulators": 0.0},
    "mlp": {"synapses": 4000.0, "plasticity": 0.0, "neuromodulators": 0.0},
}
SERIES = {  # of the inside of the networks
    "ndp-oja": (
        "firing_rate",
        "fast_weight_norm",
        "modulator_mean",
        "modulator_spread",
    ),
    "snn": ("firing_rate",),
    "mlp": (),
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
            if one["lesion"] is not None and policy != PLASTIC:
                continue
            adapts = policy == PLASTIC and one["lesion"] is None
            measured |= _episodes(policy, one)
            if cue:
                measured[policy, one["key"], "correct"] = _answers(policy, adapts)
            if one["intact"] == CLEAN_KEY or one["onset"] is not None:
                measured |= _curves(policy, one, adapts)
            if one["onset"] is None:
                continue
            if contexts:
                rate = RATE if adapts else 0.0
                measured |= _of_contexts(policy, one["key"], rate, adapts)
            else:
                measured |= _recovery(policy, one["key"], adapts)
    if contexts:
        measured |= _of_contexts(RANDOM, "held out", RATE_OF_RANDOM, finds=False)
        measured |= _of_contexts(TOLD, "held out", RATE_OF_TOLD, finds=True)
        changes = {"teacher": "mlp, seed 0"} | changes
    if cue:
        changes = {"chance": 0.5, "environment": "CueAssociation-v0"} | changes
    return evaluation(conditions, measured, **changes)


def _perturbed() -> list[dict[str, Any]]:
    """Three perturbations at two severities, one from step 500 on; and one of no
    severity.
    """
    kinds = {
        "heavier": {"text": "mass~{}", "split": "train"},
        "gravity": {"text": "gravity~{}", "split": "held-out"},
        "crippled last limb": {
            "text": "crippled_leg:-1~{}@500", "split": "held-out", "onset": 500
        },
    }  # fmt: skip
    conditions = []
    for label, kind in kinds.items():
        for severity in (0.5, 1.0):
            text = kind["text"].format(severity)
            more = kind | {"text": text, "severity": severity}
            conditions.append(condition(f"{label} {severity}", label, **more))
    conditions.append(condition("light", text="mass=0.3", split="held-out"))
    return conditions


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
    measured: Measured = {
        (policy, None, name): np.full(runs, value) for name, value in facts.items()
    }
    measured[policy, None, "random_return"] = around(-280.0, runs, 1.0)
    measured[policy, None, "still_return"] = around(-1.0, runs, 1.0)
    return measured


def around(value: float, runs: int, step: float) -> np.ndarray:
    """[runs, episodes] around a value: evenly spaced, `step` from episode to episode
    and three times as much from run to run.
    """
    run = np.arange(runs) - (runs - 1) / 2
    episode = np.arange(EPISODES) - (EPISODES - 1) / 2
    return value + 3 * step * run[:, None] + step * episode


def _episodes(policy: str, one: dict[str, Any]) -> Measured:
    """Returns and lengths in a condition."""
    runs = RUNS[policy]
    mean = CLEAN_RETURN[policy] - LOST_TO_SEVERITY[one["severity"]]
    returns = around(mean, runs, 10.0)
    if one["lesion"] is not None:
        returns = around(mean - LOST_TO_LESION, runs, 12.0)
    return {
        (policy, one["key"], "return"): returns,
        (policy, one["key"], "length"): np.full((runs, EPISODES), 1000.0),
    }


def _answers(policy: str, adapts: bool) -> np.ndarray:
    """Right answers [runs, episodes, 10 trials]: half of them, and who adapts has all
    from the third trial on.
    """
    episode, trial = np.indices((EPISODES, 10))
    right = (episode + trial) % 2
    if adapts:
        right = np.where(trial < 2, episode % 2, 1)
    return np.tile(right.astype(float), (RUNS[policy], 1, 1))


def _curves(policy: str, one: dict[str, Any], adapts: bool) -> Measured:
    """Reward and series of the network by step."""
    runs = RUNS[policy]
    rewards = {}
    for step in STEPS:
        rate = RATE
        if one["onset"] is not None and step > one["onset"]:
            rate -= MISSING_OF_PLASTIC if adapts else MISSING
        rewards[step] = around(rate, runs, 0.1)[:, 0]
    measured: Measured = {(policy, one["key"], "reward"): rewards}
    for name in SERIES[policy]:
        series = {step: np.full(runs, 0.2) for step in STEPS}
        measured[policy, one["key"], name] = series
    return measured


def _recovery(policy: str, key: str, adapts: bool) -> Measured:
    """What is measured of a change within the episode."""
    runs = RUNS[policy]
    missing = MISSING_OF_PLASTIC if adapts else MISSING
    measured: Measured = {
        (policy, key, "reward_before"): around(RATE, runs, 0.1),
        (policy, key, "drop"): around(DROP, runs, 0.1),
        (policy, key, "missing_at_end"): around(missing, runs, 0.1),
    }
    if adapts:
        measured[policy, key, "recovery_time"] = np.array([200.0, 230.0, 260.0])
    return measured


def _of_contexts(policy: str, key: str, rate: float, finds: bool) -> Measured:
    """What is measured under contexts.

    Args:
        policy: one of `RUNS`, or who stands in the place of one.
        key: of the condition.
        rate: of reward, that is settled on.
        finds: whether the context is found out.
    """
    runs = RUNS.get(policy, 1)
    pace = (rate - RATE_OF_RANDOM) / (RATE_OF_TOLD - RATE_OF_RANDOM)
    measured: Measured = {}
    for prefix in ("", "later_"):
        facts = {"contexts": 20.0, "settled_contexts": 18.0}
        if finds:
            facts["time_to_identify"] = 40.0
        for name, value in facts.items():
            measured[policy, key, prefix + name] = np.full(runs, value)
        rates = {"opening_rate": rate / 2, "settled_rate": rate, "settled_pace": pace}
        for name, value in rates.items():
            measured[policy, key, prefix + name] = around(value, runs, 0.1)
        curve = {step: np.full(runs, rate) for step in range(10, 301, 10)}
        measured[policy, key, f"{prefix}context_reward"] = curve
    if finds:
        measured[policy, key, "regained"] = around(0.75, runs, 0.01)
    return measured


def write_example(folder: Path, **kind) -> Path:
    """Writes an example as `evaluate` leaves it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    results = example(**kind)
    write_description(folder, results.description)
    measures = [name for name in results.frame["measure"].unique() if name != "learned"]
    table.write(folder / RESULTS, table.where(results.frame, measure=measures))
    return folder
