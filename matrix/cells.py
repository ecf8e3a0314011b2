"""A matrix on file, and its cells: each a run, as the commands that make it, and how far it is."""

import functools
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from spikepropamine.common import (
    ENDS_WITH_PARENT,
    UsageError,
    appended,
    bad_input,
    check_known,
    one_line,
    shown,
    write_text,
)
from spikepropamine.envs.making import split_env
from spikepropamine.envs.perturbations.notation import SUITES
from spikepropamine.evaluation.ask.conditions import task_of
from spikepropamine.evaluation.command import folder_name, named_conditions, suite_of
from spikepropamine.evaluation.command import parse as parse_evaluation
from spikepropamine.export.command import FORMATS
from spikepropamine.folder import RESULTS, RunFolder
from spikepropamine.options import Seed, flat, updated
from spikepropamine.reading import parse_json, read_json, read_text, read_yaml
from spikepropamine.training.command_line import parse as parse_training
from spikepropamine.training.sections import CONFIGS, matched
from spikepropamine.training.settings import CHANGES_NO_NUMBER
from spikepropamine.versions import HERE, code_of, digest_of, digests_of, import_modules

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
PATIENCE = 0.2  # seconds between looks at whether to stop
BUSY = "another process is at it"
MATRICES = CONFIGS / "matrices"
AXES = ("envs", "policies", "settings")


@dataclass(frozen=True)
class Matrix:
    """Which environments, policies, seeds and settings, and what is done with each.

        envs: [CueAssociation-v0]           # or LABEL: ID ARGUMENTS
        policies:                           # or a list of names
          snn:
          mlp-sized: mlp --match-parameters snn
        settings:                           # LABEL: ARGUMENTS; left out: one, without a name
          clean:
          noisy: --env-kwargs noise 0.1
        seeds: [0, 1, 2, 3, 4]
        train: --steps 200000               # for all
        evaluate:                           # one line for each evaluation
          - --episodes 200
          - --suite motor-signs --lesions off frozen
        export: [onnx]
        runs: robots                        # the matrix whose run folders it shares (its own)
        keep: trained/robots                # a copy of what evaluation needs of the median seeds
        only:                               # left out: all; else those that are in one of these
          - {policies: [snn]}
          - {settings: [noisy], seeds: [0]}

    Arguments are those of `spikepropamine train` and `evaluate`; of an option that is given twice
    the later one counts: train, settings, envs, policies. {env}, {policy} and {seed} stand for
    those of the cell. Labels are keys, texts of arguments are values.
    """

    name: str
    envs: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=lambda: {"": ""})
    seeds: tuple[Seed, ...] = ()
    train: str = ""
    evaluate: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    runs: str = ""
    keep: str = ""
    only: tuple[dict[str, tuple[Any, ...]], ...] = ()

    def labels(self) -> list[tuple[int, str, str, str]]:
        """Seed, setting, environment and policy of each cell, the first seed of all first."""
        names = ("seeds", "settings", "envs", "policies")
        every = itertools.product(*(getattr(self, name) for name in names))
        return [
            labels for labels in every
            if not self.only or any(
                all(dict(zip(names, labels))[name] in some for name, some in of.items())
                for of in self.only
            )
        ]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training run with its evaluations and exports."""

    matrix: str  # its name
    env: str  # its label
    setting: str  # its label
    policy: str  # its label
    seed: int  # of the training
    path: Path  # of the run folder, relative to `root`
    commands: tuple[
        tuple[str, ...], ...
    ]  # arguments of `spikepropamine`, training first
    evaluations: tuple[
        Path, ...
    ]  # the folders that the evaluations leave, relative to `root`
    # where a copy of the policy goes if its seed is the median, relative to `root`; None: nowhere
    keep: Path | None
    root: Path  # the working directory of the commands, absolute

    @property
    def name(self) -> str:
        """As people read it."""
        return " ".join(
            filter(None, (self.env, self.setting, self.policy, f"seed {self.seed}"))
        )

    @property
    def run(self) -> RunFolder:
        """Its run folder."""
        return RunFolder(self.root / self.path)

    @property
    def log(self) -> Path:
        """What its commands said; beside the run folder, which a training replaces."""
        return self.run.path.with_suffix(f".{self.matrix}.log")

    @property
    def stamp(self) -> Path:
        """The file that says what was finished."""
        return self.run.path.with_suffix(f".{self.matrix}.json")

    def finished(self) -> bool:
        """Whether these very commands were run, with the policy and the results that are there."""
        try:
            return read_json(self.stamp) == self._state()
        except ValueError:
            return False

    @property
    def record(self) -> Path:
        """The file that says what its training was asked for; beside the run folder."""
        return self.run.path.with_suffix(".training.json")

    def asked(self) -> dict[str, object]:
        """What its training is asked for, defaults included; but for what changes no number."""
        settings = parse_training(list(self.commands[0][1:]))
        plain = flat(settings.as_dict()).items()
        asked = {name: value for name, value in plain if name not in CHANGES_NO_NUMBER}
        if settings.match_parameters is not None:  # whose defaults say how large
            asked[f"size of {settings.match_parameters}"] = str(
                matched(settings).network
            )
        named = [*self.commands[0], str(settings.teacher), str(settings.start_from)]
        asked |= {
            f"content of {x}": digest
            for x, digest in _contents(named, self.root).items()
        }
        return asked | {
            f"code of {x}": digest for x, digest in code_of(settings.imports).items()
        }

    def finish(self, asked: dict[str, object]) -> None:
        """Writes the stamp, with what its training was asked for when it began."""
        write_text(
            self.stamp, json.dumps(self._state() | {"asked": asked}, indent=1) + "\n"
        )

    def _state(self) -> dict[str, object]:
        exports = any(command[0] == "export" for command in self.commands)
        return {
            "policy": _digest(sorted(self.run.policy.glob("*"))),
            "results": [
                _digest([self.root / place / RESULTS]) for place in self.evaluations
            ],
            "exports": _digest(sorted(self.run.exports.glob("*"))) if exports else None,
            "commands": [list(c) for c in self.commands],
            "contents": _contents(list(itertools.chain(*self.commands[1:])), self.root),
            "asked": self.asked(),
        }


def load_matrix(name: str) -> Matrix:
    """The matrix in a YAML file, or the one of `configs/matrices/` that has this name. Raises
    UsageError: there is none, or something in it is wrong.
    """
    file = Path(name)
    if not file.suffix:
        file = MATRICES / f"{name}.yaml"
        known = sorted(path.stem for path in MATRICES.glob("*.yaml"))
        check_known("matrix", name, known)
    content = read_yaml(file)
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{file.name}: must be a mapping with envs, policies and seeds"
        )
    content = dict(content)
    for axis in AXES:
        if axis in content:
            content[axis] = _labelled(content[axis], alone=axis != "settings")
    if file.stem == "training":
        raise UsageError(
            f"{file}: training.json has another meaning beside runs; rename the file"
        )
    matrix = updated(Matrix(file.stem, runs=file.stem), content, file.name)
    for axis in (*AXES, "seeds"):
        if not getattr(matrix, axis):
            raise UsageError(f"{file.name}: {axis} is missing or empty")
    for of in matrix.only:
        for axis, labels in of.items():
            check_known("axis", axis, (*AXES, "seeds"), f"{file.name}: only: ")
            for label in labels:
                check_known(axis, label, getattr(matrix, axis), f"{file.name}: only: ")
    if any(isinstance(seed, bool) for seed in content["seeds"]):
        raise UsageError(f"{file.name}: seeds are whole numbers")
    # what a file says names folders below those that the command is given
    own = [label for label, text in matrix.envs.items() if text.split()[:1] != [label]]
    for name in [matrix.runs, *matrix.settings, *matrix.policies, *own]:
        if name != Path(name).name or name.startswith("."):
            raise UsageError(
                f"{file.name}: {shown(name)} names a folder, and has no place in it"
            )
    if Path(matrix.keep).is_absolute() or ".." in Path(matrix.keep).parts:
        raise UsageError(
            f"{file.name}: keep: {shown(matrix.keep)} leads out of this folder"
        )
    for axis in ("envs", "policies"):
        for label, text in getattr(matrix, axis).items():
            if not text.split():
                raise UsageError(f"{file.name}: {axis}, {label!r} has no name in it")
    return matrix


def _labelled(values: Any, alone: bool) -> Any:
    """A list of names as a mapping of each to itself; so is a label without a text, where names
    can stand alone.
    """
    if isinstance(values, list) and alone:
        return {str(value): str(value) for value in values}
    if isinstance(values, Mapping):
        return {
            str(label): text or (str(label) if alone else "")
            for label, text in values.items()
        }
    return values


def _contents(texts: Sequence[str], root: Path) -> dict[str, str]:
    """Digests of the files, the runs and the suites of this project that texts name."""
    return digests_of(texts, root) | digests_of(
        (f"{text}.yaml" for text in texts), SUITES
    )


def _digest(files: Sequence[Path]) -> str:
    return digest_of(file for file in files if file.is_file())


def cells_of(matrix: Matrix, runs: Path) -> list[Cell]:
    """All cells, with their run folders in `runs`: the first seed of everything first, then the
    order of the file. Raises UsageError: arguments that `train` or `evaluate` would refuse, or two
    cells in one folder.
    """
    cells = [_cell(matrix, runs, *labels) for labels in matrix.labels()]
    first: dict[Path, Cell] = {}
    for cell in cells:
        results = [("folder of results", path) for path in cell.evaluations]
        for what, path in [("run folder", cell.path), *results]:
            other = first.setdefault(path, cell)
            if other is not cell:
                pair = f"{other.name} and {cell.name}"
                raise UsageError(f"{matrix.name}: {pair} would have one {what}, {path}")
    return cells


def _cell(
    matrix: Matrix, runs: Path, seed: int, setting: str, env: str, policy: str
) -> Cell:
    env_id, policy_name = (
        text.split()[0] for text in (matrix.envs[env], matrix.policies[policy])
    )
    # a label of its own has a folder of its own
    labels = [
        setting,
        env if env != env_id else "",
        policy if policy != policy_name else "",
    ]
    place = runs.joinpath(matrix.runs, *filter(None, labels))

    def arguments(text: str) -> list[str]:
        known = "{env}, {policy} and {seed} can stand in it, and quotes come in pairs"
        with bad_input(
            f"{matrix.name}: cannot read {text!r}; {known}", KeyError, IndexError
        ):
            return shlex.split(text.format(env=env_id, policy=policy_name, seed=seed))

    train = [
        "--env",
        env_id,
        "--policy",
        policy_name,
        "--seed",
        str(seed),
        "--runs",
        str(place),
    ]
    train += arguments(matrix.train) + arguments(matrix.settings[setting])
    train += arguments(matrix.envs[env])[1:] + arguments(matrix.policies[policy])[1:]
    with bad_input(f"{matrix.name}: train", UsageError):
        settings = parse_training(train, "train")
    path = settings.folder.path
    if not path.is_relative_to(place):
        raise UsageError(f"{matrix.name}: leave out --runs, which is {place}")
    meant = split_env(env_id)[0], policy_name, seed
    if (settings.env, settings.policy, settings.seed) != meant:
        less = "leave out --env, --policy and --seed, which are those of each cell"
        raise UsageError(f"{matrix.name}: {less}")
    if settings.resume or settings.overwrite:
        less = "leave out --resume and --overwrite; what is there is gone on with"
        raise UsageError(f"{matrix.name}: {less}")
    for name in matrix.export:
        check_known("export", name, FORMATS, f"{matrix.name}: ")
    commands, evaluations = [("train", *train)], []
    imports = ["--import", *settings.imports] * bool(settings.imports)
    episodes: dict[str, tuple[int, int]] = {}
    for text in matrix.evaluate:
        asked = arguments(text)
        options = [str(path), *imports, *asked, "--workers", "1", "--overwrite"]
        with bad_input(f"{matrix.name}: evaluate", UsageError):
            parsed = parse_evaluation(options, "evaluate")
        suite, these = suite_of(parsed), (parsed.episodes, parsed.seed)
        if episodes.setdefault(suite, these) != these:
            both = f"{matrix.name}: two evaluations of {suite}"
            raise UsageError(f"{both} need the same --episodes and --seed")
        env_kwargs = json.dumps(settings.env_kwargs, sort_keys=True)
        if objection := _objection(settings.env, env_kwargs, tuple(asked)):
            raise UsageError(f"{matrix.name}: evaluate: {objection}")
        name = folder_name(parsed)
        if matrix.runs != matrix.name:  # others evaluate the same runs
            name = f"{matrix.name}-{name}"
        out = parsed.out or RunFolder(path).evaluations / name
        if parsed.out and (out.is_absolute() or ".." in out.parts):
            raise UsageError(
                f"{matrix.name}: --out {shown(str(out))} leads out of this folder"
            )
        if out in evaluations:
            raise UsageError(
                f"{matrix.name}: two evaluations would write to {out}; add --out"
            )
        evaluations.append(out)
        options += [] if parsed.out else ["--out", str(out)]
        commands.append(("evaluate", *options))
    commands += [
        ("export", str(path), *imports, "--format", name) for name in matrix.export
    ]
    keep = (
        Path(matrix.keep, path.relative_to(runs / matrix.runs)) if matrix.keep else None
    )
    if keep is not None:
        copy, own = keep.resolve(), path.resolve()
        if copy.is_relative_to(own) or own.is_relative_to(copy):
            raise UsageError(
                f"{matrix.name}: keep: {matrix.keep} is where the runs are"
            )
    return Cell(
        matrix.name, env, setting, policy, seed, path, tuple(commands), tuple(evaluations), keep,
        Path.cwd(),
    )  # fmt: skip


@functools.cache  # asked once for all policies and seeds
def _objection(environment: str, env_kwargs: str, asked: tuple[str, ...]) -> str:
    """What is wrong with the conditions of an evaluation; empty where nothing is."""
    options = parse_evaluation([".", *asked], "evaluate")
    import_modules(options.imports)
    try:
        task = task_of(
            environment, parse_json(env_kwargs, "--env-kwargs"), options.horizon_factor
        )
        named_conditions(task, options)
    except ValueError as error:
        return str(error)
    return ""


def execute(cell: Cell, stopped: Callable[[], bool] = lambda: False) -> str | None:
    """Runs what is left of a cell: training from its last checkpoint, then evaluations and exports.
    What they say goes to its log. Once `stopped`, which is asked now and then, is true, a command
    is ended as by Ctrl-C. Returns why it failed, in a line; None where it is finished; `BUSY` where
    another process is at it.
    """
    try:
        if cell.finished():
            return None
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cell.run.path.with_suffix(".lock"), timeout=0):
            return None if cell.finished() else _execute(cell, stopped)
    except Timeout:
        return BUSY
    except (OSError, UsageError) as error:
        return one_line(error)


def _execute(cell: Cell, stopped: Callable[[], bool]) -> str | None:
    asked = cell.asked()
    if other := _trained_otherwise(cell, asked):
        return other
    for command in cell.commands:
        if command[0] == "train" and cell.run.path.exists():
            command = (
                *command,
                "--resume",
            )  # returns at once where nothing is left to do
        code = _run(command, cell, stopped)
        if stopped():
            return "interrupted"
        if code:
            return f"{command[0]} ended with {code}: {_reason(cell.log)}"
    try:
        cell.finish(asked)
    except (UsageError, OSError, ValueError, KeyError) as error:
        return f"what it left cannot be kept: {one_line(error)}"
    return None


def _trained_otherwise(cell: Cell, asked: dict[str, object]) -> str | None:
    """Why a cell cannot go on with the run folder that is there; writes what it is asked for."""
    asked = parse_json(json.dumps(asked), cell.name)
    if cell.run.path.exists() and cell.record.is_file():
        for name, value in read_json(cell.record).items():
            if name in asked and asked[name] != value:
                other = f"{cell.path} was trained with another {name}"
                return f"{other}; delete it, or give this cell a label of its own"
    write_text(cell.record, json.dumps(asked, indent=1) + "\n")
    return None


def _reason(log: Path) -> str:
    """The last error of the last command in a log, or else its last line."""
    said = read_text(log, errors="replace").rpartition("$ spikepropamine ")[2]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*error: |Error: ", line)]
    return (errors or lines)[-1].rpartition("error: ")[2]


def _run(command: tuple[str, ...], cell: Cell, stopped: Callable[[], bool]) -> int:
    """The exit code of a command, in a process of its own with one thread."""
    paths = [
        str(HERE.parent),
        os.environ.get("PYTHONPATH", ""),
    ]  # this package, wherever it runs
    changed = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        ENDS_WITH_PARENT: "1",
    }
    with appended(cell.log) as log:
        print(f"$ spikepropamine {shlex.join(command)}", file=log, flush=True)
        # in a session of its own, so that Ctrl-C reaches it once, from here
        with subprocess.Popen(
            [sys.executable, "-m", "spikepropamine", *command],
            cwd=cell.root,
            env=os.environ | dict.fromkeys(THREADS, "1") | changed,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                while not stopped():
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    os.killpg(
                        process.pid, signal.SIGTERM
                    )  # which training takes as Ctrl-C
    return process.returncode
