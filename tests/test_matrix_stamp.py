"""The stamp of a cell: what has finished, and what it was trained with."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml
from matrices import PLAIN, TINY, commands, file, of

from spikepropamine.common import UsageError
from spikepropamine.matrix import (
    stamp,
)
from spikepropamine.matrix.execution import execute
from spikepropamine.matrix.rows import rows_of
from spikepropamine.matrix.stamp import is_finished
from spikepropamine.training.command_line import going_on
from spikepropamine.training.settings import with_network_of_policy


def test_a_cell_has_one_stamp_and_a_pattern_of_seeds_names_runs_alone(file, commands):
    for cell in of(file(policies=["snn"], settings={"": ""})):
        assert execute(cell) is None
    stamps = sorted(path.name for path in cell.files.glob("*.json"))
    assert stamps == ["seed-0.tiny.json", "seed-1.tiny.json"]
    folder = cell.run.path.parent
    assert sorted(path.name for path in folder.glob("seed-*")) == ["seed-0", "seed-1"]


def test_what_an_older_version_finished_is_finished_and_moved(file, commands):
    path = file(policies=["snn"], settings={"": ""}, seeds=[0])
    (cell,) = of(path)
    execute(cell)
    stem = cell.run.path
    content = json.loads(cell.stamp.read_text())
    shutil.rmtree(cell.files)
    stem.with_suffix(".tiny.json").write_text(json.dumps(content))
    stem.with_suffix(".training.json").write_text(json.dumps(content["asked"]))
    stem.with_suffix(".tiny.log").write_text("what it said")
    stem.with_suffix(".lock").touch()
    assert is_finished(cell)
    stamp.move_old_files(cell)
    assert is_finished(cell) and cell.log.read_text() == "what it said"
    assert list(stem.parent.glob("seed-*")) == [stem]
    # the old file of what its training was asked for is heeded as a stamp is
    cell.stamp.unlink()
    other = file(
        policies=["snn"], settings={"": ""}, seeds=[0], train=f"{TINY} --n-envs 4"
    )
    assert "was trained with another n_envs" in execute(of(other)[0])


def test_a_run_is_held_against_the_stamps_of_all_matrices_until_it_is_deleted(
    file, commands, tmp_path
):
    one = {"policies": ["snn"], "settings": {"": ""}, "seeds": [0], "runs": "shared"}
    execute(of(file(**one))[0])
    changed = PLAIN | one | {"train": f"{TINY} --trainer.n-epochs 3"}
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(changed))
    (cell,) = of(str(other))
    assert "was trained with another trainer.n_epochs" in execute(cell)
    shutil.rmtree(cell.run.path)
    assert execute(cell) is None and is_finished(cell)


def test_a_training_that_diverged_is_a_result(file, commands):
    cell = of(file())[0]
    commands.diverging = {cell.name}
    assert execute(cell) is None and is_finished(cell)
    assert stamp.divergence(cell) == "it diverged"
    assert [words[0] for words in commands.seen] == ["train"]
    rows = rows_of(cell).select("policy", "seed", "steps", "measure", "value")
    assert rows.rows() == [("snn", 0, 64, "diverged", 1.0)]
    # other evaluations do not make it new; without its run it is to do
    assert is_finished(of(file(evaluate=["--episodes 5"]))[0])
    shutil.rmtree(cell.run.path)
    assert not is_finished(cell)


def test_a_run_goes_on_with_the_settings_that_it_was_made_with(file):
    cell = next(c for c in of(file()) if c.labels.policy == "sized")
    settings = replace(cell.training.settings, resume=True)
    assert going_on(settings) == settings  # there is nothing yet
    scaled = replace(settings, network=replace(settings.network, hidden=(7, 7)))
    cell.run.path.mkdir(parents=True)
    made = with_network_of_policy(scaled).as_dict()
    cell.run.config.write_text(yaml.safe_dump({"settings": made}))
    assert going_on(settings).network.hidden == (7, 7)
    with pytest.raises(UsageError, match="--normalize-rewards was False"):
        going_on(replace(settings, normalize_rewards=True))
