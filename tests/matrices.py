"""A matrix of tiny cells, and what stands for the processes that run them."""

from pathlib import Path

import pytest
import train_runs
import yaml

from spikepropamine.matrix import (
    command,
    process,
)
from spikepropamine.matrix.cells import cells_of
from spikepropamine.matrix.definition import load_matrix

ROOT = Path(__file__).parent.parent
TINY = " ".join(train_runs.TINY)
PLAIN = {
    "envs": ["CueAssociation-v0"],
    "policies": {"snn": None, "sized": "mlp --match-parameters snn"},
    "settings": {"plain": None, "noisy": "--env-kwargs noise 0.1"},
    "seeds": [0, 1],
    "train": TINY,
    "evaluate": ["--suite standard --episodes 2"],
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a matrix and returns its file; the working directory is a new one."""
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(PLAIN | changes, sort_keys=False))
        return str(path)

    return write


class Commands:
    """Stands for the processes of cells: notes commands, and leaves what they would
    leave.
    """

    def __init__(self):
        self.seen = []
        self.failing = set()
        self.diverging = set()

    def __call__(self, command, cell, stopped):
        self.seen.append(command.words)
        if cell.name in self.failing:
            cell.log.write_text("usage\nspikepropamine train: error: no luck\n")
            return 2
        run = cell.run
        if command.words[0] == "train":
            run.path.mkdir(parents=True, exist_ok=True)
            run.config.write_text("versions: {revision: abc}")
            run.progress.write_text("time/total_timesteps\n64\n")
            if cell.name in self.diverging:
                cell.log.write_text("spikepropamine train: error: it diverged\n")
                return process.DIVERGED
            run.policy.mkdir(exist_ok=True)
            (run.policy / "policy.json").write_text('{"metadata": {}}')
        if command.words[0] == "evaluate":
            for folder in cell.results:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "results.csv").write_text("{}")
        return 0


@pytest.fixture
def commands(monkeypatch):
    """Cells run nothing; their rows are none."""
    commands = Commands()
    monkeypatch.setattr(process, "run_alone", commands)
    monkeypatch.setattr(command, "collect", lambda cells, file: len(cells))
    monkeypatch.setattr(command, "_show", lambda *_: True)
    return commands


def of(path):
    return cells_of(load_matrix(path), Path("runs"))
