"""What is printed while a policy trains: tables, a bar, or nothing."""

import re
import subprocess

import pytest
from train_runs import ROOT

import spikepropamine as sp
from spikepropamine.common import UsageError

SMALL = {
    "steps": 320,
    "n_envs": 4,
    "network": {"hidden": [8]},
    "trainer": {"n_steps": 40, "batch_size": 160},
    "eval_every": 160,
}


def printed(tmp_path, capfd, **more):
    """What a small run prints, its folder taken out, and its logged rows."""
    run = sp.train("CueAssociation-v0", "mlp", runs=tmp_path, **SMALL, **more)
    out, err = capfd.readouterr()
    log = run.progress.drop("system/steps_per_second", "time/fps", "time/time_elapsed")
    return out, err, log


def test_a_bar_takes_the_place_of_tables_and_nothing_is_learned_otherwise(
    tmp_path, capfd
):
    with_tables, _, log = printed(tmp_path / "tables", capfd)
    out, err, same_log = printed(tmp_path / "bar", capfd, progress=True)
    assert "total_timesteps" in with_tables
    assert "total_timesteps" not in out
    assert "steps/s" in err and "evaluation at step" in err
    assert "the policy is in" in out
    assert log.equals(same_log)


def test_a_quiet_run_prints_nothing(tmp_path, capfd):
    out, err, log = printed(tmp_path, capfd, progress=False)
    assert (out, err) == ("", "")
    assert log["time/total_timesteps"][-1] == 320


def test_progress_and_console_are_one_thing(tmp_path):
    with pytest.raises(UsageError, match="leave out one"):
        sp.train("CueAssociation-v0", "mlp", progress=True, console="bar")


def test_make_says_what_it_does_while_it_installs_and_trains():
    """Every command of `make demo` follows a line that says what is done."""
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    install = plan.index("echo 'Installing")
    assert install < plan.index("pip install")
    for command in re.findall(r"^\.venv/bin/python \w+\.py.*$", plan, re.MULTILINE):
        before = plan[: plan.index(command)].rstrip().splitlines()[-1]
        assert before.startswith("echo '"), command
