"""Small evaluations made of numbers, for tests of their readers."""

from pathlib import Path

import numpy as np

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.description import parsed, write_description
from spikepropamine.evaluation.tabulation import RANDOM, TOLD
from spikepropamine.folder import RESULTS
from spikepropamine.report.evaluation import EvaluationResults

SEEDS = {"ndp-oja": [0, 1, 2], "snn": [0, 1, 2], "mlp": [0]}
FIRST, EPISODES = 1_000_000, 5
CONTEXTS = "motor_signs=held_out@change(500)"
OF_RUN = (
    "parameters",
    "steps_planned",
    "training_return",
    "best_training_return",
    "cost/",
)


def condition(key=CLEAN_KEY, label=None, lesion=None, **more):
    """As `evaluation.json` has it."""
    onset = more.get("onset")
    found = {
        "label": label or key,
        "intact": key,
        "text": "",
        "severity": None,
        "split": None,
    }
    found |= {"onset": onset, "last_onset": onset} | more
    return {"key": f"{key} [{lesion}]" if lesion else key, "lesion": lesion} | found


def rows_of(conditions, measured):
    """Rows of arrays by (policy, key of the condition, measure): [runs] of facts and curves that
    are {at: [runs]}, [runs, episodes], or [runs, episodes, trials].
    """
    known = {c["key"]: c for c in conditions}
    for (policy, key, measure), values in measured.items():
        curve = values if isinstance(values, dict) else {None: values}
        for at, of in curve.items():
            for run, of_run in enumerate(np.asarray(of, dtype=float)):
                row = {
                    "environment": "Robot-v0",
                    "policy": policy,
                    "measure": measure,
                    "at": at,
                }
                if policy not in (RANDOM, TOLD):
                    row |= {"seed": run, "steps": 1_000_000}
                if key is not None:
                    row |= {
                        name: known[key][name]
                        for name in ("lesion", "severity", "split")
                    }
                    row["condition"] = key
                row["suite"] = None if measure.startswith(OF_RUN) else "some"
                for *where, value in [(*i, v) for i, v in np.ndenumerate(of_run)]:
                    names = ("episode", "at")[: len(where)]
                    place = dict(zip(names, where))
                    if "episode" in place:
                        place["episode"] += FIRST
                    if np.isfinite(value):
                        yield row | place | {"value": value}


def asked_of(conditions, policies, **changes):
    """What `evaluation.json` holds."""
    runs = [
        {"policy": policy, "seed": seed, "steps": 1_000_000, "perturb": None,
         "folder": f"../{policy}/seed-{seed}"}
        for policy, seeds in policies.items() for seed in seeds
    ]  # fmt: skip
    return {
        "environment": "HalfCheetah-v5", "env_kwargs": {}, "suite": "mid-episode",
        "seeds": [FIRST, FIRST + EPISODES - 1], "deterministic": True, "horizon": 1000,
        "own_limit": True, "window": 50, "chance": None, "return_range": None, "teacher": None,
        "versions": {"python": "3.11.0", "revision": "abcdef0"},
        "command": ["evaluate.py", "runs", "--suite", "mid-episode"],
        "conditions": conditions, "runs": runs,
        "skipped": [{"condition": "off", "policy": "mlp", "reason": "it has no plasticity"}],
    } | changes  # fmt: skip


def evaluation(conditions, measured, **changes):
    """Results of an evaluation, of arrays, see `rows_of`; each policy has a seed for each run."""
    policies = {}
    for (policy, key, _), values in measured.items():
        if (
            policy not in (RANDOM, TOLD)
            and key == CLEAN_KEY
            and not isinstance(values, dict)
        ):
            policies[policy] = list(range(len(values)))
    return EvaluationResults(
        parsed(asked_of(conditions, policies, **changes)),
        table.table(rows_of(conditions, measured)),
    )


def example(cue=False, contexts=False, only_clean=False, **changes):
    """Three policies, one of which is plastic; with `cue`, in a task of trials; with
    `contexts`, in one condition with contexts beside a teacher.
    """
    intact = [condition()]
    if contexts:
        intact.append(condition("held out", text=CONTEXTS, split="held-out", onset=500))
    elif not only_clean:
        for label, text, split, onset in (
            ("heavier", "mass", "train", None),
            ("gravity", "gravity", "held-out", None),
            ("crippled last limb", "crippled_leg:-1", "held-out", 500),
        ):
            for severity in (0.5, 1.0):
                text = f"{text}~{severity}" + ("" if onset is None else f"@{onset}")
                more = {
                    "text": text,
                    "severity": severity,
                    "split": split,
                    "onset": onset,
                }
                intact.append(condition(f"{label} {severity}", label, **more))
        intact.append(condition("light", text="mass=0.3", split="held-out"))
    conditions = list(intact)
    for lesion in () if only_clean else ("off", "modulator-shuffled"):
        conditions += [
            c | {"key": f"{c['key']} [{lesion}]", "lesion": lesion, "intact": c["key"]}
            for c in intact
        ]
    measured = {}
    for number, (policy, seeds) in enumerate(SEEDS.items()):
        if not only_clean or policy == "ndp-oja":
            measured |= _policy(conditions, policy, number, len(seeds), cue, contexts)
    if contexts:
        for policy, rate in ((RANDOM, -0.3), (TOLD, 4.8)):
            measured |= _contexts(policy, "held out", 1, rate, policy == TOLD)
    changes = (
        {"chance": 0.5, "environment": "CueAssociation-v0"} | changes
        if cue
        else changes
    )
    if contexts:
        changes = {"teacher": "mlp, seed 0"} | changes
    return evaluation(conditions, measured, **changes)


def _spread(value, runs, step=10.0):
    """[runs, episodes] around a value."""
    run, episode = (
        np.arange(runs) - (runs - 1) / 2,
        np.arange(EPISODES) - (EPISODES - 1) / 2,
    )
    return value + 3 * step * run[:, None] + step * episode


def _policy(conditions, policy, number, runs, cue, contexts):
    plastic = policy == "ndp-oja"
    steps = range(50, 1001, 50)
    found = {
        (policy, None, name): np.full(runs, value)
        for name, value in (("parameters", 15_624 - 4_000 * number), ("steps_planned", 1_000_000),
                            ("training_return", 3000.0), ("best_training_return", 3100.0))
    }  # fmt: skip
    for name, value in (("random_return", -280.0), ("still_return", -1.0)):
        found[policy, None, name] = _spread(value, runs, 1.0)
    found |= {(policy, None, f"cost/{name}"): np.full(runs, value)
              for name, value in _costs(number).items()}  # fmt: skip
    for c in conditions:
        key, onset = c["key"], c["onset"]
        if c["lesion"] and not plastic:
            continue
        harm = 400.0 if plastic and c["lesion"] else 0.0
        level = 4000.0 * (1 - 0.4 * (c["severity"] or 0.0)) - 300.0 * number - harm
        found[policy, key, "return"] = _spread(level, runs, 12.0 if harm else 10.0)
        found[policy, key, "length"] = np.full((runs, EPISODES), 1000.0)
        back = plastic and c["lesion"] is None
        if cue:
            trial = np.arange(10)
            right = np.where(trial < 2, (np.arange(EPISODES) % 2)[:, None], float(back))
            right = right if back else (np.arange(EPISODES)[:, None] + trial) % 2
            found[policy, key, "correct"] = np.tile(right.astype(float), (runs, 1, 1))
        if onset is None and key.split(" [")[0] != CLEAN_KEY:
            continue
        after = [0 if onset is None or s <= onset else 1 for s in steps]
        rates = [4.0 - 3.0 * (0.2 if back else 1.0) * now for now in after]
        found[policy, key, "reward"] = {
            s: _spread(r, runs, 0.1)[:, 0] for s, r in zip(steps, rates)
        }
        series = ["firing_rate"] + [
            "fast_weight_norm",
            "modulator_mean",
            "modulator_spread",
        ] * plastic
        if policy != "mlp":
            found |= {
                (policy, key, name): {s: np.full(runs, 0.2) for s in steps}
                for name in series
            }
        if contexts and onset is not None:
            found |= _contexts(policy, key, runs, 4.0 if back else 0.0, back)
        elif onset is not None:
            for name, value in (("reward_before", 4.0), ("drop", 3.0)):
                found[policy, key, name] = _spread(value, runs, 0.1)
            found[policy, key, "missing_at_end"] = _spread(
                0.6 if back else 3.0, runs, 0.1
            )
            if back:
                found[policy, key, "recovery_time"] = np.array([200.0, 230.0, 260.0])
    return found


def _contexts(policy, key, runs, rate, finds):
    found = {}
    for prefix in ("", "later_"):
        for name, value in (("contexts", 20.0), ("settled_contexts", 18.0)):
            found[policy, key, prefix + name] = np.full(runs, value)
        values = {"opening_rate": rate / 2, "settled_rate": rate}
        values["settled_pace"] = (rate + 0.3) / 5.1
        for name, value in values.items():
            found[policy, key, prefix + name] = _spread(value, runs, 0.1)
        steps = range(10, 301, 10)
        found[policy, key, f"{prefix}context_reward"] = {
            s: np.full(runs, rate) for s in steps
        }
        if finds:
            found[policy, key, f"{prefix}time_to_identify"] = np.full(runs, 40.0)
    if finds:
        found[policy, key, "regained"] = _spread(0.75, runs, 0.01)
    return found


def _costs(number):
    plastic = float(number == 0)
    counts = {"synapses": 8.0 - 2 * number, "neurons": 0.2, "plasticity": 16 * plastic,
              "neuromodulators": 4 * plastic}  # fmt: skip
    found = {"energy_nJ": 25.0, "parameter_bytes": 120_000.0, "state_bytes": 34_000.0}
    for part, size in counts.items():
        found |= {
            f"{part}_accumulates": 1000 * size,
            f"{part}_multiply_accumulates": 200 * size,
        }
    return found | {"activation_sparsity": 0.8}


def write_example(folder: Path, **kind) -> Path:
    """Writes an example as `evaluate` leaves it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = example(**kind)
    write_description(folder, found.description)
    table.write(folder / RESULTS, table.where(found.frame, measure=[
        m for m in found.frame["measure"].unique() if m != "learned"]))  # fmt: skip
    return folder
