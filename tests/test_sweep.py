"""configs/sweep.yaml, as wandb reads it and as its agent starts a trial."""

import subprocess
import sys

import pytest
from saved_runs import ROOT
from wandb.sdk.launch.sweeps import utils

from spikepropamine.training.settings import parse

pytestmark = pytest.mark.nightly
SWEEP = ROOT / "configs" / "sweep.yaml"


def command_of(args: dict) -> list[str]:
    """What the agent runs, as `wandb.wandb_agent.Agent._command_run` puts it together."""
    config = utils.load_sweep_config(str(SWEEP))
    found = utils.create_sweep_command_args({"args": args}) | {"env": ["/usr/bin/env"]}
    words: list[str] = []
    for word in utils.create_sweep_command(config["command"]):
        words += found[word[2:-1]] if word.startswith("${") else [word]
    return words


def values_of(parameter: dict) -> list:
    return parameter.get("values", [parameter.get("min"), parameter.get("max")])


def test_every_value_of_the_sweep_is_a_setting():
    config = utils.load_sweep_config(str(SWEEP))
    assert config["metric"] == {"name": "rollout/ep_rew_mean", "goal": "maximize"}
    for name, parameter in config["parameters"].items():
        for value in values_of(parameter):
            given = ["--env", "CueAssociation-v0", "--policy", "lstm", f"--{name}={value}"]
            settings = parse(given)
            _, _, field = name.replace("-", "_").partition("trainer.")
            assert getattr(settings.trainer, field) == value


def test_each_trial_has_a_folder_of_its_own(tmp_path):
    words = command_of({"trainer.learning-rate": {"value": 0.002}})
    script = (
        words[3]
        .replace("--track online", "--track off")
        .replace("exec python", f"exec {sys.executable}")
    )
    tiny = ["--steps", "64", "--n-envs", "8", "--env-kwargs", "trials", "2", "--network.hidden",
            "4", "--trainer.n-steps", "8", "--trainer.sequence-length", "8",
            "--trainer.batch-size", "64"]  # fmt: skip
    environment = {"PYTHONPATH": str(ROOT), "WANDB_RUN_ID": "abc", "HOME": str(tmp_path)}
    subprocess.run(
        [*words[:3], script, *words[4:], *tiny], cwd=tmp_path, env=environment, check=True
    )
    (folder,) = tmp_path.rglob("seed-0")
    assert folder == tmp_path / "runs/sweep/abc/CueAssociation-v0/lstm/seed-0"
