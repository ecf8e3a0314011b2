"""`spikepropamine enjoy`: watch a policy, live or, without a display, as a video.

`spikepropamine play` shows it in a browser, where you can change the world and pull its
plug.
"""

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from spikepropamine.common import bad_input, require
from spikepropamine.envs.making import make
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.evaluation.ask.conditions import conditions_of, make_env
from spikepropamine.evaluation.command import FILMED
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.export.command import parser_of, run_of
from spikepropamine.folder import check_writable, refuse_link, results_folder

FILM_NAMES = (".mp4", ".gif", ".webp", ".webm", ".mov", ".avi", ".mkv")


def main(arguments: Sequence[str], program: str = "spikepropamine enjoy") -> int:
    """Shows an episode, or films it; returns the exit code."""
    parser = parser_of(program, __doc__, "of the episode")
    add = parser.add_argument
    add("--perturb", metavar="TEXT", help='as "mass=1.5@500"')
    text = "make a video there, display or not (without a display: RUN/videos)"
    add("--video", type=Path, metavar="FOLDER", help=text)
    text = "film it beside the same policy with these lesions"
    add("--lesions", nargs="+", default=[], choices=FILMED, help=text)
    add("--stochastic", action="store_true", help="sample actions; else the likeliest")
    add("--open", action="store_true", help="open the video, where there is a display")
    torch.set_num_threads(1)
    options = parser.parse_args(arguments)
    if options.video is not None and options.video.suffix in FILM_NAMES:
        parser.error(
            f"--video takes a folder, in which films are named by policy, seed and "
            f"condition; {options.video} is the name of a film"
        )
    display = options.video is None and not options.lesions and has_display()
    if not display:
        choose_backend()  # before MuJoCo is imported
    run, task = run_of(options)
    with bad_input():
        texts = [] if options.perturb is None else [options.perturb]
        conditions, _ = conditions_of(task, None, texts, [])
    if display:
        with closing(make(task.environment, task.arguments)) as env:
            modes = env.metadata.get("render_modes", [])
        if "human" in modes:
            shown = replace(task, arguments={**task.arguments, "render_mode": "human"})
            with closing(
                make_env(shown, conditions[-1], run.previous, run.revealed)
            ) as env:
                moments = watch(
                    run.policy, env, options.seed, deterministic=not options.stochastic
                )
                total = sum(moment.reward for moment in moments)
            print(f"return {total:.1f}")
            return 0
    require("av", "films", "a video")
    # the encoder takes a moment
    from spikepropamine.evaluation.film.video import film_run

    place = options.video or results_folder(run.folder).videos
    if options.video is None:
        refuse_link(place, "--video")
    check_writable(place, "--video")
    lesions = [FILMED[name] for name in options.lesions]
    with bad_input("", CannotDraw):
        path, totals = film_run(
            run,
            task,
            conditions[-1],
            options.seed,
            lesions,
            place,
            deterministic=not options.stochastic,
        )
    names = ["as trained", *(lesion.words for lesion in lesions)]
    returns = [f"{total:.1f} {name}" for total, name in zip(totals, names)]
    if not lesions:
        returns = [f"{totals[0]:.1f}"]
    print(f"{path}: return {', '.join(returns)}")
    if options.open and has_display():
        webbrowser.open(path.resolve().as_uri())
    return 0


def has_display() -> bool:
    """Whether windows can be shown."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
