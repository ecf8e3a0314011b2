"""Run folders that are damaged, in use, of another time, or meant to do harm."""

import json
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import same
from safetensors import safe_open
from test_replay import assert_equal, filled

from spikepropamine.agents import replay_buffer, zoo
from spikepropamine.agents.replay_buffer import MEMORY
from spikepropamine.folder import read_progress
from spikepropamine.policies.export import _digest, load_policy
from spikepropamine.reading import read_tensors
from spikepropamine.training import checkpoints, resuming
from spikepropamine.training import run as running
from spikepropamine.training.checkpoints import Checkpoint, listed, lock, read, write
from spikepropamine.training.command_line import parse
from spikepropamine.training.environments import make_envs
from spikepropamine.training.logs import ProgressCSV
from spikepropamine.training.resuming import start_from

DATA = Path(__file__).parent / "data" / "policy"
TINY = [
    "--env", "Pendulum-v1", "--policy", "ndp-oja", "--n-envs", "2", "--steps", "64",
    "--trainer.n-steps", "16", "--trainer.batch-size", "16",
    "--trainer.sequence-length", "8",
    "--trainer.n-epochs", "1", "--network.hidden", "4", "4", "--trainer.critic", "4",
    "--normalize-observations", "--checkpoint-every", "32", "--log-every", "1",
]  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of 64 steps with two checkpoints, to be copied."""
    runs = tmp_path_factory.mktemp("trained")
    assert running.main([*TINY, "--runs", str(runs)]) == 0
    return runs


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run: its folder, and a command line that trains on."""
    shutil.copytree(trained, tmp_path / "runs")
    folder = tmp_path / "runs" / "Pendulum-v1" / "ndp-oja" / "seed-0"

    def go_on(*more, steps=96):
        arguments = [
            *TINY,
            "--runs",
            str(tmp_path / "runs"),
            "--steps",
            str(steps),
            *more,
        ]
        return running.main(arguments)

    return folder, go_on


def error_of(capsys):
    """The last line on standard error, which is all that an error may print."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


def steps_of(folder):
    return [
        int(row["time/total_timesteps"])
        for row in read_progress(folder / "progress.csv")[1]
    ]


def test_two_checkpoints_are_kept_and_hold_no_pickle(run):
    folder, _ = run
    first, second = listed(folder / "checkpoints")
    assert [read(first).steps, read(second).steps] == [64, 32]
    for path in folder.rglob("*"):
        assert path.suffix in ("", ".safetensors", ".json", ".yaml", ".csv"), path
    with safe_open(first, framework="numpy") as file:
        assert json.loads(file.metadata()["checkpoint"])["format"] == checkpoints.FORMAT


def test_a_checkpoint_may_be_as_large_as_the_states_in_a_replay_buffer(
    run, monkeypatch
):
    allowed = []

    def tensors(path, most, **more):
        allowed.append(most)
        return read_tensors(path, most, **more)

    monkeypatch.setattr(checkpoints, "read_tensors", tensors)
    read(listed(run[0] / "checkpoints")[0])
    assert allowed == [MEMORY]


@pytest.mark.parametrize("damage", ["flipped", "swapped"])
def test_a_damaged_checkpoint_is_named_and_skipped(run, capsys, damage):
    folder, go_on = run
    latest, earlier = listed(folder / "checkpoints")
    contents = bytearray(latest.read_bytes())
    if damage == "flipped":
        contents[len(contents) // 2] ^= 4
    latest.write_bytes(contents if damage == "flipped" else earlier.read_bytes())
    assert go_on("--resume") == 0
    assert f"{latest} is damaged" in capsys.readouterr().err
    assert steps_of(folder) == [32, 64, 96]
    assert [read(path).steps for path in listed(folder / "checkpoints")] == [96, 64]


def test_where_no_checkpoint_is_whole_nothing_is_done(run, capsys):
    folder, go_on = run
    for path, contents in zip(
        listed(folder / "checkpoints"), (b"", b"\x80\x04 a pickle")
    ):
        path.write_bytes(contents)
    before = sorted(folder.rglob("*"))
    assert go_on("--resume") == 2
    assert "no checkpoint" in error_of(capsys)
    assert sorted(folder.rglob("*")) == before


def test_a_run_without_a_checkpoint_starts_again(run, capsys):
    folder, go_on = run
    shutil.rmtree(folder / "checkpoints")
    shutil.rmtree(folder / "policy")  # which is written in the end
    assert go_on("--resume") == 0
    assert "starts again" in capsys.readouterr().err
    assert steps_of(folder) == [32, 64, 96]


def test_a_policy_without_checkpoints_is_not_lost(run, capsys):
    folder, go_on = run
    shutil.rmtree(folder / "checkpoints")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert go_on("--resume") == 2
    assert "has a policy of 64 steps and no checkpoint" in error_of(capsys)
    assert go_on("--resume", steps=64) == 0
    assert "is already trained for 64 steps" in capsys.readouterr().out
    assert (
        before.items()
        <= {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}.items()
    )


def test_a_policy_that_was_not_written_in_time_is_written(run):
    folder, go_on = run
    expected = (folder / "policy" / "weights.safetensors").read_bytes()
    shutil.rmtree(folder / "policy")
    assert go_on("--resume", steps=64) == 0
    assert (folder / "policy" / "weights.safetensors").read_bytes() == expected


def test_two_trainings_do_not_meet(run, capsys):
    folder, go_on = run
    with lock(folder):
        assert go_on("--resume") == 2
        assert "another training" in error_of(capsys)
        assert go_on("--overwrite") == 2
    assert go_on("--resume") == 0


@pytest.mark.parametrize(
    "name", ["", "config.yaml", "progress.csv", "checkpoints", "policy"]
)
def test_nothing_is_written_through_a_link(run, tmp_path, capsys, name):
    folder, go_on = run
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    for how in ("--resume", "--overwrite"):
        assert go_on(how) == 2
        assert f"{folder / name} is a link" in error_of(capsys)
    assert elsewhere.exists()


@pytest.mark.parametrize("without", [False, True])
def test_other_settings_than_those_of_the_checkpoint_are_named(run, capsys, without):
    folder, go_on = run
    if without:
        (folder / "config.yaml").unlink()
    else:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["settings"]["network"]["hidden"] = [6, 6]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        go_on("--resume", "--network.hidden", "6", "6")
    code = go_on("--resume", "--network.hidden", "6", "6")
    assert code == 2
    assert "network.hidden was [4, 4]" in error_of(capsys)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--n-envs", "4"], "n_envs was 2"),
        (["--backend", "reference"], "backend was auto"),
        (["--checkpoint-every", "16"], "checkpoint_every was 32"),
    ],
)
def test_what_makes_other_numbers_is_said(run, capsys, monkeypatch, more, words):
    folder, go_on = run
    now = running.versions() | {"numpy": "1.0"}
    monkeypatch.setattr(resuming, "versions", lambda: now)
    assert go_on("--resume", steps=64) == 0
    assert not capsys.readouterr().err  # nothing is left that could differ
    assert go_on("--resume", *more, steps=128) == 0
    error = capsys.readouterr().err
    assert words in error and "and is 1.0 now" in error
    assert load_policy(folder / "policy").metadata["steps"] == 128


# the curve


def test_a_torn_row_never_loses_the_curve(run):
    folder, go_on = run
    file = folder / "progress.csv"
    text = file.read_text()
    for torn in (text + "96,1.5", text[:-3], text + "\0\xff,\n", text + '"'):
        file.write_text(torn)
        assert go_on("--resume", steps=64) == 0
        assert steps_of(folder)[0] == 32
    file.write_text(text[:-3])
    assert go_on("--resume") == 0
    assert steps_of(folder) in ([32, 96], [32, 64, 96])


def test_new_columns_keep_all_rows(tmp_path):
    rows = ProgressCSV(tmp_path / "progress.csv", 0)
    for step in range(1, 4):
        values = {"time/total_timesteps": step} | {f"value{i}": i for i in range(step)}
        rows.write(values, dict.fromkeys(values), step)
    rows.close()
    keys, found = read_progress(tmp_path / "progress.csv")
    assert len(keys) == 4 and [row["value2"] for row in found] == ["", "", "2"]


def test_a_stored_policy_acts_as_it_did():
    policy = load_policy(DATA)
    expected = json.loads((DATA / "acts.json").read_text())
    state = None
    for observation, action in zip(expected["observations"], expected["actions"]):
        acted, state = policy.predict(
            np.float32(observation), state, deterministic=True
        )
        np.testing.assert_allclose(acted, action, rtol=1e-5)


# damage of all kinds


def damaged(path, draw, other):
    """Damages a file, in one of many ways; says how."""
    kind = draw.choice(
        ["flipped", "cut", "swapped", "grown", "linked", "spelt", "missing"]
    )
    contents = bytearray(path.read_bytes())
    at = draw.randrange(len(contents))
    if kind == "flipped":
        contents[at] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del contents[at:]
    elif kind == "swapped":
        contents = bytearray(other.read_bytes())
    elif kind == "grown":
        contents[at:at] = draw.randbytes(draw.choice([1, 8, 4096]))
    elif kind == "spelt":  # a number or a name becomes another
        text = (
            contents.replace(b"64", b"46")
            .replace(b"mean", b"var")
            .replace(b"oja", b"bcm")
        )
        contents = text if text != contents else contents[1:]
    path.unlink()
    if kind == "linked":
        path.symlink_to(draw.choice([other, path.parent, Path("/dev/zero"), path]))
    elif kind != "missing":
        path.write_bytes(contents)
    return kind


def same_policy(one, other):
    ours = one.policy.state_dict()
    theirs = other.policy.state_dict()
    return (
        ours.keys() == theirs.keys()
        and all(np.array_equal(ours[name], theirs[name]) for name in ours)
        and same(one.normalisation.statistics, other.normalisation.statistics)
        and one.metadata == other.metadata
    )


def test_a_hundred_kinds_of_damage(trained, tmp_path):
    draw = random.Random(0)
    source = trained / "Pendulum-v1" / "ndp-oja" / "seed-0"
    whole = load_policy(source / "policy")
    first, second = listed(source / "checkpoints")
    folder = tmp_path / "damaged"
    watched = tmp_path / "elsewhere"
    watched.write_text("untouched")
    for number in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        if number % 2:
            file = folder / "checkpoints" / first.name
            other = folder / "checkpoints" / second.name
        else:
            names = ["policy.json", "weights.safetensors", "normalisation.safetensors"]
            name, another = draw.sample(names, 2)
            file = folder / "policy" / name
            other = folder / "policy" / another
        kind = damaged(file, draw, draw.choice([other, watched]))
        try:
            if number % 2:
                found = read(file)
                right = found.steps == 64 and file.read_bytes() == first.read_bytes()
            else:
                right = same_policy(load_policy(folder / "policy"), whole)
            assert right, f"{number}: {file.name} was {kind}, and was loaded"
        except (ValueError, FileNotFoundError) as error:
            assert len(str(error).splitlines()) == 1, f"{number}: {kind}: {error}"
        assert watched.read_text() == "untouched"


def test_a_policy_that_describes_more_than_it_holds_takes_no_memory(run):
    folder, _ = run
    file = folder / "policy" / "policy.json"
    description = json.loads(file.read_text())
    for name, value in (("hidden", [10**4, 10**4]), ("ticks", 10**9)):
        network = description["arguments"]["network"] | {name: value}
        changed = description | {
            "arguments": description["arguments"] | {"network": network}
        }
        file.write_text(json.dumps(changed | {"digest": _digest(changed)}))
        with pytest.raises(ValueError, match=r"damaged: .*(more weights|ticks)"):
            load_policy(folder / "policy")


def test_a_checkpoint_gives_a_new_algorithm_what_was_learned(run):
    folder, _ = run
    settings = parse(TINY)
    model = zoo.build(
        settings.policy, make_envs(settings), settings.network, settings.trainer
    )
    before = load_policy(folder / "policy")
    state = read(listed(folder / "checkpoints")[0]).state
    checkpoints.restore(model, state)
    weights = model.policy.state_dict()
    assert all(
        torch.equal(x, weights[name]) for name, x in before.policy.state_dict().items()
    )
    found = model.get_vec_normalize_env().obs_rms.mean
    np.testing.assert_array_equal(found, before.normalisation.statistics[""][0])
    assert model.num_timesteps == 64
    kept = (
        model.ep_info_buffer,
        model.ep_success_buffer,
    )  # the means over the last 100 episodes
    assert [buffer.maxlen for buffer in kept] == [100, 100]
    for damage in ("num_timesteps", "ep_info_buffer"):
        wrong = state | {"progress": state["progress"] | {damage: "much"}}
        with pytest.raises(ValueError, match=damage):
            checkpoints.restore(model, wrong)


@pytest.mark.parametrize("seed", [0, 3])
def test_episodes_begin_anew_as_seed_and_steps_say(run, seed):
    settings = parse(TINY)
    seen = []
    for steps in (64, 64, 96):
        model = zoo.build(
            settings.policy, make_envs(settings), settings.network, settings.trainer
        )
        model.env.training = (
            False  # the statistics would take in the first observations
        )
        for _ in range(steps % 5):  # whatever was before
            model.env.reset()
        model.num_timesteps = steps
        checkpoints.begin_episodes(model, seed)
        seen.append(
            [model._last_obs, torch.rand(3), np.random.rand(3), random.random()]
        )
        assert model._last_episode_starts.all()
    one, same, other = seen
    assert all(np.array_equal(x, y) for x, y in zip(one, same))
    assert not any(np.array_equal(x, y) for x, y in zip(one, other))


def test_a_run_that_starts_from_another_has_the_statistics_of_its_observations(run):
    folder, _ = run
    settings = parse([*TINY, "--seed", "1", "--from", str(folder)])
    venv = make_envs(settings)
    model = zoo.build(settings.policy, venv, settings.network, settings.trainer)
    start_from(model, folder)
    trained = load_policy(folder / "policy").normalisation.statistics[""]
    assert same((venv.obs_rms.mean, venv.obs_rms.var), trained)
    venv.close()


REPLAY = {"n_envs": 2, "ends": (7, 11), "sequence_length": 4}


def saved(folder, steps, buffer):
    state = {"replay": buffer.contents()}
    return write(folder, Checkpoint(steps, {}, {}, state))


def test_blocks_of_a_replay_buffer_are_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(replay_buffer, "BLOCK", 400)
    stored = {}
    before = {}
    for steps in (10, 30, 60, 90):
        buffer = filled(steps=steps, **REPLAY)
        buffer.stored = stored  # as of one buffer that is filled further
        latest = saved(tmp_path, steps, buffer)
        blocks = {path: path.stat().st_ino for path in tmp_path.glob("block-*")}
        assert all(before.get(path, inode) == inode for path, inode in blocks.items())
        before = before | blocks
    assert len(blocks) < len(before)  # of the earliest there is nothing left

    for path in listed(tmp_path):
        again = filled(steps=0, **REPLAY)
        again.restore(read(path).state["replay"])
        assert_equal(filled(steps=read(path).steps, **REPLAY), again)
    inodes = {path.stat().st_ino for path in tmp_path.glob("block-*")}
    saved(tmp_path, 91, again)  # of a run that was resumed
    assert inodes >= {path.stat().st_ino for path in tmp_path.glob("block-*")}
    assert latest in listed(tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_checkpoint_with_a_damaged_block_is_skipped(
    tmp_path, capsys, damage, monkeypatch
):
    monkeypatch.setattr(replay_buffer, "BLOCK", 400)
    buffer = filled(steps=30, **REPLAY)
    saved(tmp_path, 30, buffer)
    earlier = set(tmp_path.glob("block-*"))
    later = filled(steps=60, **REPLAY)
    later.stored = buffer.stored
    saved(tmp_path, 60, later)
    block = min(set(tmp_path.glob("block-*")) - earlier)
    contents = bytearray(block.read_bytes())
    contents[-1] ^= 4
    block.write_bytes(contents)
    if damage == "missing":
        block.unlink()
    assert checkpoints.latest(tmp_path).steps == 30
    (line,) = capsys.readouterr().err.splitlines()
    assert "step-000000000060" in line and block.name in line


def test_saving_and_reading_take_little_more_memory_than_the_buffer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(replay_buffer, "BLOCK", 2**18)
    arguments = REPLAY | {"size": 2000, "width": 2500}
    buffer = filled(steps=1900, **arguments)
    again = filled(steps=0, **arguments)
    size = buffer.states.nbytes
    assert size > 2**23
    tracemalloc.start()
    path = saved(tmp_path, 1900, buffer)
    again.restore(read(path).state["replay"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_equal(buffer, again)
    assert peak < 0.2 * size
