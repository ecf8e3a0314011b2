"""A small synthetic summary.json with everything that one can hold, for tests of its readers."""

import json
import math
from pathlib import Path

POLICIES = {"ndp-oja": [0, 1, 2], "snn": [0, 1, 2], "mlp": [0]}
SEVERITIES = [0.5, 1.0]
CONTEXTS = "motor_signs=held_out@change(500)"


def score(mean, half=0.05, runs=3):
    """A Score around `mean`."""
    by_run = [mean + half * (run - (runs - 1) / 2) for run in range(runs)]
    interval = [mean - half, mean + half]
    return {"mean": mean, "interquartile_mean": mean, "interval": interval, "by_run": by_run}


def curve(onset=None, plastic=True):
    """A Curve over 1000 steps; after the onset it drops, and a plastic policy comes back."""
    steps = list(range(50, 1001, 50))
    mean = []
    for step in steps:
        after = 0 if onset is None or step <= onset else step - onset
        back = 0.8 * (1 - math.exp(-after / 100)) if plastic else 0.0
        mean.append(4.0 - 3.0 * (1 - back) * bool(after))
    low, high = [m - 0.2 for m in mean], [m + 0.2 for m in mean]
    return {"step": steps, "mean": mean, "low": low, "high": high}


def conditions(cue=False, contexts=False):
    """Clean, three labels (one with an onset), and all of them with two lesions."""

    def condition(key, label, text="", severity=None, split=None, onset=None):
        return {
            "key": key,
            "label": label,
            "text": text,
            "severity": severity,
            "split": split,
            "onset": onset,
            "last_onset": onset,
            "lesion": None,
            "intact": key,
        }

    found = [condition("clean", "clean")]
    for label, text, split, onset in (
        ("heavier", "mass", "train", None),
        ("gravity", "gravity", "held-out", None),
        ("crippled last limb", "crippled_leg:-1", "held-out", 500),
    ):
        if cue and onset is None:
            continue
        for severity in SEVERITIES:
            full = f"{text}~{severity}" + ("" if onset is None else f"@{onset}")
            found.append(condition(f"{label} {severity}", label, full, severity, split, onset))
    found.append(condition("light", "light", "mass=0.3", None, "held-out"))
    if contexts:
        found[1:] = [condition("held out", "held out", CONTEXTS, None, "held-out", 500)]
    for lesion in ("off", "carry-over") if contexts else ("off", "modulator-mean"):
        for intact in [c for c in found if c["lesion"] is None]:
            found.append(intact | {"key": f"{intact['key']} [{lesion}]", "lesion": lesion})
    return found


def example_summary(cue=False, contexts=False):
    """A summary of three policies, one of which has no lesions; with `cue`, of a task of trials;
    with `contexts`, of one condition with contexts beside a teacher.
    """
    every = conditions(cue, contexts)
    named = list(dict.fromkeys(c["lesion"] for c in every if c["lesion"]))
    results, severity, lesions, inside, policies, overall = {}, {}, {}, {}, {}, {}
    for number, (policy, seeds) in enumerate(POLICIES.items()):
        runs = len(seeds)
        plastic = policy == "ndp-oja"
        mine = [c for c in every if policy != "mlp" or c["lesion"] is None]
        results[policy] = {
            c["key"]: result(c, plastic, number, runs, trials=10 if cue else 0) for c in mine
        }
        severity[policy] = curves(mine, results[policy], runs)
        lesions[policy] = {
            lesion: {
                c["intact"]: {
                    "key": c["key"],
                    "paired_difference": score(300.0 if plastic else 0.0, 60.0 * plastic, runs),
                    "late_accuracy_difference": score(0.4 * plastic, 0.0, runs) if cue else None,
                    "probability_of_improvement": score(0.9 if plastic else 0.5, 0.0, runs),
                    "identical": not plastic,
                }
                for c in mine
                if c["lesion"] == lesion
            }
            for lesion in named
            if policy != "mlp"
        }
        traced = [c for c in mine if c["key"] == "clean" or c["onset"] is not None]
        steps = list(range(0, 1000, 50))
        series = {"step": steps, "firing_rate": [0.2 + 0.0001 * step for step in steps]}
        if plastic:
            series["fast_weight_norm"] = [0.3 * (1 - math.exp(-step / 200)) for step in steps]
            series["modulator_mean"] = [0.1 * math.cos(step / 100) for step in steps]
            series["modulator_spread"] = [0.2 for _ in steps]
        inside[policy] = {c["key"]: series for c in traced} if policy != "mlp" else {}
        policies[policy] = {
            "training_seeds": seeds,
            "runs": [f"../{policy}/seed-{seed}" for seed in seeds],
            "steps_trained": [1_000_000 for _ in seeds],
            "steps_planned": [1_000_000 for _ in seeds],
            "actor_parameters": 15_624 - 4_000 * number,
            "perturb": None,
            "previous": False,
            "random_return": -280.0,
            "still_return": -1.0,
            "learned": True,
            "clean_return": results[policy]["clean"]["return"],
            "dead_seeds": [2] if policy == "snn" else [],
            "training": {"final": [3000.0 for _ in seeds], "best": [3100.0 for _ in seeds]},
        }
        overall[policy] = {
            lesion: {split: score(0.8 - 0.1 * number, 0.05, runs) for split in ("all", "held-out")}
            for lesion in (("intact", *named) if policy != "mlp" else ("intact",))
        }
    return {
        "settings": {
            "env": "CueAssociation-v0" if cue else "HalfCheetah-v5",
            "env_kwargs": {},
            "suite": "mid-episode",
            "perturb": ["mass=0.3"],
            "lesions": named,
            "episodes": 20,
            "seeds": [1_000_000, 1_000_019],
            "deterministic": True,
            "horizon": 1000,
            "own_limit": True,
            "horizon_factor": 1,
            "chance": 0.5 if cue else None,
            "window": 50,
            "teacher": "snn, seed 0" if contexts else None,
            "versions": {"python": "3.11.0", "mujoco": "4.0.0", "revision": "abcdef0"},
            "command": ["evaluate.py", "runs", "--suite", "mid-episode"],
        },
        "policies": policies,
        "conditions": every,
        "results": results,
        "overall": overall,
        "severity": severity,
        "lesions": lesions,
        "comparisons": [
            {
                "policy": "ndp-oja",
                "other": "snn",
                "measure": measure,
                "unit": "run",
                "difference": {"mean": difference, "interval": [0.5 * difference, 2 * difference]},
                "probability_of_improvement": {"mean": 0.9, "interval": [0.6, 1.0]},
            }
            for measure, difference in (("return", 200.0), ("retention", 0.1))
        ],
        "references": references() if contexts else {},
        "inside": inside,
        "cost": {policy: cost(number) for number, policy in enumerate(policies)},
        "skipped": [
            {"condition": "reversed cues", "policy": None, "reason": "it has no cues"},
            {"condition": "off", "policy": "mlp", "reason": "it has no plasticity"},
        ],
    }


def cost(number):
    """A Cost, which falls with the number of the policy."""

    def count(size):
        return {"accumulates": 1000.0 * size, "multiply_accumulates": 200.0 * size}

    layers = [
        {
            "name": f"layer{index}",
            "synapses": count(4 - number),
            "neurons": count(0.1),
            "plasticity": count(8 if number == 0 else 0),
            "neuromodulators": count(2 if number == 0 else 0),
            "membrane_updates": 64.0,
            "neuron_count": 64.0,
            "activation_sparsity": 0.8,
            "parameter_bytes": 60_000.0,
            "state_bytes": 17_000.0,
        }
        for index in range(2)
    ]
    whole = {"parameter_bytes": 120_000.0, "state_bytes": 34_000.0, "steps": 1000.0}
    return whole | {"layers": layers, "activation_sparsity": 0.8}


def result(condition, plastic, number, runs, trials):
    """A Result of a policy in a condition."""
    hurt = 0.4 * (condition["severity"] or 0.0) + 0.1 * (plastic and condition["lesion"] == "off")
    retention = 1.0 - hurt
    onset = condition["onset"]
    back = plastic and condition["lesion"] is None
    recovery = onset and {
        "before": score(4.0, 0.1, runs),
        "drop": score(3.0, 0.1, runs),
        "left": score(0.6 if back else 3.0, 0.1, runs),
        "fraction": score(0.8 if back else 0.0, 0.02, runs),
        "time": score(230.0, 20.0, runs) | {"interval": None} if back else None,
    }
    levels = [0.5 + 0.5 * back * (1 - 1 / (trial + 1)) for trial in range(trials)]
    return {
        "return": score(4000.0 * retention - 300.0 * number, 100.0, runs),
        "retention": score(retention, 0.03, runs),
        "length": score(1000.0, 0.0, runs),
        "late_accuracy": score(levels[-1], 0.02, runs) if trials else None,
        "accuracy_by_trial": [score(level, 0.02, runs) for level in levels] if trials else None,
        "accuracy_rise": score(levels[-1] - levels[0], 0.02, runs) if trials else None,
        "recovery": recovery,
        "reward_rate": curve(onset, back) if onset or condition["label"] == "clean" else None,
        "adaptation": adaptation(plastic, condition["lesion"], runs)
        if condition["text"] == CONTEXTS
        else None,
    }


def adaptation(plastic, lesion, runs):
    """An Adaptation: a plastic policy finds out what no other one does."""
    knows = plastic and lesion != "off"
    opening = {None: 1.5, "off": 0.0, "carry-over": -0.5}[lesion] if plastic else 0.0
    scores = {
        "contexts": 20,
        "settled_contexts": 20,
        "reward_rate": curve(plastic=knows),
        "opening_rate": score(opening, 0.1, runs),
        "settled_rate": score(4.0 if knows else 0.0, 0.1, runs),
        "settled_pace": score(0.85 if knows else 0.0, 0.02, runs),
        "opening_over_off": None if lesion == "off" else score(opening, 0.1, runs),
        "regained": score(0.75, 0.05, runs) if knows else None,
        "time_to_identify": score(40.0, 4.0, runs) | {"interval": None} if knows else None,
    }
    return {"first": scores, "later": scores}


def references():
    """Of a teacher that is told, and of random actions."""
    steps = list(range(10, 1001, 10))

    def reference(rate):
        return {
            "step": steps, "mean": [rate] * len(steps), "settled_rate": rate, "regained": None,
        }  # fmt: skip

    both = {
        name: {"first": reference(rate), "later": reference(rate) | {"regained": back}}
        for name, rate, back in (("random", -0.3, None), ("teacher", 4.8, 0.95))
    }
    return {"held out": both}


def curves(mine, results, runs):
    """The Severity curves of a policy."""
    found = []
    for lesion, label in dict.fromkeys((c["lesion"], c["label"]) for c in mine):
        of = [c for c in mine if (c["lesion"], c["label"]) == (lesion, label)]
        if of[0]["severity"] is None:
            continue
        clean = "clean" + (f" [{lesion}]" if lesion else "")
        keys = [clean, *(c["key"] for c in of)]
        found.append(
            {
                "label": label,
                "lesion": lesion,
                "split": of[0]["split"],
                "conditions": keys,
                "severity": [0.0, *(c["severity"] for c in of)],
                "retention": [results[key]["retention"] for key in keys],
                "area": score(0.8, 0.03, runs),
            }
        )
    return found


def write_example(folder: Path, **kind) -> Path:
    """Writes summary.json and a few rows of episodes.csv; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(example_summary(**kind), indent=2) + "\n")
    rows = ["policy,training_seed,condition,lesion,seed,return,length"]
    rows += [f"ndp-oja,0,clean,,{1_000_000 + k},{4000.0 + k},1000" for k in range(3)]
    (folder / "episodes.csv").write_text("\n".join(rows) + "\n")
    return folder
