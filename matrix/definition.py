"""A matrix on file: which runs there are, what is done with each, what is compared."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from spikepropamine.common import UsageError, check_known, shown
from spikepropamine.options import Seed, updated
from spikepropamine.reading import read_yaml
from spikepropamine.report.contrasts import MATRICES, Contrast, contrasts_of

AXES = ("envs", "policies", "settings", "seeds")
RESERVED = "training"
"""No name of a matrix: of the files beside old runs, it is that of another one."""


class Labels(NamedTuple):
    """The place of a cell on each axis."""

    seed: int
    setting: str
    env: str
    policy: str


@dataclass(frozen=True)
class Matrix:
    """Environments, policies, seeds and settings, and what is done with each run.

        envs: [CueAssociation-v0]           # or LABEL: ID ARGUMENTS
        policies:                           # or a list of names
          snn:
          mlp-sized: mlp --match-parameters snn
        settings:                           # LABEL: ARGUMENTS; optional
          clean:
          noisy: --env-kwargs noise 0.1
        seeds: [0, 1, 2, 3, 4]
        contrasts:                          # planned: a policy, against others
          snn: [mlp-sized]
        train: --steps 200000               # for all
        evaluate:                           # one line for each evaluation
          - --episodes 200
          - --suite motor-signs --lesions off frozen
        export: [onnx]
        runs: robots                        # whose run folders it shares (its own)
        keep: trained/robots                # for copies of the runs of median seeds
        only:                               # cells that are in one of these (all)
          - {policies: [snn]}
          - {settings: [noisy], seeds: [0]}

    Arguments are those of `spikepropamine train` and `evaluate`. Of an option that is
    given twice the later one counts: train, settings, envs, policies. {env}, {policy}
    and {seed} stand for those of the cell. Labels are keys, texts of arguments are
    values.
    """

    name: str
    envs: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=lambda: {"": ""})
    seeds: tuple[Seed, ...] = ()
    contrasts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    train: str = ""
    evaluate: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    runs: str = ""
    keep: str = ""
    only: tuple[dict[str, tuple[int | str, ...]], ...] = ()

    def labels(self) -> list[Labels]:
        """The cells, by their labels: the first seed of all first."""
        every = itertools.product(self.seeds, self.settings, self.envs, self.policies)
        return [
            labels for labels in itertools.starmap(Labels, every) if self._has(labels)
        ]

    def _has(self, labels: Labels) -> bool:
        """Whether `only` leaves a cell in."""
        if not self.only:
            return True
        by_axis = {
            "seeds": labels.seed,
            "settings": labels.setting,
            "envs": labels.env,
            "policies": labels.policy,
        }
        return any(
            all(by_axis[axis] in wanted for axis, wanted in part.items())
            for part in self.only
        )

    def planned(self) -> list[Contrast]:
        """The contrasts, in the order of the file."""
        return contrasts_of(self.contrasts)


def load_matrix(name: str) -> Matrix:
    """The matrix in a YAML file, or the one of `configs/matrices/` that has this name.

    Raises:
        UsageError: there is none, or something in it is wrong.
    """
    file = Path(name)
    if not file.suffix:
        known = sorted(path.stem for path in MATRICES.glob("*.yaml"))
        check_known("matrix", name, known)
        file = MATRICES / f"{name}.yaml"
    content = read_yaml(file)
    where = file.name
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: must be a mapping with envs, policies and seeds")
    if file.stem == RESERVED:
        raise UsageError(
            f"{file}: {RESERVED}.json has another meaning beside runs; rename the file"
        )
    matrix = updated(Matrix(file.stem, runs=file.stem), _with_labels(content), where)
    for axis in AXES:
        if not getattr(matrix, axis):
            raise UsageError(f"{where}: {axis} is missing or empty")
    if any(isinstance(seed, bool) for seed in content["seeds"]):
        raise UsageError(f"{where}: seeds are whole numbers")
    _check_only(matrix, where)
    _check_places(matrix, where)
    _check_names(matrix, where)
    _check_contrasts(matrix, where)
    return matrix


def _with_labels(content: Mapping[str, object]) -> dict[str, object]:
    """What a file says, with a label and a text for all that its axes list."""
    labelled = dict(content)
    for axis in ("envs", "policies"):
        if axis in labelled:
            labelled[axis] = _named(labelled[axis])
    settings = labelled.get("settings")
    if isinstance(settings, Mapping):
        labelled["settings"] = {
            str(label): text or "" for label, text in settings.items()
        }
    return labelled


def _named(values: object) -> object:
    """Names as a mapping of labels to texts; a name that stands alone is both."""
    if isinstance(values, list):
        return {str(name): str(name) for name in values}
    if isinstance(values, Mapping):
        return {str(label): text or str(label) for label, text in values.items()}
    return values


def _check_only(matrix: Matrix, where: str) -> None:
    """Raises UsageError where `only` names an axis or a label that is not there."""
    for part in matrix.only:
        for axis, labels in part.items():
            check_known("axis", axis, AXES, f"{where}: only: ")
            if not labels:
                raise UsageError(f"{where}: only: {axis} are none; leave them out")
            for label in labels:
                check_known(axis, label, getattr(matrix, axis), f"{where}: only: ")


def _check_places(matrix: Matrix, where: str) -> None:
    """What a file says names folders below those that the command is given."""
    own_labels = [
        label for label, text in matrix.envs.items() if text.split()[:1] != [label]
    ]
    for name in [matrix.runs, *matrix.settings, *matrix.policies, *own_labels]:
        if name != Path(name).name or name.startswith("."):
            raise UsageError(
                f"{where}: {shown(name)} names a folder, and has no place in it"
            )
    keep = Path(matrix.keep)
    if keep.is_absolute() or ".." in keep.parts:
        raise UsageError(
            f"{where}: keep: {shown(matrix.keep)} leads out of this folder"
        )


def _check_names(matrix: Matrix, where: str) -> None:
    for axis in ("envs", "policies"):
        for label, text in getattr(matrix, axis).items():
            if not text.split():
                raise UsageError(f"{where}: {axis}, {label!r} has no name in it")


def _check_contrasts(matrix: Matrix, where: str) -> None:
    """Raises UsageError where a contrast names no policy of the matrix, or is there
    twice.
    """
    pairs: set[frozenset[str]] = set()
    for contrast in matrix.planned():
        for policy in contrast:
            check_known("policy", policy, matrix.policies, f"{where}: contrasts: ")
        pair = frozenset(contrast)
        if len(pair) == 1:
            raise UsageError(
                f"{where}: contrasts: {contrast.policy} is held against itself"
            )
        if pair in pairs:
            raise UsageError(
                f"{where}: contrasts: {contrast.policy} and {contrast.baseline} are "
                "compared twice"
            )
        pairs.add(pair)
