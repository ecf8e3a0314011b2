"""`spikepropamine evaluate`: evaluates trained policies, and writes what people read of it."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from spikepropamine.common import CLEAN_KEY, run_command
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.command import FILMED, ask, measure, parse
from spikepropamine.evaluation.film.recording import can_record, record_episode
from spikepropamine.evaluation.run.plan import Asked
from spikepropamine.evaluation.run.plan import Evaluation as Measured
from spikepropamine.own_modules import import_modules
from spikepropamine.report.evaluation import Evaluation
from spikepropamine.report.terminal import tables
from spikepropamine.tracking import check_credentials


def run_all(options: argparse.Namespace) -> tuple[Path, bool]:
    """Evaluates, writes and prints; returns the folder, and whether all videos could be made.

    Raises UsageError before anything is written.
    """
    import_modules(options.imports)
    can_draw = options.video is None or choose_backend() is not None  # before MuJoCo is imported
    check_credentials(options.track)
    asked = ask(options)
    filming = options.video is not None and (can_draw or not asked.task.simulated)
    if options.video is not None and not filming:
        print(f"no video: {cannot_draw()}", file=sys.stderr)
    measured = measure(asked, options)
    from spikepropamine.report.html import write_report  # and the plots
    from spikepropamine.report.pictures import episode

    for run in {run.name: run for run in reversed(measured.runs)}.values():
        if can_record(run.policy):
            with closing(make_env(measured.task, CLEAN, run.previous, run.revealed)) as env:
                recording = record_episode(run.policy, env, measured.seeds[0])
            title = _title(measured, measured.runs.index(run), len(recording.rewards))
            episode(recording, title, asked.folder / "figures" / f"episode-{run.name}.png")
    filmed = film_asked(asked, options) if filming else options.video is None
    found = Evaluation.read(asked.folder)
    report = write_report(asked.folder, found)
    _say(found, options.episodes)
    print(f"results are in {asked.folder}\nthe report is {report}")
    if options.quick:
        print("this is a first answer, of few episodes: the intervals say how sure it is")
    if options.track != "off":
        from spikepropamine.report.tracking import track_evaluation  # and wandb

        track_evaluation(options.track, asked.folder)
    return asked.folder, filmed


def _title(measured: Measured, run: int, steps: int) -> str:
    """Of the picture of a run's first episode, of which so many steps were recorded."""
    whole = steps == measured.outcomes[run][CLEAN_KEY]["length"][0] or not measured.deterministic
    how = "" if measured.deterministic else ", deterministic actions"
    return (
        f"Inside one episode: {measured.runs[run].name} on {measured.task.environment}\n"
        f"episode of seed {measured.seeds[0]}, {'' if whole else 'first '}{steps} steps{how}"
    )


def film_asked(asked: Asked, options: argparse.Namespace) -> bool:
    """Makes the videos; returns whether they could be made."""
    from spikepropamine.evaluation.film.video import film_all  # and the encoder

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


def _say(found: Evaluation, episodes: int) -> None:
    """Prints what was found."""
    asked = found.asked
    print(f"{asked['environment']}, {episodes} new episodes per condition, the same in each")
    if not asked["own_limit"]:
        print(f"the task has no time limit: episodes are cut after {asked['horizon']} steps")
    over = "training runs, or over the episodes of a single one"
    print(f"mean [95 % interval over {over}; ? where it is not known]\n")
    print(tables(found), end="\n\n")
    for entry in asked["skipped"]:
        whom = "" if entry["policy"] is None else f" for {entry['policy']}"
        print(f"left out: {entry['condition']}{whom}: {entry['reason']}")


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    return run_command(
        program,
        lambda: 0 if run_all(parse(arguments, program))[1] else 1,
        "interrupted; the same command goes on where this one was",
    )
