"""`spikepropamine evaluate`: judges trained policies."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.common import UsageError, add_import, import_modules, run_command, versions
from spikepropamine.envs.perturbations.suites import suite_names
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation.ask.conditions import STANDARD, choose, conditions_of
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.judge.summarize import summarize
from spikepropamine.evaluation.report.files import write
from spikepropamine.evaluation.report.tables import tables
from spikepropamine.evaluation.run.plan import evaluate
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.tracking import track_evaluation
from spikepropamine.folder import RunFolder
from spikepropamine.tracking import check_credentials

FIRST_SEED = 1_000_000
FILMED = {name: lesion for name, lesion in LESIONS.items() if lesion.filmed}


class Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> Any:
        """As UsageError."""
        raise UsageError(message)


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    suites = ", ".join([STANDARD, *suite_names()])
    lesions = "; ".join(f"{lesion.name}: {lesion.sentence}" for lesion in LESIONS.values())
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--suite", metavar="NAME", help=f"of conditions: {suites} ({STANDARD}, without --perturb)"
    )
    parser.add_argument(
        "--perturb", nargs="+", default=[], metavar="TEXT", help='conditions, as "mass=1.5@500"'
    )
    parser.add_argument(
        "--lesions",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"take plasticity away in every condition ({lesions})",
    )
    parser.add_argument(
        "--conditions", nargs="+", metavar="NAME", help="only these of the suite, and clean (all)"
    )
    parser.add_argument(
        "--episodes", type=int, default=100, help="per condition, the same in each (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=FIRST_SEED, help="of the first episode (%(default)s)"
    )
    parser.add_argument(
        "--horizon-factor",
        type=int,
        default=1,
        metavar="K",
        help="episodes of K times the length (%(default)s)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="draw actions instead of taking the likeliest"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (as many as there are cores)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where results go (evaluations/SUITE in the folder that the runs have in common)",
    )
    parser.add_argument(
        "--video",
        nargs="?",
        const="single",
        choices=("single", "side-by-side"),
        help="film the first episode under each --perturb, or else in the clean task; side-by-side "
        f"with a lesion ({' or '.join(FILMED)}: those of --lesions, or off)",
    )
    parser.add_argument(
        "--track",
        choices=["off", "offline", "online"],
        default="off",
        help="log results to Weights & Biases (%(default)s)",
    )
    add_import(parser)
    options = parser.parse_args(arguments)
    for name, least in (("episodes", 1), ("seed", 0), ("horizon_factor", 1), ("workers", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} must be {least} or more, got {value}")
    if options.out is not None and options.out.is_file():
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    if options.suite is None and not options.perturb:
        options.suite = STANDARD
    return options


def run_all(options: argparse.Namespace) -> int:
    """Evaluates, writes and prints; returns the exit code, 1 where a video could not be made.

    Raises UsageError before anything is written.
    """
    import_modules(options.imports)
    can_draw = options.video is None or choose_backend() is not None  # before MuJoCo is imported
    check_credentials(options.track)
    seeds = range(options.seed, options.seed + options.episodes)
    try:
        runs, task = load_runs(options.runs, seeds, options.horizon_factor)
        conditions, skipped = conditions_of(task, options.suite, options.perturb, options.lesions)
        if options.conditions is not None:
            conditions = choose(conditions, options.conditions)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    no_video = None if can_draw or not task.simulated else cannot_draw()
    if no_video is not None:
        print(f"no video: {no_video}", file=sys.stderr)
    name = options.suite or "perturb"
    folder = options.out or RunFolder(_common(options.runs)).evaluations / name
    found = versions()
    progress = ProgressBar(task.horizon)
    evaluation = evaluate(
        runs, task, conditions, seeds, not options.stochastic, options.workers, found, progress
    )
    progress.close()
    evaluation.skipped[:0] = skipped
    settings = {
        "suite": options.suite,
        "perturb": options.perturb,
        "lesions": list(dict.fromkeys(c.lesion.name for c in conditions if c.lesion is not None)),
        "horizon_factor": options.horizon_factor,
        "versions": found,
        "command": sys.argv,
    }
    summary = summarize(evaluation, settings, actor_parameters, folder)
    write(evaluation, summary, folder)
    if options.video is not None and no_video is None:
        sides = [FILMED[name] for name in options.lesions if name in FILMED] or [FILMED["off"]]
        named = [*options.perturb, *(options.conditions or ())]
        from spikepropamine.evaluation.film.camera import film_all  # and the encoder

        try:
            film_all(
                runs,
                task,
                conditions,
                named,
                options.seed,
                sides if options.video == "side-by-side" else (),
                folder / "videos",
            )
        except CannotDraw as error:
            no_video = str(error)
            print(f"no video: {no_video}", file=sys.stderr)
    from spikepropamine.evaluation.report.report import write_report  # and the plots

    report = write_report(folder)
    several = any(len(policy["runs"]) > 1 for policy in summary["policies"].values())
    print(f"{task.environment}, {options.episodes} new episodes per condition, the same in each")
    over = "training seeds, or over episodes where there is one seed" if several else "episodes"
    print(f"mean [95 % interval over {over}]")
    print()
    print(tables(summary))
    print()
    for entry in summary["skipped"]:
        whom = "" if entry["policy"] is None else f" for {entry['policy']}"
        print(f"left out: {entry['condition']}{whom}: {entry['reason']}")
    print(f"results are in {folder}")
    print(f"the report is {report}")
    if options.track != "off":
        track_evaluation(options.track, folder)
    return 0 if no_video is None else 1


def _common(runs: Sequence[Path]) -> Path:
    """The folder that the runs have in common; of a single run, its own."""
    common = Path(os.path.commonpath([run.resolve() for run in runs]))
    return common.relative_to(Path.cwd()) if common.is_relative_to(Path.cwd()) else common


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line; returns its exit code.

    Args:
        arguments: after the command's name.
        program: the command's name, as it was typed.
    """
    torch.set_num_threads(1)
    return run_command(
        program,
        lambda: run_all(parse(arguments, program)),
        "interrupted; the same command goes on where this one was",
    )
