"""Trains and evaluates policies over seeds, and tabulates all of them.

    python -m benchmarks.learning cue-ppo --jobs 2

Runs that are already there are not repeated, so an interrupted benchmark goes on where it was.
Writes `benchmarks/results/NAME.csv`, one row per run and condition, and prints a Markdown table.
Rows of other runs than those asked for stay in the file. The trained robots stay in `trained/`.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import trim_mean

ROOT = Path(__file__).parent.parent
TRAINED = ROOT / "trained"
SEEDS = (0, 1, 2, 3, 4)
PLASTIC = ("ndp-oja", "ndp-bcm", "dp-oja", "dp-bcm")
ALL = (*PLASTIC, "snn", "lstm", "mlp")


@dataclass(frozen=True)
class Benchmark:
    """What is trained: environments, policies, and further arguments of train.py; on how many
    episodes a condition it is evaluated; and whether the policies are kept in the repository.
    """

    envs: tuple[str, ...]
    policies: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    episodes: int = 200
    keep: bool = False


CUE, EVIDENCE = ("CueAssociation-v0",), ("EvidenceAccumulation-v0",)
SUPERVISED = ("--trainer.kind", "supervised")
BENCHMARKS = {
    "cue-ppo": Benchmark(CUE, ALL),
    "cue-supervised": Benchmark(CUE, ALL, SUPERVISED),
    "evidence-supervised": Benchmark(EVIDENCE, ALL, SUPERVISED),
    "evidence-ppo": Benchmark(EVIDENCE, ALL),
    "cue-ppo-noisy": Benchmark(
        CUE, ("ndp-oja", "ndp-bcm", "snn"), ("--env-kwargs", "noise", "0.1")
    ),
    "robots": Benchmark(
        ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Swimmer-v5"),
        ("ndp-oja", "snn", "mlp"),
        seeds=(0, 1, 2),
        episodes=20,
        keep=True,
    ),
    "robots-lstm": Benchmark(
        ("HalfCheetah-v5", "Ant-v5"), ("lstm",), seeds=(0, 1, 2), episodes=20, keep=True
    ),
}
COLUMNS = [
    "env",
    "policy",
    "seed",
    "steps",
    "seconds",
    "training_return",
    "best_training_return",
    "condition",
    "return",
    "late_accuracy",
    "revision",
]


def run(name: str, env: str, policy: str, seed: int, episodes: int) -> list[dict[str, object]]:
    """Trains and evaluates one run, unless that was done before; returns its rows."""
    runs = Path("runs", "benchmarks", name)  # relative: it goes on file
    folder = ROOT / runs / env / policy / f"seed-{seed}"
    train = ["train.py", "--env", env, "--policy", policy, "--seed", str(seed)]
    train += ["--runs", str(runs), *BENCHMARKS[name].arguments]
    # returns at once where nothing is left to do
    python([*train, "--resume" if folder.exists() else "--overwrite"])
    python(["evaluate.py", str(folder), "--episodes", str(episodes)])  # keeps what is there
    if BENCHMARKS[name].keep:
        keep(folder, TRAINED / name / env / policy / folder.name)
    summary = json.loads((folder / "evaluations" / "standard" / "summary.json").read_text())
    with (folder / "progress.csv").open() as file:
        progress = list(csv.DictReader(file))
    returns = [float(row["rollout/ep_rew_mean"]) for row in progress if row["rollout/ep_rew_mean"]]
    metadata = json.loads((folder / "policy" / "policy.json").read_text())["metadata"]
    rows = []
    for condition, result in summary["results"][policy].items():
        row: dict[str, object] = {"env": env, "policy": policy, "seed": seed}
        row |= {"steps": metadata["steps"]}
        row |= {"seconds": round(float(progress[-1]["time/time_elapsed"]))}
        row |= {"training_return": round(returns[-1], 3)}
        row |= {"best_training_return": round(max(returns), 3)}
        row |= {"condition": condition, "return": round(result["return"]["mean"], 3)}
        if result["late_accuracy"] is not None:
            row["late_accuracy"] = round(result["late_accuracy"]["mean"], 4)
        rows.append(row | {"revision": metadata["versions"]["revision"]})
    print(f"{env} {policy} seed {seed} done", file=sys.stderr)
    return rows


def keep(run: Path, folder: Path) -> None:
    """Copies what evaluate.py needs of a run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "policy", folder / "policy")
    for name in ("config.yaml", "progress.csv"):
        shutil.copy(run / name, folder)


def python(arguments: list[str]) -> None:
    """Runs a script of the project to its end; a failure ends the benchmark with what it said."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{result.stderr[-2000:]}")


def merged(
    rows: list[dict[str, object]], file: Path, benchmark: Benchmark
) -> list[dict[str, object]]:
    """These rows, and those that the file has of other runs, in the order of the benchmark."""
    fresh = {(row["env"], row["policy"], row["seed"]) for row in rows}
    if file.exists():
        with file.open() as stream:
            old = [
                {k: v for k, v in row.items() if v} | {"seed": int(row["seed"])}
                for row in csv.DictReader(stream)
            ]
        rows = rows + [r for r in old if (r["env"], r["policy"], r["seed"]) not in fresh]
    order = [*benchmark.envs, *benchmark.policies, *benchmark.seeds]
    return sorted(rows, key=lambda r: [order.index(r[k]) for k in ("env", "policy", "seed")])


def table(rows: list[dict[str, object]]) -> str:
    """A Markdown table: per policy and condition the interquartile mean and every seed."""
    measure = "late_accuracy" if any("late_accuracy" in row for row in rows) else "return"
    digits = 2 if measure == "late_accuracy" else 0
    conditions = list(dict.fromkeys(str(row["condition"]) for row in rows))
    training = (
        {}
        if measure == "late_accuracy"
        else {
            "training_return": "last training return",
            "best_training_return": "best training return",
        }
    )
    lines = [
        f"{measure.replace('_', ' ')}: interquartile mean over seeds (each seed)",
        "",
        "| policy | " + " | ".join([*training.values(), *conditions, "seconds"]) + " |",
        "|---" * (len(training) + len(conditions) + 2) + "|",
    ]
    for policy in dict.fromkeys(str(row["policy"]) for row in rows):
        mine = [row for row in rows if row["policy"] == policy]
        by_condition = [[row for row in mine if row["condition"] == c] for c in conditions]
        intact = by_condition[0]
        cells = [_cell(intact, key, digits) for key in training]
        cells += [_cell(some, measure, digits) for some in by_condition]
        seconds = max(int(str(row["seconds"])) for row in mine)
        lines.append(f"| `{policy}` | " + " | ".join(cells) + f" | {seconds} |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, object]], key: str, digits: int) -> str:
    values = [float(str(row[key])) for row in rows]
    if not values:
        return ""
    each = " ".join(f"{value:.{digits}f}" for value in values)
    return f"{trim_mean(values, 0.25):.{digits}f} ({each})"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one core each")
    parser.add_argument("--envs", nargs="+", help="only these")
    parser.add_argument("--policies", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument(
        "--episodes", type=int, help="per condition, instead of 200, or 20 for robots"
    )
    options = parser.parse_args()
    benchmark = BENCHMARKS[options.name]
    jobs = [
        (options.name, env, policy, seed, options.episodes or benchmark.episodes)
        for env in options.envs or benchmark.envs
        for policy in options.policies or benchmark.policies
        for seed in options.seeds or benchmark.seeds
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = [row for result in pool.map(lambda job: run(*job), jobs) for row in result]
    file = ROOT / "benchmarks" / "results" / f"{options.name}.csv"
    file.parent.mkdir(exist_ok=True)
    rows = merged(rows, file, benchmark)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for env in dict.fromkeys(str(row["env"]) for row in rows):
        print(f"\n{env}, " + table([row for row in rows if row["env"] == env]))


if __name__ == "__main__":
    main()
