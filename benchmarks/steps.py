"""How settings that tame the updates of a spiking actor change what Ant learns.

    python -m benchmarks.steps --jobs 2

Trains every variant on every seed, with Ant's configuration but for what the variant names;
runs that are there already go on where they were. Writes `benchmarks/results/steps.csv`, one row
per run, and prints a Markdown table: the return in training and the KL divergence of an update.
"""

import argparse
import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.learning import ROOT, python

ENV, STEPS = "Ant-v5", 330_000


@dataclass(frozen=True)
class Variant:
    """What differs from the configuration, whose steps do not fall here: arguments of train.py."""

    name: str
    policy: str
    learning_rate: float
    arguments: tuple[str, ...] = ()


VARIANTS = (
    Variant("mlp, steps of 3e-4", "mlp", 3e-4),
    Variant("mlp", "mlp", 6e-4),
    Variant("as configured", "snn", 6e-4),
    Variant("steps of 3e-4", "snn", 3e-4),
    Variant("steps of 1e-3", "snn", 1e-3),
    Variant("decay of the membrane 0.8", "snn", 6e-4, ("--network.membrane-decay", "0.8")),
    Variant("128 neurons a layer", "snn", 6e-4, ("--network.hidden", "128", "128")),
    Variant("256 neurons a layer", "snn", 6e-4, ("--network.hidden", "256", "256")),
    Variant("slope of the surrogate 4", "snn", 6e-4, ("--network.slope", "4")),
    Variant("decay of the readout 0.5", "snn", 6e-4, ("--network.readout-decay", "0.5")),
)


def run(variant: Variant, seed: int) -> dict[str, object]:
    """Trains one run to its end; returns its row."""
    name = "".join(c if c.isalnum() else "-" for c in variant.name)
    runs = Path("runs", "benchmarks", "steps", name)  # relative: it goes on file
    folder = ROOT / runs / ENV / variant.policy / f"seed-{seed}"
    going = (folder / "checkpoints" / "last").exists()
    python([
        "train.py", "--env", ENV, "--policy", variant.policy, "--seed", str(seed),
        "--steps", str(STEPS), "--trainer.learning-rate-schedule", "constant",
        "--trainer.learning-rate", str(variant.learning_rate), *variant.arguments,
        "--runs", str(runs), "--resume" if going else "--overwrite",
    ])  # fmt: skip
    with (folder / "progress.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["rollout/ep_rew_mean"]][-1]
    print(f"{variant.name}, seed {seed} done", file=sys.stderr)
    return {
        "env": ENV,
        "policy": variant.policy,
        "variant": variant.name,
        "steps": last["time/total_timesteps"],
        "seed": seed,
        "training_return": round(float(last["rollout/ep_rew_mean"]), 1),
        "kl": round(float(last["train/approx_kl"]), 4),
        "std": round(float(last["train/std"]), 3),
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one core each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    options = parser.parse_args()
    jobs = [(variant, seed) for variant in VARIANTS for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda job: run(*job), jobs))
    with (ROOT / "benchmarks" / "results" / "steps.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("| setting | return in training, mean (each seed) | KL of an update | action noise |")
    print("|---|---|---|---|")
    for variant in VARIANTS:
        mine = [row for row in rows if row["variant"] == variant.name]
        returns, divergences, noises = (
            [float(str(row[key])) for row in mine] for key in ("training_return", "kl", "std")
        )
        each = " ".join(f"{x:.0f}" for x in returns)
        print(
            f"| {variant.name} | {mean(returns):.0f} ({each}) | {mean(divergences):.3f} "
            f"| {mean(noises):.2f} |"
        )


if __name__ == "__main__":
    main()
