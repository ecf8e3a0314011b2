"""`spikepropamine evaluate`: evaluates trained policies."""

import argparse
import glob
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spikepropamine import table
from spikepropamine.common import (
    UNSEEN_SEED,
    Parser,
    UsageError,
    command_words,
    shown,
    write_text,
)
from spikepropamine.envs.making import with_contexts
from spikepropamine.envs.perturbations.notation import suite_names
from spikepropamine.evaluation.ask.conditions import (
    STANDARD,
    Condition,
    Skipped,
    Task,
    choose,
    conditions_of,
    severest,
)
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.ask.runs import load_runs, load_teacher
from spikepropamine.evaluation.rows import rows_of
from spikepropamine.evaluation.run.plan import Asked, Evaluation, evaluate
from spikepropamine.folder import (
    ASKED,
    POLICY_NAME,
    RESULTS,
    RunFolder,
    check_writable,
    find,
    plain_name,
    refuse_link,
)
from spikepropamine.reading import read_yaml
from spikepropamine.versions import add_import, versions

EPISODES, FEW_EPISODES = 100, 5
REPORT = "report.html"
FILMED = {name: lesion for name, lesion in LESIONS.items() if lesion.cost == 1}


def _configured(parser: Parser, file: Path) -> argparse.Namespace:
    """The options that the file of `--config` says."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UsageError(f"{file}: must be options by name, got {shown(content)}")
    words = ["RUN"]
    for name, value in content.items():
        option = f"--{name}".replace("_", "-")
        if value is not False or name == "lesions":
            values = (
                value if isinstance(value, list) else [] if value is True else [value]
            )
            # YAML reads `off`, the name of a lesion, as false
            words += [option, *("off" if x is False else str(x) for x in values)]
    try:
        return parser.parse_args(words)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    suites = ", ".join([STANDARD, *suite_names()])
    lesions = "; ".join(
        f"{lesion.name}: {lesion.sentence}" for lesion in LESIONS.values()
    )
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = (
        "folder of a run, or part of the path of one in trained/ (`spikepropamine list trained`); "
        "variants of one policy are told apart by what they are CALLED"
    )
    add("runs", nargs="+", metavar="[CALLED=]RUN|NAME", help=text)
    text = f"of conditions: {suites}, or a YAML file of your own ({STANDARD}, without --perturb)"
    add("--suite", metavar="NAME|FILE", help=text)
    text = 'conditions, as "mass=1.5@500" (`spikepropamine list perturbations` has all)'
    add("--perturb", nargs="+", default=[], metavar="TEXT", help=text)
    text = f"take plasticity away in every condition ({lesions})"
    add("--lesions", nargs="+", default=[], metavar="NAME", help=text)
    text = (
        "hold policies against this one, which is told the contexts of each condition"
    )
    add("--teacher", type=Path, metavar="RUN", help=text)
    text = "only these of the suite, and clean (all); lesions of them stay"
    add("--conditions", nargs="+", metavar="NAME", help=text)
    add("--episodes", type=int, help=f"per condition, the same in each ({EPISODES})")
    text = (
        f"a first answer: {FEW_EPISODES} episodes, and of each perturbation the severest, unless "
        "--conditions names others"
    )
    add("--quick", action="store_true", help=text)
    add(
        "--seed",
        type=int,
        default=UNSEEN_SEED,
        help="of the first episode (%(default)s)",
    )
    text = "episodes of K times the length (%(default)s)"
    add("--horizon-factor", type=int, default=1, metavar="K", help=text)
    text = "sample actions instead of taking the likeliest"
    add("--stochastic", action="store_true", help=text)
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes (as many as there are cores)",
    )
    text = (
        "where results go (evaluations/SUITE in the folder that the runs have in common; with "
        "--quick, --horizon-factor and --stochastic in one of their own)"
    )
    add("--out", type=Path, metavar="FOLDER", help=text)
    add(
        "--overwrite",
        action="store_true",
        help="replace results that are in that folder",
    )
    add(
        "--video",
        nargs="?",
        const="single",
        choices=("single", "side-by-side"),
        help="film the first episode under each --perturb, or else in the clean task; side-by-side "
        f"with a lesion ({' or '.join(FILMED)}: those of --lesions, or off)",
    )
    text = "log results to Weights & Biases (%(default)s)"
    add("--track", choices=["off", "offline", "online"], default="off", help=text)
    text = "YAML: options by name; those given here win"
    add("--config", type=Path, metavar="FILE", help=text)
    add_import(parser)
    options = parser.parse_args(arguments)
    if options.config is not None:  # what is given wins
        options = parser.parse_args(arguments, _configured(parser, options.config))
    if options.episodes is None:
        options.episodes = FEW_EPISODES if options.quick else EPISODES
    for name, least, most in (
        ("episodes", 1, 1_000_000), ("seed", 0, 2**31 - 1_000_001), ("horizon_factor", 1, 1000),
        ("workers", 1, 1024),
    ):  # fmt: skip
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} must be at least {least} and at most {most}, got {value}"
            )
    if options.out is not None and options.out.is_file():
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    if options.video and options.stochastic:
        raise UsageError(
            "--video shows the likeliest actions; leave out --stochastic or --video"
        )
    own = Path(options.suite or "")
    if own.suffix == ".yaml" and own.stem in (STANDARD, *suite_names()):
        raise UsageError(
            f"--suite {own}: this project has a {own.stem}; give yours another name"
        )
    if options.suite is None and not options.perturb:
        options.suite = STANDARD
    return options


def ask(options: argparse.Namespace) -> Asked:
    """Finds what the options name. Raises UsageError where something is missing or wrong."""
    seeds = range(options.seed, options.seed + options.episodes)
    named = []
    for given in options.runs:  # not every shell expands patterns
        found = [given] if Path(given).exists() else sorted(glob.glob(given)) or [given]
        named += [_named(text) for text in found]
    folders = [folder for _, folder in named]
    names: dict[Path, str] = {}
    for name, folder in named:
        if name and names.setdefault(folder.resolve(), name) != name:
            raise UsageError(
                f"{folder} has two names, {names[folder.resolve()]} and {name}"
            )
    try:
        runs, task = load_runs(folders, options.horizon_factor, names)
        conditions, skipped = conditions_asked(task, options)
        teacher = (
            None
            if options.teacher is None
            else load_teacher(find(options.teacher), task)
        )
        for run in [*runs, *([] if teacher is None else [teacher])]:
            for condition in conditions if run.revealed else []:
                with_contexts(condition.text, str(run.revealed))
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    if teacher is not None and not any(c.has_contexts for c in conditions):
        raise UsageError(
            "--teacher is for conditions with contexts, as in --suite motor-signs"
        )
    folder = _folder(options, folders)
    check_writable(folder, "--out")
    if (folder / REPORT).exists() and not options.overwrite:  # the last that is written
        raise UsageError(
            f"{folder} has results; --overwrite replaces them, or give another --out"
        )
    return Asked(
        runs, task, conditions, teacher, seeds, not options.stochastic, skipped, folder
    )


def conditions_asked(
    task: Task, options: argparse.Namespace
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions that the options name, and those of the suite that do not apply to the task.

    Raises ValueError where one of them is unknown or does not apply.
    """
    conditions, skipped = conditions_of(
        task, options.suite, options.perturb, options.lesions
    )
    if options.conditions is not None:
        conditions = choose(conditions, [*options.conditions, *options.perturb])
    elif options.quick:
        conditions = severest(conditions)
    return conditions, skipped


def _named(text: str) -> tuple[str, Path]:
    """What a run is to be called, empty where it has its own name, and its folder."""
    name, _, rest = text.partition("=")
    if not rest or not POLICY_NAME.fullmatch(name) or Path(text).exists():
        return "", find(text)
    return name, find(rest)


def folder_name(options: argparse.Namespace) -> str:
    """Of the folder for the results, where none is given: what is measured in another way has a
    folder of its own.
    """
    own = suite_of(options, "-".join(["perturb", *options.perturb]))
    return plain_name(own + "-quick" * options.quick)


def suite_of(options: argparse.Namespace, own: str = "perturb") -> str:
    """What stands in the column `suite`: also what tells the episodes from those run as usual."""
    name = own if options.suite is None else Path(options.suite).stem
    stretched = [f"x{options.horizon_factor}"] * (options.horizon_factor > 1)
    return "-".join([name, *stretched, *["stochastic"] * options.stochastic])


def _folder(options: argparse.Namespace, runs: Sequence[Path]) -> Path:
    """For the results: `--out`, or one in the folder that the runs have in common. Raises
    UsageError: the runs' folder has links in the place of ours, which may lead anywhere.
    """
    if options.out is not None:
        return options.out
    common = Path(os.path.commonpath([run.resolve() for run in runs]))
    common = (
        common.relative_to(Path.cwd()) if common.is_relative_to(Path.cwd()) else common
    )
    folder = RunFolder(common).evaluations / folder_name(options)
    for path in (folder.parent, folder, folder / "figures", folder / "videos"):
        refuse_link(path, "--out")
    return folder


def measure(asked: Asked, options: argparse.Namespace) -> Evaluation:
    """Runs the episodes and leaves what they measured in the folder, whose report, figures and
    videos go.
    """
    found = versions()
    evaluation = evaluate(asked, options.workers, found)
    about = described(evaluation) | {
        "suite": Path(options.suite).stem if options.suite else None,
        "versions": found,
        "command": command_words(),
    }
    rows = rows_of(evaluation, suite_of(options))
    asked.folder.mkdir(parents=True, exist_ok=True)
    if (asked.folder / RESULTS).exists():
        for pattern in (RESULTS, ASKED, REPORT, "figures/*.png", "videos/*.mp4"):
            for old in asked.folder.glob(pattern):
                old.unlink(missing_ok=True)  # another evaluation may be at it, too
    write_text(
        asked.folder / ASKED, json.dumps(about, indent=1, allow_nan=False) + "\n"
    )
    table.write(asked.folder / RESULTS, rows)
    return evaluation


def described(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluation.json` says of an evaluation, beside the suite, versions and the command;
    folders of runs are relative to its own one.
    """
    task, seeds, teacher = evaluation.task, evaluation.seeds, evaluation.teacher
    applied = {key for found in evaluation.outcomes for key in found}
    trials = any(
        o["correct"].size for found in evaluation.outcomes for o in found.values()
    )
    return {
        "environment": task.environment,
        "env_kwargs": dict(task.arguments),
        "seeds": [seeds.start, seeds.stop - 1],
        "deterministic": evaluation.deterministic,
        "horizon": task.horizon,
        "own_limit": task.own_limit,
        "window": task.window,
        "chance": task.chance if trials else None,
        "return_range": task.return_range,
        "teacher": None if teacher is None else f"{teacher.name}, seed {teacher.seed}",
        "conditions": [asdict(c) for c in evaluation.conditions if c.key in applied],
        "runs": [
            {
                "policy": run.name, "seed": run.seed, "steps": run.steps, "perturb": run.perturb,
                "env_kwargs": dict(run.arguments),
                "folder": os.path.relpath(run.folder, evaluation.folder),
            }
            for run in evaluation.runs
        ],
        "learning": {run.name: run.learning for run in evaluation.runs},
        "skipped": [asdict(skipped) for skipped in evaluation.skipped],
    }  # fmt: skip
