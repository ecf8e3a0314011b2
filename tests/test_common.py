"""Files that are whole or not there, run folders, revisions, and what is one line."""

import ctypes
import importlib.util
import io
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spikepropamine import common, folder, versions
from spikepropamine.common import (
    UsageError,
    progress_bar,
    run_command,
    unknown,
    whole_file,
    whole_folder,
    write_text,
)
from spikepropamine.folder import RunFolder, check_writable
from spikepropamine.training.run import keep_freed_memory


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "first"
    mask = os.umask(0o022)
    try:
        write_text(path, "second")
    finally:
        os.umask(mask)
    assert path.read_text() == "second" and list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it


@pytest.mark.parametrize("write", [write_text, lambda path, _: common.appended(path)])
def test_nothing_is_written_over_what_is_no_regular_file(tmp_path, write):
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in ("link", "nowhere", "folder", "fifo"):
        with pytest.raises(UsageError, match=f"{name} is there, and no regular file"):
            write(tmp_path / name, "text")
    assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    assert (tmp_path / "outside").read_text() == "untouched"


def test_a_folder_is_replaced_as_a_whole_and_no_link_is_followed(tmp_path):
    place = tmp_path / "place"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    place.symlink_to(mine)
    for name in ("first", "second"):
        with whole_folder(place) as new:
            (new / name).touch()
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), whole_folder(place) as new:
            (new / "third").touch()
            raise error
    assert {x.name for x in tmp_path.iterdir()} == {"place", "mine"}
    assert [x.name for x in place.iterdir()] == ["second"] and not place.is_symlink()
    assert [x.name for x in mine.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("wrong:\n  this"), 2, "program: error: wrong: this\n"),
        (
            OSError(28, "No space left on device", "a/b"),
            1,
            "No space left on device: a/b\n",
        ),
        (KeyboardInterrupt(), 130, "go on\n"),
        (ValueError("while building a schema: KeyboardInterrupt: "), 130, "go on\n"),
    ],
)
def test_what_is_no_fault_of_ours_is_one_line(error, code, words, capsys):
    def action():
        raise error

    assert run_command("program", action, "go on") == code
    printed = capsys.readouterr().err
    assert printed.endswith(words) and printed.count("\n") == 1


def test_a_fault_of_ours_is_raised():
    def action():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        run_command("program", action, "go on")


def test_an_unknown_name_has_its_nearest():
    assert unknown("rule", "ojaa", ["hebb", "oja"]) == (
        "unknown rule 'ojaa'; did you mean 'oja'? choose from hebb, oja"
    )
    assert len(unknown("rule", "a" * 500, ["hebb"])) < 120


def test_a_missing_extra_is_named():
    with pytest.raises(UsageError, match="--flag needs no_such_module: pip install"):
        common.require("no_such_module", "more", "--flag")
    common.require("json", "more", "--flag")


def test_runs_are_found_below_a_folder_and_not_inside_one_another(tmp_path):
    run = RunFolder.of(tmp_path / "runs", "Ant-v5", "snn", 3)
    assert run.path == tmp_path / "runs" / "Ant-v5" / "snn" / "seed-3"
    half = RunFolder(run.path.with_name(".seed-3.new"))  # as a power cut leaves it
    for place in (run, RunFolder(run.checkpoints), half):
        place.path.mkdir(parents=True)
        place.config.write_text("settings: {}")
    assert list(RunFolder.below(tmp_path)) == [run]


def test_where_no_folder_can_be_is_said_first(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is none; give another by --runs"):
        check_writable(tmp_path / "file" / "Ant-v5", "--runs")
    check_writable(tmp_path / "new" / "Ant-v5", "--runs")
    assert not (tmp_path / "new").exists()


def test_versions_do_without_git_and_numba(monkeypatch):
    assert versions.versions()["numba"] != "none"
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda x: None if x == "numba" else found(x)
    )
    monkeypatch.setenv("PATH", "")
    there = versions.versions()
    assert (there["numba"], there["revision"]) == ("none", "unknown")


def test_a_git_that_is_killed_is_asked_again(monkeypatch):
    codes = [-9, 0]

    def run(*arguments, **more):
        return subprocess.CompletedProcess(arguments, codes.pop(0), "1234567", "")

    monkeypatch.setattr(versions.subprocess, "run", run)
    assert versions.git("describe").returncode == 0 and not codes


def test_a_revision_is_dirty_if_code_differs_and_not_for_what_runs_leave(
    tmp_path, monkeypatch
):
    for name in (
        "spikepropamine/code.py",
        "trained/policy",
        "benchmarks/results/table.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as committed")
    monkeypatch.setattr(versions, "HERE", tmp_path / "spikepropamine")
    who = (
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        assert versions.git(*words).returncode == 0
    clean = versions.versions()["revision"]
    assert clean == versions.git("rev-parse", "--short", "HEAD").stdout.strip()
    (tmp_path / "trained/policy").write_text("trained again")
    (tmp_path / "benchmarks/results/table.csv").write_text("measured again")
    assert versions.versions()["revision"] == clean
    (tmp_path / "spikepropamine/code.py").write_text("edited")
    assert versions.versions()["revision"] == f"{clean}-dirty"


WAITING = (
    "import sys, time; from spikepropamine.common import run_command; "
    "print('here', flush=True);"
)


def command(action, **more):
    """A process that runs an action as a command does."""
    code = f"{WAITING} sys.exit(run_command('program', lambda: {action}, 'go on'))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code], **(pipes | more))


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "parent"])
def test_a_command_ends_by_every_signal_and_with_what_has_started_it(end):
    more = {common.ENDS_WITH_PARENT: "1"} if end == "parent" else {}
    with command("time.sleep(60)", env=os.environ | more) as process:
        assert process.stdout.readline() == b"here\n"
        time.sleep(0.5)
        if end == "parent":
            process.stdin.close()  # as the system does it, however the parent has ended
        else:
            process.send_signal(getattr(signal, end))
        assert process.wait(30) == 130
        assert process.stderr.read() == b"go on\n"


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_waits_until_a_module_is_imported(tmp_path, end):
    (tmp_path / "slow.py").write_text(
        "import time; print('slow', flush=True); time.sleep(1); print('whole')"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    with command("__import__('slow') and time.sleep(60)", env=env) as process:
        assert process.stdout.readline() == b"here\n"
        assert process.stdout.readline() == b"slow\n"
        process.send_signal(getattr(signal, end))
        assert process.wait(30) == 130
        assert process.stdout.read() == b"whole\n"
        assert process.stderr.read() == b"go on\n"


def test_a_command_does_without_output_and_without_letters():
    closed = command("print(sys.stdout.isatty(), sys.stdin.read()) or 0",
                     preexec_fn=lambda: [
        os.close(number) for number in (0, 1)
    ])  # fmt: skip
    assert closed.communicate(timeout=30)[1] == b"" and closed.returncode == 0
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with command("print(chr(233)) or 0", env=os.environ | plain) as process:
        assert process.communicate(timeout=30)[0] == b"here\n\\xe9\n"
        assert process.returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error():
    with command(
        "time.sleep(0.5) or [print('x' * 9999) for _ in range(99)] and 0"
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 1 and process.stderr.read() == b""


# progress bars


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(2, "cells") as bar:
        bar.update()
        bar.write("first: done", file=sys.stderr)
        bar.update()
    return stream.getvalue()


def test_a_terminal_sees_one_line_that_changes(monkeypatch):
    text = shown(monkeypatch, Terminal())
    assert "\r" in text
    assert text.endswith("\n")


def test_a_file_gets_whole_lines(monkeypatch):
    text = shown(monkeypatch, io.StringIO())
    assert "\r" not in text
    first, said, last = text.splitlines()
    assert first.startswith("0%")
    assert said == "first: done"
    assert "2/2" in last


# freed memory is kept where the C library can


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_a_large_tensor_is_not_paged_in_twice():
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(4_000_000)  # 16 MB, of which each page would be a fault
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    faults()
    assert faults() < 100


def test_results_go_to_the_run_and_of_what_was_installed_to_the_runs_here(
    tmp_path, monkeypatch
):
    run = tmp_path / "trained" / "robots" / "Swimmer-v5" / "snn" / "seed-0"
    monkeypatch.setattr(folder, "TRAINED", tmp_path / "trained")
    assert folder.results_folder(run).path == run  # a checkout
    monkeypatch.setattr(folder, "IS_CHECKOUT", False)
    here = Path("runs/robots/Swimmer-v5/snn/seed-0")
    assert folder.results_folder(run).path == here
    own = tmp_path / "mine" / "seed-0"
    assert folder.results_folder(own).path == own
