"""`spikepropamine evaluate`: evaluates trained policies."""

import argparse
import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from spikepropamine import table
from spikepropamine.common import (
    UNSEEN_SEED,
    Parser,
    UsageError,
    command_words,
    shown,
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
from spikepropamine.evaluation.ask.runs import Run, load_runs, load_teacher
from spikepropamine.evaluation.description import described, write_description
from spikepropamine.evaluation.run.plan import Evaluated, Plan, evaluate
from spikepropamine.evaluation.tabulation import rows_of
from spikepropamine.folder import (
    ASKED,
    POLICY_NAME,
    RESULTS,
    check_writable,
    find,
    plain_name,
    refuse_link,
    results_folder,
)
from spikepropamine.reading import read_yaml
from spikepropamine.versions import add_import, versions

EPISODES = 100
FEW_EPISODES = 5
REPORT = "report.html"
FILMED = {name: lesion for name, lesion in LESIONS.items() if lesion.cost == 1}
BOUNDS = {
    "episodes": (1, 1_000_000),
    "seed": (0, 2**31 - 1_000_001),
    "horizon_factor": (1, 1000),
    "workers": (1, 1024),
}
"""The least and the most of options that are numbers."""


def _configured(parser: Parser, file: Path) -> argparse.Namespace:
    """The options that the file of `--config` says."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UsageError(f"{file}: must be options by name, got {shown(content)}")
    words = ["RUN"]
    for name, value in content.items():
        if name in ("help", "config"):
            raise UsageError(f"{file}: {name} is for the command line alone")
        words += _words_of(name, value)
    try:
        options: argparse.Namespace = parser.parse_args(words)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    return options


def _words_of(name: str, value: object) -> list[str]:
    """An option of a file, as the command line has it."""
    option = f"--{name}".replace("_", "-")
    if name == "lesions" and value is False:
        return [option, "off"]  # YAML reads `off`, the name of a lesion, as false
    if value is False:
        return []
    if value is True:
        return [option]
    values = value if isinstance(value, list) else [value]
    return [option, *("off" if item is False else str(item) for item in values)]


def _parser(program: str) -> Parser:
    suites = ", ".join([STANDARD, *suite_names()])
    lesions = "; ".join(
        f"{lesion.name}: {lesion.sentence}" for lesion in LESIONS.values()
    )
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="[CALLED=]RUN|NAME",
        help="folder of a run, or part of the path of one in trained/ (`spikepropamine "
        "list trained`); variants of one policy are told apart by what they are CALLED",
    )
    add(
        "--suite",
        metavar="NAME|FILE",
        help=f"of conditions: {suites}, or a YAML file of your own ({STANDARD}, "
        "without --perturb)",
    )
    add(
        "--perturb",
        nargs="+",
        default=[],
        metavar="TEXT",
        help='conditions, as "mass=1.5@500" (`spikepropamine list perturbations` has '
        "all)",
    )
    add(
        "--lesions",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"take plasticity away in every condition ({lesions})",
    )
    add(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="hold policies against this one, which is told the contexts of each "
        "condition",
    )
    add(
        "--conditions",
        nargs="+",
        metavar="NAME",
        help="only these of the suite, and clean (all); lesions of them stay",
    )
    add(
        "--episodes",
        type=int,
        help=f"per condition, the same in each ({EPISODES})",
    )
    add(
        "--quick",
        action="store_true",
        help=f"a first answer: {FEW_EPISODES} episodes, and of each perturbation the "
        "severest, unless --conditions names others",
    )
    add(
        "--seed",
        type=int,
        default=UNSEEN_SEED,
        help="of the first episode (%(default)s)",
    )
    add(
        "--horizon-factor",
        type=int,
        default=1,
        metavar="K",
        help="episodes of K times the length (%(default)s)",
    )
    add(
        "--stochastic",
        action="store_true",
        help="sample actions instead of taking the likeliest",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes (as many as there are cores)",
    )
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where results go (evaluations/SUITE in the folder that the runs have in "
        "common; with --quick, --horizon-factor and --stochastic in one of their own)",
    )
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
        help="film the first episode under each --perturb, or else in the clean task; "
        f"side-by-side with a lesion ({' or '.join(FILMED)}: those of --lesions, or "
        "off)",
    )
    add(
        "--track",
        choices=["off", "offline", "online"],
        default="off",
        help="log results to Weights & Biases (%(default)s)",
    )
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML: options by name; those given here win",
    )
    add_import(parser)
    return parser


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The options of a command line, those of the file of `--config` among them.

    Args:
        arguments: words of the command line.
        program: its name, for messages.

    Returns:
        The options; `suite` is the standard one where neither it nor a perturbation is
        named.

    Raises:
        UsageError: the command line or the file is wrong.
    """
    parser = _parser(program)
    options: argparse.Namespace = parser.parse_args(arguments)
    if options.config is not None:  # what is given wins
        options = parser.parse_args(arguments, _configured(parser, options.config))
    if options.episodes is None:
        options.episodes = FEW_EPISODES if options.quick else EPISODES
    for name, (least, most) in BOUNDS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} must be at least {least} and at most {most}, got {value}"
            )
    if options.out is not None and os.path.isfile(options.out):
        raise UsageError(f"--out {options.out} is a file, and should be a folder")
    if options.suite is None and not options.perturb:
        options.suite = STANDARD
    file = Path(options.suite or "")
    if file.suffix == ".yaml" and file.stem in (STANDARD, *suite_names()):
        raise UsageError(
            f"--suite {file}: this project has a {file.stem}; give yours another name"
        )
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options name, read and checked. Raises UsageError: something is missing
    or wrong.
    """
    folders, names = _folders_of(options.runs)
    try:
        runs, task = load_runs(folders, options.horizon_factor, names)
        conditions, skipped = named_conditions(task, options)
        teacher: Run | None = None
        if options.teacher is not None:
            teacher = load_teacher(find(options.teacher), task)
        for run in (*runs, teacher):
            if run is not None and run.revealed:
                for condition in conditions:
                    with_contexts(condition.text, run.revealed)
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
    return Plan(
        runs=runs,
        task=task,
        conditions=conditions,
        teacher=teacher,
        seeds=range(options.seed, options.seed + options.episodes),
        deterministic=not options.stochastic,
        skipped=skipped,
        folder=folder,
    )


def _folders_of(texts: Sequence[str]) -> tuple[list[Path], dict[Path, str]]:
    """The folders of runs, and by resolved folder what these are to be called."""
    folders: list[Path] = []
    names: dict[Path, str] = {}
    for text in itertools.chain.from_iterable(map(_expanded, texts)):
        name, folder = _named(text)
        folders.append(folder)
        if name and names.setdefault(folder.resolve(), name) != name:
            raise UsageError(
                f"{folder} has two names, {names[folder.resolve()]} and {name}"
            )
    return folders, names


def _expanded(text: str) -> Iterator[str]:
    """The paths of a pattern, which not every shell expands; else the text itself."""
    if Path(text).exists():
        yield text
    else:
        yield from sorted(glob.glob(text)) or [text]


def _named(text: str) -> tuple[str, Path]:
    """What a run is to be called, empty where it has its own name, and its folder."""
    name, _, rest = text.partition("=")
    if not rest or not POLICY_NAME.fullmatch(name) or Path(text).exists():
        return "", find(text)
    return name, find(rest)


def named_conditions(
    task: Task, options: argparse.Namespace
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions that the options name, and those of the suite that do not apply.

    Args:
        task: that the conditions change.
        options: of the command line.

    Raises:
        ValueError: one of them is unknown or does not apply.
    """
    conditions, skipped = conditions_of(
        task, options.suite, options.perturb, options.lesions
    )
    if options.conditions is not None:
        conditions = choose(conditions, [*options.conditions, *options.perturb])
    elif options.quick:
        conditions = severest(conditions)
    return conditions, skipped


def folder_name(options: argparse.Namespace) -> str:
    """The name of the folder for results, where none is given; what is measured in
    another way has another folder.
    """
    texts = "-".join(["perturb", *options.perturb])
    name = suite_of(options, texts)
    return plain_name(f"{name}-quick" if options.quick else name)


def suite_of(options: argparse.Namespace, without_suite: str = "perturb") -> str:
    """What stands in the column `suite`, which tells the episodes from those run as
    usual, too.

    Args:
        options: of the command line.
        without_suite: the name where the conditions are of no suite.
    """
    parts = [without_suite if options.suite is None else Path(options.suite).stem]
    if options.horizon_factor > 1:
        parts.append(f"x{options.horizon_factor}")
    if options.stochastic:
        parts.append("stochastic")
    return "-".join(parts)


def _folder(options: argparse.Namespace, runs: Sequence[Path]) -> Path:
    """For the results: `--out`, or one in the folder that the runs have in common.
    Raises UsageError: the runs' folder has links in the place of ours, which may lead
    anywhere.
    """
    if options.out is not None:
        return Path(options.out)
    common = Path(os.path.commonpath([run.resolve() for run in runs]))
    if common.is_relative_to(Path.cwd()):
        common = common.relative_to(Path.cwd())
    folder: Path = results_folder(common).evaluations / folder_name(options)
    for path in (folder.parent, folder, folder / "figures", folder / "videos"):
        refuse_link(path, "--out")
    return folder


def measure(plan: Plan, options: argparse.Namespace) -> Evaluated:
    """Runs the episodes and leaves what they measured in the folder of the plan, whose
    old report, figures and videos go.

    Args:
        plan: what is to be run.
        options: of the command line.
    """
    packages = versions()
    evaluated = evaluate(plan, options.workers, packages)
    suite = Path(options.suite).stem if options.suite else None
    description = described(evaluated, suite, packages, command_words())
    rows = rows_of(evaluated, suite_of(options))
    plan.folder.mkdir(parents=True, exist_ok=True)
    replaces = (plan.folder / RESULTS).exists()
    for name in (RESULTS, ASKED):
        if (plan.folder / name).is_symlink():
            (plan.folder / name).unlink()  # what it leads to is somebody else's
    # what can be refused comes first, so that the old results stay where it is
    table.write(plan.folder / RESULTS, rows)
    write_description(plan.folder, description)
    if replaces:
        for pattern in (REPORT, "figures/*.png", "videos/*.mp4"):
            for old in plan.folder.glob(pattern):
                old.unlink(missing_ok=True)  # another evaluation may be at it, too
    return evaluated
