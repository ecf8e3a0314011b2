"""Judges trained policies: `python evaluate.py runs/CueAssociation-v0/ndp-oja/seed-0`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import envs  # noqa: F401  registers the environments
from evaluation.conditions import CONDITIONS
from evaluation.episodes import Progress
from evaluation.results import compare, summary_of, table, write, write_comparison
from evaluation.runs import describe_task, evaluate, load_runs
from training.run import versions
from training.settings import UsageError

FIRST_SEED = 1_000_000


class Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> Any:
        """As UsageError."""
        raise UsageError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    parser = Parser("evaluate.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--episodes", type=int, default=100, help="per condition, the same in each (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=FIRST_SEED, help="of the first episode (%(default)s)"
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=list(CONDITIONS),
        metavar="NAME",
        help=f"some of: {', '.join(CONDITIONS)} (all)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="draw actions instead of taking the likeliest"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where a comparison of the runs is written"
    )
    options = parser.parse_args(arguments)
    if options.episodes < 1:
        raise UsageError(f"--episodes must be at least 1, got {options.episodes}")
    if options.seed < 0:
        raise UsageError(f"--seed must be 0 or more, got {options.seed}")
    if options.out is not None and options.out.is_file():
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    return options


def run_all(options: argparse.Namespace) -> None:
    """Evaluates, writes and prints. Raises UsageError before anything is written."""
    seeds = range(options.seed, options.seed + options.episodes)
    try:
        runs = load_runs(options.runs, options.conditions, seeds)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    total = sum(len(run.conditions) for run in runs) * len(seeds)
    progress = Progress(total, describe_task(runs[0]).horizon)
    summaries = []
    for run in runs:
        episodes = evaluate(run, seeds, not options.stochastic, progress)
        summaries.append(summary_of(run, episodes, seeds, not options.stochastic, versions()))
        write(run, episodes, summaries[-1])
    progress.close()
    groups = compare(runs, summaries)
    if options.out is not None:
        write_comparison(runs, groups, summaries[0]["settings"], options.out)
    several = any(len(group["seeds"]) > 1 for group in groups.values())
    print(f"{runs[0].environment}, {options.episodes} new episodes per condition, the same in each")
    over = "training seeds, or over episodes where there is one seed" if several else "episodes"
    print(f"mean [95 % interval over {over}]")
    print()
    print(table(groups))
    print()
    for run in runs:
        print(f"results are in {run.results}")
    if options.out is not None:
        print(f"the comparison is in {options.out}")


def main() -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    try:
        run_all(parse(sys.argv[1:]))
    except UsageError as error:
        print(f"evaluate.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; runs that were finished have their results", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
