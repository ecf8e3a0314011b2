"""Trains and evaluates policies over seeds, and tabulates all of them.

    python -m benchmarks.learning cue-ppo --jobs 2

Runs that are already there are not repeated, so an interrupted benchmark goes on where it was.
Writes `benchmarks/results/NAME.csv`, one row per run and condition, and prints a Markdown table.
"""

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import trim_mean

ROOT = Path(__file__).parent.parent
SEEDS = (0, 1, 2, 3, 4)
PLASTIC = ("ndp-oja", "ndp-bcm", "dp-oja", "dp-bcm")
ALL = (*PLASTIC, "snn", "lstm", "mlp")


@dataclass(frozen=True)
class Benchmark:
    """What is trained: an environment, the policies, and further arguments of train.py."""

    env: str
    policies: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS


SUPERVISED = ("--trainer.kind", "supervised")
BENCHMARKS = {
    "cue-ppo": Benchmark("CueAssociation-v0", ALL),
    "cue-supervised": Benchmark("CueAssociation-v0", ALL, SUPERVISED),
    "evidence-supervised": Benchmark("EvidenceAccumulation-v0", ALL, SUPERVISED),
    "evidence-ppo": Benchmark("EvidenceAccumulation-v0", ALL),
    "cue-ppo-noisy": Benchmark(
        "CueAssociation-v0", ("ndp-oja", "ndp-bcm", "snn"), ("--env-kwargs", "noise", "0.1")
    ),
    "halfcheetah": Benchmark("HalfCheetah-v5", ("ndp-oja", "snn", "mlp"), seeds=(0, 1, 2)),
}
COLUMNS = [
    "env",
    "policy",
    "seed",
    "steps",
    "seconds",
    "training_return",
    "condition",
    "return",
    "late_accuracy",
    "revision",
]


def run(name: str, policy: str, seed: int, episodes: int) -> list[dict[str, object]]:
    """Trains and evaluates one run, unless that was done before; returns its rows."""
    benchmark = BENCHMARKS[name]
    runs = ROOT / "runs" / "benchmarks" / name
    folder = runs / benchmark.env / policy / f"seed-{seed}"
    train = ["train.py", "--env", benchmark.env, "--policy", policy, "--seed", str(seed)]
    train += ["--runs", str(runs), *benchmark.arguments]
    if (folder / "checkpoints" / "last").exists():
        _python([*train, "--resume"])  # returns at once where nothing is left to do
    else:
        _python([*train, "--overwrite"])
    summary = folder / "evaluations" / "standard" / "summary.json"
    if not summary.exists():
        _python(["evaluate.py", str(folder), "--episodes", str(episodes)])
    with (folder / "progress.csv").open() as file:
        *_, last = csv.DictReader(file)
    metadata = json.loads((folder / "policy" / "policy.json").read_text())["metadata"]
    rows = []
    for condition, result in json.loads(summary.read_text())["conditions"].items():
        row: dict[str, object] = {"env": benchmark.env, "policy": policy, "seed": seed}
        row |= {"steps": metadata["steps"], "seconds": round(float(last["time/time_elapsed"]))}
        row |= {"training_return": round(float(last["rollout/ep_rew_mean"]), 3)}
        row |= {"condition": condition, "return": round(result["return"]["mean"], 3)}
        if result["late_accuracy"] is not None:
            row["late_accuracy"] = round(result["late_accuracy"]["mean"], 4)
        rows.append(row | {"revision": metadata["versions"]["revision"]})
    print(f"{policy} seed {seed} done", file=sys.stderr)
    return rows


def _python(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{result.stderr[-2000:]}")


def table(rows: list[dict[str, object]]) -> str:
    """A Markdown table: per policy and condition the interquartile mean and every seed."""
    measure = "late_accuracy" if any("late_accuracy" in row for row in rows) else "return"
    conditions = list(dict.fromkeys(str(row["condition"]) for row in rows))
    lines = [
        f"{measure.replace('_', ' ')}: interquartile mean over seeds (each seed)",
        "",
        "| policy | " + " | ".join(conditions) + " | seconds |",
        "|---" * (len(conditions) + 2) + "|",
    ]
    digits = 2 if measure == "late_accuracy" else 0
    for policy in dict.fromkeys(str(row["policy"]) for row in rows):
        cells = []
        for condition in conditions:
            values = [
                float(str(row[measure]))
                for row in rows
                if (row["policy"], row["condition"]) == (policy, condition)
            ]
            each = " ".join(f"{value:.{digits}f}" for value in values)
            middle = trim_mean(values, 0.25) if values else 0.0
            cells.append(f"{middle:.{digits}f} ({each})" if values else "")
        seconds = max(int(str(row["seconds"])) for row in rows if row["policy"] == policy)
        lines.append(f"| `{policy}` | " + " | ".join(cells) + f" | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one core each")
    parser.add_argument("--policies", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--episodes", type=int, default=200, help="per condition")
    options = parser.parse_args()
    benchmark = BENCHMARKS[options.name]
    jobs = [
        (options.name, policy, seed, options.episodes)
        for policy in options.policies or benchmark.policies
        for seed in options.seeds or benchmark.seeds
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = [row for result in pool.map(lambda job: run(*job), jobs) for row in result]
    file = ROOT / "benchmarks" / "results" / f"{options.name}.csv"
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
