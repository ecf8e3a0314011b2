"""How settings that tame the updates of a spiking actor change what a robot learns.

    python -m benchmarks.steps --jobs 2

Trains every variant on every seed, with the robot's configuration but for what the variant names;
runs that are there already go on where they were. Writes `benchmarks/results/steps.csv`, one row
per run, and prints a Markdown table: the return in training and the KL divergence of an update.
"""

import argparse
import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import mean

from benchmarks.learning import ROOT, python

WIDE = ("--network.hidden", "256", "256", "--network.readout-decay", "0.5")
FALLING = ("--trainer.learning-rate-schedule", "linear", "--trainer.no-critic-sees-spikes")


@dataclass(frozen=True)
class Variant:
    """What is trained, for how many environment steps, with which further arguments of train.py."""

    name: str
    env: str
    policy: str
    steps: int
    arguments: tuple[str, ...] = ()


def _ant(name: str, *arguments: str, policy: str = "snn") -> Variant:
    return Variant(name, "Ant-v5", policy, 330_000, arguments)


VARIANTS = (
    _ant("mlp", policy="mlp"),
    _ant("64 neurons a layer, readout decay 0.8"),
    _ant("64, 0.5", "--network.readout-decay", "0.5"),
    _ant("256, 0.8", "--network.hidden", "256", "256"),
    _ant("256, 0.5", *WIDE),
    _ant("256, 0.5, steps of 1e-4", *WIDE, "--trainer.learning-rate", "1e-4"),
    _ant("256, 0.5, clip range 0.4", *WIDE, "--trainer.clip-range", "0.4"),
    _ant("256, 0.5, 2 ticks", *WIDE, "--network.ticks", "2"),
    _ant("256, 0.5, slope 4", *WIDE, "--network.slope", "4"),
    Variant("falling steps, critic without spikes", "HalfCheetah-v5", "snn", 1_000_000, FALLING),
)


def run(number: int, seed: int) -> dict[str, object]:
    """Trains one run to its end; returns its row."""
    variant = VARIANTS[number]
    runs = (
        ROOT
        / "runs"
        / "benchmarks"
        / "steps"
        / "".join(c if c.isalnum() else "-" for c in variant.name)
    )
    folder = runs / variant.env / variant.policy / f"seed-{seed}"
    going = (folder / "checkpoints" / "last").exists()
    python([
        "train.py", "--env", variant.env, "--policy", variant.policy, "--seed", str(seed),
        "--steps", str(variant.steps), *variant.arguments, "--runs", str(runs),
        "--resume" if going else "--overwrite",
    ])  # fmt: skip
    with (folder / "progress.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["rollout/ep_rew_mean"]][-1]
    print(f"{variant.env}, {variant.name}, seed {seed} done", file=sys.stderr)
    return {
        "env": variant.env,
        "policy": variant.policy,
        "variant": variant.name,
        "steps": last["time/total_timesteps"],
        "seed": seed,
        "training_return": round(float(last["rollout/ep_rew_mean"]), 1),
        "kl": round(float(last["train/approx_kl"]), 4),
    }


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one core each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    jobs = [(number, seed) for number in range(len(VARIANTS)) for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda job: run(*job), jobs))
    with (ROOT / "benchmarks" / "results" / "steps.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("| robot | setting | return in training, mean (each seed) | KL of an update |")
    print("|---|---|---|---|")
    for variant in VARIANTS:
        mine = [row for row in rows if (row["env"], row["variant"]) == (variant.env, variant.name)]
        returns, kls = ([float(str(row[key])) for row in mine] for key in ("training_return", "kl"))
        each = " ".join(f"{x:.0f}" for x in returns)
        print(
            f"| {variant.env} | {variant.name} | {mean(returns):.0f} ({each}) | {mean(kls):.3f} |"
        )


if __name__ == "__main__":
    main()
