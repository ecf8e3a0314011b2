"""A disk that fills up while a policy trains: a small one of the test's own (tmpfs)."""

import contextlib
import ctypes
import os
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from spikepropamine.progress_csv import read_progress
from spikepropamine.training import command
from spikepropamine.training.checkpoints import listed, read

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
REMOUNT, PRIVATE = 32, 0x44000
TRAIN = [
    "--env", "Pendulum-v1", "--policy", "ndp-oja", "--n-envs", "2", "--steps", "96",
    "--trainer.n-steps", "16", "--trainer.batch-size", "16", "--trainer.sequence-length", "8",
    "--trainer.n-epochs", "1", "--network.hidden", "4", "4", "--trainer.critic", "4",
    "--checkpoint-every", "32", "--log-every", "1",
]  # fmt: skip


def small_disk(folder, kibibytes):
    """Mounts a disk that only this process sees, or makes the one that is there another size."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name, *arguments):
        if getattr(libc, name)(*arguments):
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    flags = 0
    if os.path.ismount(folder):
        flags = REMOUNT
    elif os.getuid() == 0:
        call("unshare", NEW_MOUNTS)
    else:  # as root of a namespace
        user, group = os.getuid(), os.getgid()
        call("unshare", NEW_USER | NEW_MOUNTS)
        for name, value in (("setgroups", "deny"), ("uid_map", user), ("gid_map", group)):
            text = value if name == "setgroups" else f"0 {value} 1"
            Path("/proc/self", name).write_text(text)
    if not flags:
        call("mount", b"none", b"/", None, PRIVATE, None)
    options = f"size={kibibytes}k".encode()
    call("mount", b"tmpfs", str(folder).encode(), b"tmpfs", flags, options)


def in_child(action):
    """Does something in a forked process, which may mount what nobody else sees.

    Returns its exit code and all that it printed to standard error.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with open(reader, errors="replace") as file:
            printed = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(writer, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def can_mount(folder):
    return in_child(lambda: small_disk(folder, 64) or 0)[0] == 0


def weights(runs):
    (folder,) = runs.rglob("policy")
    return load_file(str(folder / "weights.safetensors"))


def filled_up(runs, kibibytes, expected):
    """Trains on so small a disk, looks at what is left, and trains on with more space.

    Returns 0 where all fitted, 1 where the disk was full.
    """
    small_disk(runs, kibibytes)
    arguments = [*TRAIN, "--runs", str(runs)]
    code = command.main(arguments)
    print(f"\nFIRST {code}", file=sys.stderr)
    folder = runs / "Pendulum-v1" / "ndp-oja" / "seed-0"
    if code:
        assert not [path.name for path in folder.rglob("*") if path.name.endswith(".part")]
        checkpoints = [read(path).steps for path in listed(folder / "checkpoints")]
        rows = [
            int(row["time/total_timesteps"]) for row in read_progress(folder / "progress.csv")[1]
        ]
        assert rows == [32, 64, 96][: len(rows)]
        assert all(steps in rows for steps in checkpoints)  # and the curve up to there with it
        small_disk(runs, 10_000)
        more = ["--resume"] if folder.exists() else []
        assert command.main([*arguments, *more]) == 0
    found = weights(runs)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    return int(code != 0)


def check(tmp_path, sizes):
    runs = tmp_path / "runs"
    runs.mkdir()
    if not can_mount(runs):
        pytest.skip("no disk can be mounted here")
    assert command.main([*TRAIN, "--runs", str(tmp_path / "whole")]) == 0
    expected = weights(tmp_path / "whole")
    outcomes = []
    for size in sizes:
        code, printed = in_child(lambda size=size: filled_up(runs, size, expected))
        assert code in (0, 1) and "Traceback" not in printed, f"{size} KiB: {printed}"
        if code:
            first = printed.split("\nFIRST 1")[0].splitlines()[-1]
            assert "error: No space left on device; once there is, go on" in first, (
                f"{size} KiB: {first}"
            )
        outcomes.append(code)
    return outcomes


def test_nothing_finished_is_lost_on_a_full_disk(tmp_path):
    assert 1 in check(tmp_path, [16, 72, 128])


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment(tmp_path):
    outcomes = check(tmp_path, range(4, 400, 8))
    assert outcomes[0] == 1 and outcomes[-1] == 0
