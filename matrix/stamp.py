"""The stamp of a cell: what its training was asked for, and what was finished.

It is one JSON file for each cell, in the folder `cells` beside the run folder. When a
cell begins it has one entry, `asked`. When all is done it also has the words of the
commands, and digests of what they read and left; or, where training diverged, why. Old
stamps lie beside the run folder itself, in two files, and are read as they were.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from spikepropamine.common import UsageError, write_text
from spikepropamine.envs.perturbations.notation import SUITES
from spikepropamine.folder import RESULTS
from spikepropamine.matrix.cells import Cell, Training
from spikepropamine.matrix.definition import RESERVED
from spikepropamine.options import flat
from spikepropamine.reading import parse_json, read_json
from spikepropamine.training.sections import matched
from spikepropamine.training.settings import CHANGES_NO_NUMBER
from spikepropamine.versions import code_of, digest_of, digests_of

Content = dict[str, object]
"""Plain values, for JSON."""


def asked_of(cell: Cell) -> Content:
    """What the training of a cell is asked for, defaults included, but for what changes
    no number; with digests of the files, runs and modules that it names.
    """
    settings = cell.training.settings
    plain = flat(settings.as_dict())
    asked: Content = {
        name: value for name, value in plain.items() if name not in CHANGES_NO_NUMBER
    }
    if settings.match_parameters is not None:  # whose defaults say how large
        network = matched(settings).network
        asked[f"size of {settings.match_parameters}"] = str(network)
    named = [*cell.training.words, str(settings.teacher), str(settings.start_from)]
    for text, digest in _contents(named, cell.root).items():
        asked[f"content of {text}"] = digest
    for module, digest in code_of(settings.imports).items():
        asked[f"code of {module}"] = digest
    return asked


def is_finished(cell: Cell) -> bool:
    """Whether these very commands were run, with the policy and the results that are
    there; or the training of these very settings diverged.
    """
    content = _read(cell)
    if not content:
        return False
    reason = content.get("diverged")
    if isinstance(reason, str):
        expected = _state_of_diverged(cell, reason)
    else:
        expected = _state(cell)
    return content == {**expected, "asked": asked_of(cell)}


def divergence(cell: Cell) -> str | None:
    """Why the training of a finished cell diverged; None where it did not."""
    reason = _read(cell).get("diverged")
    return reason if isinstance(reason, str) else None


def begin(cell: Cell) -> Content:
    """Writes what the training of a cell is asked for, before it begins.

    Returns:
        What was written, which is for `finish`: files may change meanwhile.

    Raises:
        UsageError: the run folder that is there was trained with something else.
    """
    asked = asked_of(cell)
    asked_as_read = parse_json(json.dumps(asked), cell.name)
    if not cell.run.path.exists():
        for file in _beside(cell):  # they are of a run that is gone
            file.unlink()
    for file in _beside(cell):
        before = _asked_in(file)
        for name, value in before.items():
            if name in asked_as_read and asked_as_read[name] != value:
                raise UsageError(
                    f"{cell.path} was trained with another {name}; delete it, or give "
                    "this cell a label of its own"
                )
    _write(cell, _read(cell) | {"asked": asked})
    return asked


def finish(cell: Cell, asked: Content) -> None:
    """Writes that all was done.

    Args:
        cell: of the matrix.
        asked: what `begin` returned.
    """
    _write(cell, _state(cell) | {"asked": asked})


def finish_diverged(cell: Cell, asked: Content, reason: str) -> None:
    """Writes that the training diverged, after which there is nothing to evaluate.

    Args:
        cell: of the matrix.
        asked: what `begin` returned.
        reason: one line.
    """
    _write(cell, _state_of_diverged(cell, reason) | {"asked": asked})


def move_old_files(cell: Cell) -> None:
    """Moves files to where they belong now that an older version of this program left
    beside the run folder, where a pattern such as `seed-*` takes them for runs.
    """
    old = cell.run.path.parent
    seed = cell.run.path.name
    stems = [f"{seed}.{cell.matrix}.json", f"{seed}.{cell.matrix}.log"]
    stems += [f"{seed}.{RESERVED}.json", f"{seed}.lock"]
    for name in stems:
        if (old / name).is_file():
            cell.files.mkdir(exist_ok=True)
            (old / name).replace(cell.files / name)


def _state(cell: Cell) -> Content:
    """What is there of a cell whose commands were all run."""
    later = itertools.chain(*(command.words for command in cell.commands[1:]))
    exports = None
    if cell.exports:
        exports = _digest(cell.run.exports.glob("*"))
    return {
        "policy": _digest(cell.run.policy.glob("*")),
        "results": [_digest([folder / RESULTS]) for folder in cell.results],
        "exports": exports,
        "commands": [list(command.words) for command in cell.commands],
        "contents": _contents(list(later), cell.root),
    }


def _state_of_diverged(cell: Cell, reason: str) -> Content:
    """What is there of a cell whose training diverged."""
    training: Training = cell.training
    return {
        "diverged": reason,
        "logs": _digest([cell.run.config, cell.run.progress]),
        "commands": [list(training.words)],
    }


def _contents(texts: Sequence[str], root: Path) -> dict[str, str]:
    """Digests of the files, the runs and the suites of this project that texts name."""
    suites = digests_of((f"{text}.yaml" for text in texts), SUITES)
    return digests_of(texts, root) | suites


def _digest(files: Iterable[Path]) -> str:
    return digest_of(file for file in sorted(files) if file.is_file())


def _read(cell: Cell) -> Content:
    """The stamp of a cell; empty where there is none, or a damaged one."""
    for folder in (cell.files, cell.run.path.parent):
        content = _content(folder / cell.stamp.name)
        if content:
            return content
    return {}


def _write(cell: Cell, content: Content) -> None:
    write_text(cell.stamp, json.dumps(content, indent=1) + "\n")


def _beside(cell: Cell) -> list[Path]:
    """The stamps of the cells that share a run folder, of all matrices."""
    return sorted(cell.files.glob(f"{cell.path.name}.*.json"))


def _asked_in(file: Path) -> Content:
    """What a stamp says of the training; an old file of that alone has nothing else."""
    content = _content(file)
    _, _, name = file.name.partition(".")
    if name == f"{RESERVED}.json":
        return content
    asked = content.get("asked")
    return asked if isinstance(asked, dict) else {}


def _content(file: Path) -> Content:
    """What a stamp holds; nothing where it cannot be read."""
    try:
        content = read_json(file)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
