"""`spikepropamine evaluate`: judges trained policies, and writes what people read of it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.common import command_words, run_command
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation.command import FILMED, Asked, ask, parse
from spikepropamine.evaluation.judge.summarize import summarize
from spikepropamine.evaluation.run.plan import evaluate
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.schema import Summary
from spikepropamine.own_modules import import_modules
from spikepropamine.report.files import write
from spikepropamine.report.terminal import tables
from spikepropamine.report.tracking import track_evaluation
from spikepropamine.tracking import check_credentials
from spikepropamine.versions import versions


def run_all(options: argparse.Namespace) -> int:
    """Evaluates, writes and prints; returns the exit code, 1 where a video could not be made.

    Raises UsageError before anything is written.
    """
    import_modules(options.imports)
    can_draw = options.video is None or choose_backend() is not None  # before MuJoCo is imported
    check_credentials(options.track)
    asked = ask(options)
    filming = options.video is not None and (can_draw or not asked.task.simulated)
    if options.video is not None and not filming:
        print(f"no video: {cannot_draw()}", file=sys.stderr)
    summary = measure(asked, options)
    filmed = film_asked(asked, options) if filming else options.video is None
    from spikepropamine.report.html import write_report  # and the plots

    report = write_report(asked.folder, summary)
    say(summary, asked.folder, report)
    if options.quick:
        print("this is a first answer, of few episodes: the intervals say how sure it is")
    if options.track != "off":
        track_evaluation(options.track, asked.folder)
    return 0 if filmed else 1


def measure(asked: Asked, options: argparse.Namespace) -> Summary:
    """Runs the episodes and leaves what they say in the folder."""
    found = versions()
    progress = ProgressBar(asked.task.horizon)
    try:
        evaluation = evaluate(
            asked.runs,
            asked.task,
            asked.conditions,
            range(options.seed, options.seed + options.episodes),
            not options.stochastic,
            options.workers,
            found,
            progress,
            asked.teacher,
        )
    finally:
        progress.close()
    evaluation.skipped[:0] = asked.skipped
    lesions = [c.lesion.name for c in asked.conditions if c.lesion is not None]
    settings = {
        "suite": None if options.suite is None else Path(options.suite).stem,
        "perturb": options.perturb,
        "lesions": list(dict.fromkeys(lesions)),
        "horizon_factor": options.horizon_factor,
        "versions": found,
        "command": command_words(),
    }
    summary = summarize(evaluation, settings, actor_parameters, asked.folder)
    write(evaluation, summary, asked.folder)
    return summary


def film_asked(asked: Asked, options: argparse.Namespace) -> bool:
    """Makes the videos; returns whether they could be made."""
    from spikepropamine.evaluation.film.camera import film_all  # and the encoder

    sides = [FILMED[name] for name in options.lesions if name in FILMED] or [FILMED["off"]]
    try:
        film_all(
            asked.runs,
            asked.task,
            asked.conditions,
            [*options.perturb, *(options.conditions or ())],
            options.seed,
            sides if options.video == "side-by-side" else (),
            asked.folder / "videos",
        )
    except CannotDraw as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True


def say(summary: Summary, folder: Path, report: Path) -> None:
    """Prints what was found, and where the rest is."""
    settings = summary["settings"]
    several = any(len(policy["runs"]) > 1 for policy in summary["policies"].values())
    episodes = f"{settings['episodes']} new episodes per condition, the same in each"
    print(f"{settings['env']}, {episodes}")
    if not settings["own_limit"]:
        print(f"the task has no time limit: episodes are cut after {settings['horizon']} steps")
    over = "training seeds, or over episodes where there is one seed" if several else "episodes"
    print(f"mean [95 % interval over {over}; ? where it cannot be told]")
    print()
    print(tables(summary))
    print()
    for entry in summary["skipped"]:
        whom = "" if entry["policy"] is None else f" for {entry['policy']}"
        print(f"left out: {entry['condition']}{whom}: {entry['reason']}")
    print(f"results are in {folder}")
    print(f"the report is {report}")


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    return run_command(
        program,
        lambda: run_all(parse(arguments, program)),
        "interrupted; the same command goes on where this one was",
    )
