"""How well the robots of `benchmarks.learning` keep their return under every suite.

    python -m benchmarks.suites --env HalfCheetah-v5

Evaluates all policies for one task that are in `trained/` together, on all cores; what was measured
before is not measured again. Writes `benchmarks/results/ENV-suites.csv`, one row per policy and
condition, and prints a Markdown table of retention by suite and split.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from benchmarks.learning import BENCHMARKS, ROOT, TRAINED
from spikepropamine.envs.perturbations.suites import suite_names

# the full number of episodes where the claim is about novel dynamics, fewer elsewhere
EPISODES = {"novel-dynamics": 20, "noise": 5, "body-damage": 5, "mid-episode": 5}
LESIONS = {"mid-episode": ["--lesions", "off"]}
COLUMNS = [
    "env", "suite", "policy", "condition", "severity", "split", "lesion", "episodes", "seeds",
    "return", "retention", "low", "high", "recovery_fraction", "recovery_time",
]  # fmt: skip


def evaluate(env: str, suite: str, runs: list[Path], episodes: int) -> dict:
    """The summary of all runs under a suite."""
    out = ROOT / "runs" / "benchmarks" / "suites" / env / suite
    command = ["evaluate.py", *map(str, runs), "--suite", suite, "--out", str(out)]
    command += ["--episodes", str(episodes), *LESIONS.get(suite, [])]
    if subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads((out / "summary.json").read_text())


def rows_of(summary: dict, suite: str) -> list[dict[str, object]]:
    """One row per policy and condition."""
    rows = []
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    for policy, results in summary["results"].items():
        for key, result in results.items():
            condition, kept = conditions[key], result["retention"]
            recovery = result["recovery"] or {}
            row: dict[str, object] = {"env": summary["settings"]["env"], "suite": suite}
            row |= {"policy": policy, "condition": condition["label"]}
            row |= {name: condition[name] for name in ("severity", "split", "lesion")}
            row |= {"episodes": summary["settings"]["episodes"]}
            row |= {"seeds": len(summary["policies"][policy]["training_seeds"])}
            row |= {"return": round(result["return"]["mean"], 1)}
            if kept is not None:
                row |= {"retention": round(kept["mean"], 3)}
                if kept["interval"] is not None:
                    row |= dict(zip(("low", "high"), (round(x, 3) for x in kept["interval"])))
            for name in ("fraction", "time"):
                if recovery.get(name) is not None:
                    row[f"recovery_{name}"] = round(recovery[name]["mean"], 3)
            rows.append(row)
    return rows


def table(summaries: dict[str, dict]) -> str:
    """Markdown: mean retention, with its interval, by suite and split, for each policy; and the
    mean return under the perturbations of a suite, since a share may be of a small return.
    """
    lines = ["| policy | suite | all | train | held out | return |", "|---" * 6 + "|"]
    for suite, summary in summaries.items():
        for policy, by_lesion in summary["overall"].items():
            for lesion, by_split in by_lesion.items():
                name = f"`{policy}`" if lesion == "intact" else f"`{policy}`, plasticity {lesion}"
                cells = [_cell(by_split.get(split)) for split in ("all", "train", "held-out")]
                perturbed = [
                    summary["results"][policy][condition["key"]]["return"]["mean"]
                    for condition in summary["conditions"]
                    if condition["text"] and (condition["lesion"] or "intact") == lesion
                ]
                cells.append(f"{fmean(perturbed):.0f}")
                lines.append(f"| {name} | {suite} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(score: dict | None) -> str:
    if score is None:
        return ""
    if score["interval"] is None:
        return f"{score['mean']:.2f} [?]"
    low, high = score["interval"]
    return f"{score['mean']:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", choices=BENCHMARKS["robots"].envs, default="HalfCheetah-v5")
    parser.add_argument("--suites", nargs="+", choices=suite_names(), default=list(EPISODES))
    parser.add_argument("--episodes", type=int, help="per condition, instead of the usual 20 or 5")
    options = parser.parse_args()
    runs = sorted(TRAINED.glob(f"robots*/{options.env}/*/seed-*"))
    if not runs:
        raise SystemExit(
            f"there are no trained policies for {options.env}; first: "
            f"python -m benchmarks.learning robots --envs {options.env}"
        )
    summaries = {
        suite: evaluate(options.env, suite, runs, options.episodes or EPISODES[suite])
        for suite in options.suites
    }
    file = ROOT / "benchmarks" / "results" / f"{options.env}-suites.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for suite, summary in summaries.items():
            writer.writerows(rows_of(summary, suite))
    print(table(summaries))


if __name__ == "__main__":
    main()
