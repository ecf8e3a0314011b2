"""`spikepropamine evaluate`: judges trained policies."""

import argparse
import glob
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.common import UNSEEN_SEED, Parser, UsageError, command_words, run_command
from spikepropamine.envs.perturbations.suites import suite_names
from spikepropamine.envs.rendering import CannotDraw, cannot_draw, choose_backend
from spikepropamine.evaluation.ask.conditions import (
    STANDARD,
    Condition,
    choose,
    conditions_of,
    severest,
)
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.ask.runs import Run, load_runs, load_teacher
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.evaluation.judge.summarize import summarize
from spikepropamine.evaluation.report.files import judged, summary_in, write
from spikepropamine.evaluation.report.tables import tables
from spikepropamine.evaluation.run.plan import evaluate
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.schema import Skipped, Summary
from spikepropamine.evaluation.tracking import track_evaluation
from spikepropamine.folder import POLICY_NAME, RunFolder, check_writable, refuse_link
from spikepropamine.own_modules import add_import, import_modules
from spikepropamine.tracking import check_credentials
from spikepropamine.trained import find
from spikepropamine.versions import versions

EPISODES, FEW_EPISODES = 100, 5
LONGEST_NAME = 100  # of a folder for results
FILMED = {name: lesion for name, lesion in LESIONS.items() if lesion.filmed}


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    suites = ", ".join([STANDARD, *suite_names()])
    lesions = "; ".join(f"{lesion.name}: {lesion.sentence}" for lesion in LESIONS.values())
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[CALLED=]RUN|NAME",
        help="folder of a run, or part of the path of one in trained/ (`spikepropamine list "
        "trained`); variants of one policy are told apart by what they are CALLED",
    )
    parser.add_argument(
        "--suite",
        metavar="NAME|FILE",
        help=f"of conditions: {suites}, or a YAML file of your own ({STANDARD}, without --perturb)",
    )
    parser.add_argument(
        "--perturb",
        nargs="+",
        default=[],
        metavar="TEXT",
        help='conditions, as "mass=1.5@500" (`spikepropamine list perturbations` has all)',
    )
    parser.add_argument(
        "--lesions",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"take plasticity away in every condition ({lesions})",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="hold policies against this one, which is told the contexts of each condition",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        metavar="NAME",
        help="only these of the suite, and clean (all); lesions of them stay",
    )
    parser.add_argument(
        "--episodes", type=int, help=f"per condition, the same in each ({EPISODES})"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a first answer: {FEW_EPISODES} episodes, and of each perturbation the severest, "
        "unless --conditions names others",
    )
    parser.add_argument(
        "--seed", type=int, default=UNSEEN_SEED, help="of the first episode (%(default)s)"
    )
    parser.add_argument(
        "--horizon-factor",
        type=int,
        default=1,
        metavar="K",
        help="episodes of K times the length (%(default)s)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="sample actions instead of taking the likeliest"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (as many as there are cores)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where results go (evaluations/SUITE in the folder that the runs have in common; with "
        "--quick, --horizon-factor and --stochastic in one of their own)",
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
    if options.episodes is None:
        options.episodes = FEW_EPISODES if options.quick else EPISODES
    for name, least, most in (
        ("episodes", 1, 1_000_000), ("seed", 0, 2**31 - 1_000_001), ("horizon_factor", 1, 1000),
        ("workers", 1, 1024),
    ):  # fmt: skip
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} must be at least {least} and at most {most}, got {value}")
    if options.out is not None and options.out.is_file():
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    if options.video and options.stochastic:
        raise UsageError("--video shows the likeliest actions; leave out --stochastic or --video")
    own = options.suite is not None and Path(options.suite).suffix == ".yaml"
    if own and Path(options.suite).stem in (STANDARD, *suite_names()):
        raise UsageError(
            f"--suite {options.suite}: {Path(options.suite).stem} is one of this project's; give "
            "yours another name"
        )
    if options.suite is None and not options.perturb:
        options.suite = STANDARD
    return options


@dataclass(frozen=True)
class Asked:
    """What the command line asks for, found and checked.

    Attributes:
        runs, task, conditions, teacher: see `evaluation.run.plan.evaluate`.
        skipped: conditions that do not apply.
        folder: for the results.
    """

    runs: list[Run]
    task: Task
    conditions: list[Condition]
    teacher: Run | None
    skipped: list[Skipped]
    folder: Path


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
    from spikepropamine.evaluation.report.report import write_report  # and the plots

    report = write_report(asked.folder, summary)
    say(summary, asked.folder, report)
    if options.quick:
        print("this is a first answer, of few episodes: the intervals say how sure it is")
    if options.track != "off":
        track_evaluation(options.track, asked.folder)
    return 0 if filmed else 1


def ask(options: argparse.Namespace) -> Asked:
    """Finds what the options name. Raises UsageError where something is missing or wrong."""
    seeds = range(options.seed, options.seed + options.episodes)
    named = [_named(text) for given in options.runs for text in _matching(given)]
    folders = [folder for _, folder in named]
    names: dict[Path, str] = {}
    for name, folder in named:
        if name and names.setdefault(folder.resolve(), name) != name:
            raise UsageError(f"{folder} has two names, {names[folder.resolve()]} and {name}")
    try:
        runs, task = load_runs(folders, seeds, options.horizon_factor, names)
        conditions, skipped = conditions_asked(task, options)
        teacher = None if options.teacher is None else load_teacher(options.teacher, task)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    if teacher is not None and not any(c.has_contexts for c in conditions):
        raise UsageError(
            "--teacher is for conditions with contexts, as in --suite motor-signs; there are none"
        )
    folder = _folder(options, folders)
    try:
        check_writable(folder)
    except UsageError as error:
        raise UsageError(f"{error}; say with --out where results are to go") from error
    if options.out is None:
        _check_kept(folder, runs, conditions, options)
    else:
        _check_out(folder)
    return Asked(runs, task, conditions, teacher, skipped, folder)


def conditions_asked(
    task: Task, options: argparse.Namespace
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions that the options name, and those of the suite that do not apply to the task.

    Raises ValueError where one of them is unknown or does not apply.
    """
    conditions, skipped = conditions_of(task, options.suite, options.perturb, options.lesions)
    if options.conditions is not None:
        conditions = choose(conditions, [*options.conditions, *options.perturb])
    elif options.quick:
        conditions = severest(conditions)
    return conditions, skipped


def _matching(text: str) -> list[str]:
    """The folders that a pattern stands for, which not every shell expands."""
    return [text] if Path(text).exists() else sorted(glob.glob(text)) or [text]


def _named(text: str) -> tuple[str, Path]:
    """What a run is to be called, empty where it has its own name, and its folder."""
    name, _, rest = text.partition("=")
    if not rest or not POLICY_NAME.fullmatch(name) or Path(text).exists():
        return "", find(text)
    return name, find(rest)


def _check_kept(
    folder: Path,
    runs: Sequence[Run],
    conditions: Sequence[Condition],
    options: argparse.Namespace,
) -> None:
    """Raises UsageError where results of other runs, or of the same, but of fewer episodes or
    without some of the conditions, would replace others.
    """
    summary, elsewhere = summary_in(folder), "say with --out where these are to go"
    if summary is None:
        return
    before, now = judged(summary, folder), {(r.folder.resolve(), r.steps) for r in runs}
    gone = {run for run, _ in before} - {run for run, _ in now}
    if gone:
        names = ", ".join(sorted(f"{run.parent.name}/{run.name}" for run in gone)[:3])
        raise UsageError(f"{folder} has results of runs that would be lost ({names}); {elsewhere}")
    if before != now:
        return
    kept = summary["settings"]["episodes"]
    if kept > options.episodes:
        raise UsageError(
            f"{folder} has results of {kept} episodes, which those of {options.episodes} would "
            f"replace; {elsewhere}"
        )
    if summary["settings"]["teacher"] is not None and options.teacher is None:
        raise UsageError(
            f"{folder} has results beside those of a teacher, which would be lost; give the same "
            f"--teacher, or {elsewhere}"
        )
    there = {condition.key for condition in conditions}
    if lost := [c["key"] for c in summary["conditions"] if c["key"] not in there]:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise UsageError(f"{folder} has results that would be lost ({shown}); {elsewhere}")


def _check_out(folder: Path) -> None:
    """Raises UsageError where the folder holds something else than an evaluation."""
    begun = (folder / "episodes.csv").is_file() and not (folder / "summary.json").exists()
    if folder.is_dir() and any(folder.iterdir()) and not begun and summary_in(folder) is None:
        raise UsageError(
            f"--out {folder} holds something else than an evaluation; name a new folder"
        )


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


def folder_name(options: argparse.Namespace) -> str:
    """Of the folder for the results, where none is given: what is measured in another way has a
    folder of its own.
    """
    texts = [re.sub(r"[^\w=.,@~+-]+", "_", text, flags=re.ASCII) for text in options.perturb]
    name = "-".join(["perturb", *texts]) if options.suite is None else Path(options.suite).stem
    if len(name) > LONGEST_NAME:
        name = name[:LONGEST_NAME] + hashlib.sha256(name.encode()).hexdigest()[:8]
    parts = [name, "quick" if options.quick else ""]
    parts.append(f"x{options.horizon_factor}" if options.horizon_factor > 1 else "")
    parts.append("stochastic" if options.stochastic else "")
    return "-".join(filter(None, parts))


def _folder(options: argparse.Namespace, runs: Sequence[Path]) -> Path:
    """For the results: `--out`, or one in the folder that the runs have in common.

    Raises:
        UsageError: the runs' folder has links in the place of ours, which may lead anywhere.
    """
    if options.out is not None:
        return options.out
    common = Path(os.path.commonpath([run.resolve() for run in runs]))
    common = common.relative_to(Path.cwd()) if common.is_relative_to(Path.cwd()) else common
    folder = RunFolder(common).evaluations / folder_name(options)
    for path in (folder.parent, folder, folder / "figures", folder / "videos"):
        refuse_link(path, "--out")
    return folder


def main(arguments: Sequence[str], program: str = "spikepropamine evaluate") -> int:
    """Runs the command line; returns its exit code."""
    torch.set_num_threads(1)
    return run_command(
        program,
        lambda: run_all(parse(arguments, program)),
        "interrupted; the same command goes on where this one was",
    )
