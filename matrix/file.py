"""A matrix on file: which environments, policies, seeds and settings, and what is done with each.

    envs: [CueAssociation-v0]           # or LABEL: ID ARGUMENTS
    policies:                           # or a list of names
      snn:
      mlp-sized: mlp --match-parameters snn
    settings:                           # LABEL: ARGUMENTS; left out, there is one, without a name
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

Arguments are those of `spikepropamine train` and `evaluate`; of an option that is given twice the
later one counts: train, settings, envs, policies. {env}, {policy} and {seed} stand for those of the
cell.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikepropamine.common import UsageError, check_known, shown
from spikepropamine.ranges import Seed
from spikepropamine.reading import read_yaml
from spikepropamine.training.options import updated
from spikepropamine.training.settings import CONFIGS

MATRICES = CONFIGS / "matrices"
AXES = ("envs", "policies", "settings")


@dataclass(frozen=True)
class Matrix:
    """What the module's text shows; labels are keys, texts of arguments are values."""

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
        raise UsageError(f"{file.name}: must be a mapping with envs, policies and seeds")
    content = dict(content)
    for axis in AXES:
        if axis in content:
            content[axis] = _labelled(content[axis], alone=axis != "settings")
    if file.stem == "training":
        raise UsageError(f"{file}: training.json has another meaning beside runs; rename the file")
    matrix = updated(Matrix(file.stem, runs=file.stem), content, file.name)
    for axis in ("envs", "policies", "settings", "seeds"):
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
            raise UsageError(f"{file.name}: {shown(name)} names a folder, and has no place in it")
    if Path(matrix.keep).is_absolute() or ".." in Path(matrix.keep).parts:
        raise UsageError(f"{file.name}: keep: {shown(matrix.keep)} leads out of this folder")
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
        return {str(label): text or (str(label) if alone else "") for label, text in values.items()}
    return values
