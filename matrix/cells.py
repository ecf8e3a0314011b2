"""The cells of a matrix: each is a training run, with the settings of what is done."""

import json
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spikepropamine.common import UsageError, bad_input, check_known, shown
from spikepropamine.envs.making import split_env
from spikepropamine.evaluation.ask.conditions import task_of
from spikepropamine.evaluation.command import folder_name, named_conditions, suite_of
from spikepropamine.evaluation.command import parse as parse_evaluation
from spikepropamine.export.command import FORMATS
from spikepropamine.export.command import main as export
from spikepropamine.folder import RunFolder
from spikepropamine.matrix.definition import Labels, Matrix
from spikepropamine.report.evaluate import run_all
from spikepropamine.training.command_line import going_on
from spikepropamine.training.command_line import parse as parse_training
from spikepropamine.training.run import train
from spikepropamine.training.settings import Settings
from spikepropamine.versions import import_modules

Words = tuple[str, ...]
"""What a person would type after `spikepropamine` to do the same."""


@dataclass(frozen=True)
class Training:
    """The training of a cell."""

    words: Words
    settings: Settings

    def going_on(self) -> "Training":
        """The same training, which resumes the run that is there."""
        return Training((*self.words, "--resume"), replace(self.settings, resume=True))

    def perform(self) -> int:
        """Trains. Returns the exit code; raises what `train` raises."""
        settings = self.settings
        import_modules(settings.imports)
        if settings.resume:
            settings = going_on(settings)
        train(settings)
        return 0


@dataclass(frozen=True)
class Evaluating:
    """An evaluation of a cell."""

    words: Words
    options: Namespace
    """As `evaluation.command.parse` returns them."""
    folder: Path
    """Where its results go, relative to the working directory."""

    def perform(self) -> int:
        """Evaluates. Returns the exit code; raises what `evaluate` raises."""
        torch.set_num_threads(1)
        run_all(self.options)
        return 0


@dataclass(frozen=True)
class Exporting:
    """An export of a cell."""

    words: Words

    def perform(self) -> int:
        """Exports. Returns the exit code; raises what `export` raises."""
        return export(self.words[1:])


Command = Training | Evaluating | Exporting


@dataclass(frozen=True)
class Cell:
    """One training run with its evaluations and exports."""

    matrix: str
    """Name of the matrix."""
    labels: Labels
    training: Training
    evaluations: tuple[Evaluating, ...]
    exports: tuple[Exporting, ...]
    keep: Path | None
    """Where a copy of the run goes if its seed is the median, relative to `root`; None:
    nowhere."""
    root: Path
    """The working directory of the commands, absolute."""

    @property
    def name(self) -> str:
        """The cell's name, as people read it."""
        seed, setting, env, policy = self.labels
        return " ".join(filter(None, (env, setting, policy, f"seed {seed}")))

    @property
    def commands(self) -> tuple[Command, ...]:
        """All that is done for the cell, in this order."""
        return (self.training, *self.evaluations, *self.exports)

    @property
    def path(self) -> Path:
        """The run folder, relative to `root`."""
        return self.training.settings.folder.path

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.root / self.path)

    @property
    def results(self) -> list[Path]:
        """The folders that its evaluations leave."""
        return [self.root / evaluating.folder for evaluating in self.evaluations]

    @property
    def files(self) -> Path:
        """The folder of what a matrix writes of it: beside the run folder, which a
        training replaces, and not named like one, so that `seed-*` names runs alone.
        """
        return self.run.path.parent / "cells"

    @property
    def log(self) -> Path:
        """What its commands say."""
        return self.files / f"{self.path.name}.{self.matrix}.log"

    @property
    def stamp(self) -> Path:
        """What its training was asked for, and what was finished (`matrix.stamp`)."""
        return self.files / f"{self.path.name}.{self.matrix}.json"

    @property
    def lock(self) -> Path:
        """Is held by the one process that is at it, of whichever matrix."""
        return self.files / f"{self.path.name}.lock"


def cells_of(matrix: Matrix, runs: Path) -> list[Cell]:
    """The cells of a matrix: the first seed of everything first, then in the order of
    the file.

    Args:
        matrix: as it is on file.
        runs: the folder of run folders.

    Raises:
        UsageError: arguments that `train` or `evaluate` would refuse, or two cells in
            one folder.
    """
    builder = _Builder(matrix, runs)
    cells = [builder.cell(labels) for labels in matrix.labels()]
    first: dict[Path, Cell] = {}
    for cell in cells:
        places = [("run folder", cell.path)]
        places += [("folder of results", each.folder) for each in cell.evaluations]
        for what, path in places:
            other = first.setdefault(path, cell)
            if other is not cell:
                raise UsageError(
                    f"{matrix.name}: {other.name} and {cell.name} would have one "
                    f"{what}, {path}"
                )
    return cells


class _Builder:
    """Makes the cells of a matrix."""

    def __init__(self, matrix: Matrix, runs: Path) -> None:
        self.matrix = matrix
        self.runs = runs
        for name in matrix.export:
            check_known("export", name, FORMATS, f"{matrix.name}: ")
        # environments with the evaluations that were found to be possible there, which
        # are the same for all policies and seeds
        self.possible: set[tuple[str, str, Words]] = set()

    def cell(self, labels: Labels) -> Cell:
        """The cell with these labels."""
        training = self._training(labels)
        path = training.settings.folder.path
        evaluations: list[Evaluating] = []
        for text in self.matrix.evaluate:
            evaluating = self._evaluating(self._words(text, labels), training.settings)
            self._check_beside(evaluating, evaluations)
            evaluations.append(evaluating)
        imports = _importing(training.settings)
        exports = [
            Exporting(("export", str(path), *imports, "--format", name))
            for name in self.matrix.export
        ]
        return Cell(
            matrix=self.matrix.name,
            labels=labels,
            training=training,
            evaluations=tuple(evaluations),
            exports=tuple(exports),
            keep=self._keep(path),
            root=Path.cwd(),
        )

    def _training(self, labels: Labels) -> Training:
        """The training of a cell: the words of its command, and the settings that these
        mean.
        """
        name = self.matrix.name
        env_id = self.matrix.envs[labels.env].split()[0]
        policy = self.matrix.policies[labels.policy].split()[0]
        place = self._place(labels)
        words = ["--env", env_id, "--policy", policy, "--seed", str(labels.seed)]
        words += ["--runs", str(place)]
        words += self._words(self.matrix.train, labels)
        words += self._words(self.matrix.settings[labels.setting], labels)
        words += self._words(self.matrix.envs[labels.env], labels)[1:]
        words += self._words(self.matrix.policies[labels.policy], labels)[1:]
        with bad_input(f"{name}: train", UsageError):
            settings = parse_training(words, "train")
        if not settings.folder.path.is_relative_to(place):
            raise UsageError(f"{name}: leave out --runs, which is {place}")
        meant = (split_env(env_id)[0], policy, labels.seed)
        if (settings.env, settings.policy, settings.seed) != meant:
            raise UsageError(
                f"{name}: leave out --env, --policy and --seed, which are those of "
                "each cell"
            )
        if settings.resume or settings.overwrite:
            raise UsageError(
                f"{name}: leave out --resume and --overwrite; what is there is gone on "
                "with"
            )
        return Training(("train", *words), settings)

    def _place(self, labels: Labels) -> Path:
        """The folder of runs: a label that is no name has a folder of its own."""
        folders = [labels.setting]
        if labels.env != self.matrix.envs[labels.env].split()[0]:
            folders.append(labels.env)
        if labels.policy != self.matrix.policies[labels.policy].split()[0]:
            folders.append(labels.policy)
        return self.runs.joinpath(self.matrix.runs, *filter(None, folders))

    def _words(self, text: str, labels: Labels) -> list[str]:
        """The arguments in a text of the file."""
        names = {
            "env": self.matrix.envs[labels.env].split()[0],
            "policy": self.matrix.policies[labels.policy].split()[0],
            "seed": labels.seed,
        }
        where = (
            f"{self.matrix.name}: cannot read {text!r}; {{env}}, {{policy}} and "
            "{seed} can stand in it, and quotes come in pairs"
        )
        with bad_input(where, KeyError, IndexError, AttributeError, TypeError):
            words = shlex.split(text.format(**names))
        for word in ("-h", "--help"):
            if word in words:
                raise UsageError(f"{self.matrix.name}: leave out {word} in {text!r}")
        return words

    def _evaluating(self, words: Sequence[str], settings: Settings) -> Evaluating:
        """An evaluation with these arguments of the run of these settings."""
        name = self.matrix.name
        path = settings.folder.path
        given = [str(path), *_importing(settings), *words]
        given += ["--workers", "1", "--overwrite"]
        with bad_input(f"{name}: evaluate", UsageError):
            options = parse_evaluation(given, "evaluate")
        others = [run for run in options.runs if run != str(path)]
        if others:
            raise UsageError(
                f"{name}: leave {shown(' '.join(others))} out of evaluate, where an "
                "evaluation has the run of its cell alone"
            )
        self._check_possible(settings, options, tuple(words))
        if options.out is not None:
            out = Path(options.out)
            if out.is_absolute() or ".." in out.parts:
                raise UsageError(
                    f"{name}: --out {shown(str(out))} leads out of this folder"
                )
            return Evaluating(("evaluate", *given), options, out)
        folder = folder_name(options)
        if self.matrix.runs != name:  # others evaluate the same runs
            folder = f"{name}-{folder}"
        options.out = RunFolder(path).evaluations / folder
        given += ["--out", str(options.out)]
        return Evaluating(("evaluate", *given), options, options.out)

    def _check_possible(
        self, settings: Settings, options: Namespace, words: Words
    ) -> None:
        """Raises UsageError where an evaluation has conditions that do not apply."""
        arguments = json.dumps(settings.env_kwargs, sort_keys=True)
        case = (settings.env, arguments, words)
        if case in self.possible:
            return
        with bad_input(f"{self.matrix.name}: evaluate", UsageError):
            import_modules(options.imports)
            factor = options.horizon_factor
            task = task_of(settings.env, settings.env_kwargs, factor)
            named_conditions(task, options)
        self.possible.add(case)

    def _check_beside(self, one: Evaluating, others: Sequence[Evaluating]) -> None:
        """Raises UsageError where an evaluation clashes with others of its cell."""
        name = self.matrix.name
        suite = suite_of(one.options)
        episodes = (one.options.episodes, one.options.seed)
        for other in others:
            known = (other.options.episodes, other.options.seed)
            if suite_of(other.options) == suite and known != episodes:
                raise UsageError(
                    f"{name}: two evaluations of {suite} need the same --episodes and "
                    "--seed"
                )
            if other.folder == one.folder:
                raise UsageError(
                    f"{name}: two evaluations would write to {one.folder}; add --out"
                )

    def _keep(self, path: Path) -> Path | None:
        """Where a copy of a run goes."""
        if not self.matrix.keep:
            return None
        keep = Path(self.matrix.keep, path.relative_to(self.runs / self.matrix.runs))
        copy = keep.resolve()
        run = path.resolve()
        if copy.is_relative_to(run) or run.is_relative_to(copy):
            raise UsageError(
                f"{self.matrix.name}: keep: {self.matrix.keep} is where the runs are"
            )
        return keep


def _importing(settings: Settings) -> list[str]:
    """The option by which other commands import the modules of a training."""
    return ["--import", *settings.imports] if settings.imports else []
