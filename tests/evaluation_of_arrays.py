"""Results of an evaluation made of arrays, for tests of what reads them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.description import parsed
from spikepropamine.evaluation.tabulation import RANDOM, TOLD
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


def description_of(conditions, policies, **changes) -> dict[str, Any]:
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
    description = {
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
    return description | changes


def evaluation(conditions, measured: Measured, **changes) -> EvaluationResults:
    """Results of an evaluation, of arrays; each policy has a seed for each run."""
    policies = {}
    for (policy, key, _), values in measured.items():
        is_clean_array = key == CLEAN_KEY and not isinstance(values, dict)
        if is_clean_array and policy not in (RANDOM, TOLD):
            policies[policy] = range(len(values))
    description = description_of(conditions, policies, **changes)
    return EvaluationResults(
        parsed(description), table.table(rows_of(conditions, measured))
    )
