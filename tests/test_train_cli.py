"""train.py: the run folder, going on after an interruption, and what bad input is
answered.
"""

import csv
import shutil
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import yaml
from conftest import Endless, make_venv
from stable_baselines3.common.callbacks import BaseCallback
from train_runs import CUE, SHORT, TINY, command, folder_of, run_process, with_folder

from spikepropamine.agents.zoo import (
    TrainerSettings,
    actor_parameters,
    agents,
    build,
    match_hidden,
)
from spikepropamine.envs.making import ENDLESS
from spikepropamine.folder import find
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy
from spikepropamine.training import run as train
from spikepropamine.training.callbacks import CueAccuracy, rows_every
from spikepropamine.training.checkpoints import listed
from spikepropamine.training.command_line import parse
from spikepropamine.training.environments import make_envs
from spikepropamine.training.evaluations import evaluation_envs
from spikepropamine.training.run import train as run


def rows_of(folder):
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def steps_of(folder):
    return [int(row["time/total_timesteps"]) for row in rows_of(folder)]


def trained_steps(folder):
    return load_policy(folder / "policy").metadata["steps"]


# the run folder


def test_a_run_leaves_its_folder_and_goes_on_with_resume(tmp_path, run_here, capsys):
    arguments = [*CUE, "--policy", "ndp-oja", *SHORT, "--log-every", "1"]
    first = run_process(tmp_path, *arguments)
    assert first.returncode == 0, first.stderr
    folder = folder_of(tmp_path)
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml", "progress.csv", "checkpoints", "policy", ".lock",
    }  # fmt: skip
    assert {file.name for file in (folder / "policy").iterdir()} == {
        "policy.json", "weights.safetensors",
    }  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [tmp_path / "runs"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (
        config["settings"]["steps"] == 320
        and config["settings"]["network"]["ticks"] == 3
    )
    assert {"torch", "stable-baselines3", "gymnasium", "revision"} <= config[
        "versions"
    ].keys()
    assert steps_of(folder) == [160, 320]
    assert trained_steps(folder) == 320
    trained = load_policy(folder / "policy").policy.network_config
    assert NetworkConfig.of(config["settings"]["network"]) == trained
    action, _ = load_policy(folder / "policy").predict(np.zeros(24, dtype=np.float32))
    assert action in (0, 1)

    old = rows_of(folder)
    assert run_here(*arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert run_here(*arguments, "--resume", "--steps", "480") == 0
    assert steps_of(folder) == [160, 320, 480]
    for before, after in zip(old, rows_of(folder)):
        assert {k: after[k] for k in before} == before
    assert trained_steps(folder) == 480

    assert run_here(*arguments, "--overwrite") == 0
    assert steps_of(folder) == [160, 320]


def test_what_would_change_the_numbers_is_said_when_a_run_goes_on(
    tmp_path, run_here, capsys
):
    suite = tmp_path / "own.yaml"
    text = "train: {{noisy: obs_noise={}}}\nheld-out: {{noisier: obs_noise=0.3}}\n"
    suite.write_text(text.format(0.1))
    arguments = [*CUE, "--policy", "snn", *TINY, "--perturb", str(suite)]
    arguments += ["--trainer.learning-rate-schedule", "linear"]
    assert run_here(*arguments) == 0
    (row,) = rows_of(folder_of(tmp_path, policy="snn"))  # shorter than a row
    assert row["time/total_timesteps"] == "32" and "spikes/silent/layer0" in row
    suite.write_text(text.format(0.2))
    assert run_here(*arguments, "--resume", "--steps", "64") == 0
    said = capsys.readouterr().err
    assert "the content of" in said
    assert "fell to zero over 32 steps, and does over 64 now" in said
    assert "the training had ended at step 32, and new episodes begin there" in said
    at_checkpoints = [
        *arguments,
        "--checkpoint-every",
        "32",
    ]  # where they begin in one run too
    assert run_here(*at_checkpoints, "--overwrite") == 0
    assert run_here(*at_checkpoints, "--resume", "--steps", "64") == 0
    assert "new episodes" not in capsys.readouterr().err


def test_a_config_does_not_say_where_is_written(
    tmp_path, run_here, capsys, monkeypatch
):
    arguments = [*CUE, "--policy", "snn", *TINY]
    assert run_here(*arguments) == 0
    original, copied = (
        folder_of(path, policy="snn") for path in (tmp_path, tmp_path / "copy")
    )
    shutil.copytree(original, copied)
    before = {file: file.read_bytes() for file in original.rglob("*") if file.is_file()}
    config = copied / "config.yaml"
    stored = yaml.safe_load(config.read_text())
    stored["settings"] |= {"overwrite": True, "track": "online", "registry": None}
    config.write_text(yaml.safe_dump(stored))
    monkeypatch.chdir(tmp_path / "copy")
    resume = [*arguments, "--resume", "--steps", "64"]
    settings = parse(resume, "train.py")
    assert settings.folder.path.resolve() == copied
    assert not settings.overwrite
    assert train.main([*resume, "--track", "off"]) == 0
    assert trained_steps(copied) == 64
    assert before == {
        file: file.read_bytes() for file in original.rglob("*") if file.is_file()
    }
    stored["settings"]["seed"] = 7
    config.write_text(yaml.safe_dump(stored))
    assert train.main(resume) == 2
    assert "--seed was 7 when the run was made" in capsys.readouterr().err


def test_an_interruption_says_what_is_kept(tmp_path, run_here, capsys, monkeypatch):
    def stop(settings, whole=train.train):
        if settings.overwrite:
            whole(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stop)
    arguments = [*CUE, "--policy", "snn", *TINY, "--steps", "64"]
    assert run_here(*arguments) == 130
    assert "nothing of this training is kept" in capsys.readouterr().err
    assert run_here(*arguments, "--overwrite") == 130
    said = capsys.readouterr().err
    assert "go on from step 64" in said and "--resume in place of --overwrite" in said


def test_a_training_that_a_callback_ends_goes_on(tmp_path, run_here):
    class End(BaseCallback):
        def _on_step(self):
            return self.n_calls < 12

    arguments = [*CUE, "--policy", "snn", *TINY, "--steps", "320"]
    run(parse(with_folder(tmp_path, *arguments), "train.py"), callbacks=[End()])
    folder = folder_of(tmp_path, policy="snn")
    assert trained_steps(folder) == 24
    assert run_here(*arguments, "--resume") == 0 and trained_steps(folder) == 344


def test_a_run_with_arguments_of_its_environment_goes_on(tmp_path, run_here, capsys):
    arguments = [*CUE, "--policy", "snn", *TINY, "--env-kwargs", "noise", "0.1"]
    assert run_here(*arguments) == 0
    assert run_here(*arguments, "--resume", "--steps", "64") == 0
    assert run_here(*CUE, "--policy", "snn", *TINY, "--resume", "--steps", "96") == 0
    folder = folder_of(tmp_path, policy="snn")
    assert trained_steps(folder) == 96
    assert load_policy(folder / "policy").metadata["settings"]["env_kwargs"] == {
        "noise": 0.1
    }
    capsys.readouterr()
    other = [*arguments[:-1], "0.2", "--resume", "--steps", "128"]
    assert run_here(*other) == 2
    assert "--env-kwargs noise was 0.1 when the run was made, and is 0.2 now" in (
        capsys.readouterr().err
    )
    assert run_here(*arguments, "--resume", "--trainer.n-epochs", "9") == 2
    assert "--trainer.n-epochs was" in capsys.readouterr().err


def test_equal_seeds_give_equal_policies(tmp_path, run_here):
    weights = []
    for seed in ("3", "3", "4"):
        assert (
            run_here(*CUE, "--policy", "ndp-oja", *TINY, "--seed", seed, "--overwrite")
            == 0
        )
        policy = load_policy(folder_of(tmp_path, seed=seed) / "policy").policy
        weights.append(
            np.concatenate([x.flatten() for x in policy.state_dict().values()])
        )
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


# interruption


def wait_for(condition, process, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not get going"
        time.sleep(0.05)


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(tmp_path, run_here):
    arguments = [
        *CUE,
        "--policy",
        "mlp",
        *TINY,
        "--log-every",
        "1",
        "--checkpoint-every",
        "64",
    ]
    folder = folder_of(tmp_path, policy="mlp")
    with subprocess.Popen(
        command(tmp_path, *arguments, "--steps", "1000000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        progress = folder / "progress.csv"
        wait_for(
            lambda: progress.exists() and len(progress.read_text().splitlines()) > 3,
            process,
        )
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "--resume" in error and "Traceback" not in error
    assert listed(folder / "checkpoints")
    done = trained_steps(folder)
    assert run_here(*arguments, "--resume", "--steps", str(done + 64)) == 0
    assert trained_steps(folder) == done + 64
    assert steps_of(folder) == list(range(32, done + 65, 32))


def test_what_a_run_would_replace_is_not_its_own(
    tmp_path, run_here, monkeypatch, capsys
):
    arguments = [*CUE, "--policy", "mlp", *TINY]
    checkpoints = folder_of(tmp_path, policy="mlp") / "checkpoints"
    assert run_here(*arguments) == 0 and listed(checkpoints)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "build", interrupted)
    assert run_here(*arguments, "--overwrite") == 130
    assert "before there was a checkpoint" in capsys.readouterr().err


# every agent


TASKS = {"cue": "CueAssociation-v0", "pendulum": "Pendulum-v1", "lake": "FrozenLake-v1"}
OFTEN = {
    ("lstm-stock", "cue", "ppo"), ("lstm", "cue", "supervised"),
    ("mlp", "pendulum", "ppo"),
    ("ndp-oja", "pendulum", "ppo"), ("dp-oja", "lake", "ppo"),
}  # fmt: skip
SELDOM = {(policy, "cue", "ppo") for policy in agents()} | {
    (policy, task, kind)
    for policy in ("mlp", "lstm", "gru", "snn", "ndp-bcm")
    for task, kind in (("pendulum", "ppo"), ("lake", "ppo"), ("cue", "supervised"))
}


@pytest.mark.parametrize(
    ("policy", "task", "kind"),
    [
        *sorted(OFTEN),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in sorted(SELDOM - OFTEN)),
    ],
)
def test_every_agent_trains_and_its_policy_acts(tmp_path, run_here, policy, task, kind):
    arguments = [
        "--env",
        TASKS[task],
        "--policy",
        policy,
        *TINY,
        "--trainer.kind",
        kind,
    ]
    assert run_here(*arguments) == 0
    deployed = load_policy(folder_of(tmp_path, TASKS[task], policy) / "policy")
    env = gym.make(TASKS[task])
    observation, _ = env.reset(seed=0)
    action, _ = deployed.predict(np.asarray(observation)[None], deterministic=True)
    assert env.action_space.contains(action[0])


def test_late_trials_are_those_of_the_task_however_short_a_rollout_is():
    seen, logger = (
        {},
        SimpleNamespace(record=lambda name, value, **_: seen.update({name: value})),
    )
    venv = SimpleNamespace(
        has_attr=lambda name: name == "trials", get_attr=lambda _: [10, 10]
    )
    callback = CueAccuracy()
    callback.model = SimpleNamespace(get_env=lambda: venv, logger=logger)
    callback._on_training_start()
    for trial, correct in ((0, True), (4, False), (5, True)):
        callback.locals = {"infos": [{"trial": trial, "correct": correct}, {}]}
        callback._on_step()
        if trial == 4:
            callback._on_rollout_end()
            assert "rollout/late_accuracy" not in seen
    callback._on_rollout_end()
    assert seen["rollout/late_accuracy"] == 1.0
    callback.locals = {"infos": [{"trial": 6, "correct": False}]}
    callback._on_step()
    callback._on_rollout_end()
    assert seen["rollout/late_accuracy"] == 0.0  # of this rollout alone


@pytest.mark.parametrize(("observations", "rewards"), [(True, False), (False, True)])
def test_environments_are_seeded_and_normalised_as_the_settings_say(
    observations, rewards
):
    arguments = [
        "--env",
        "Pendulum-v1",
        "--policy",
        "mlp",
        "--n-envs",
        "2",
        "--seed",
        "5",
    ]
    arguments += [f"--{'' if observations else 'no-'}normalize-observations"]
    arguments += [f"--{'' if rewards else 'no-'}normalize-rewards"]
    venv = make_envs(parse([*arguments, "--trainer.gamma", "0.85"]))
    assert (venv.norm_obs, venv.norm_reward, venv.gamma) == (
        observations,
        rewards,
        0.85,
    )
    expected = [
        gym.make("Pendulum-v1").reset(seed=seed)[0] for seed in venv.unwrapped._seeds
    ]
    venv.reset()
    np.testing.assert_array_equal(venv.get_original_obs(), expected)
    venv.close()


# equal size


@pytest.mark.parametrize("agent", ["mlp", "lstm", "dp-bcm"])
def test_matched_actors_are_of_equal_size(agent):
    venv = make_venv()
    trainer = TrainerSettings(n_steps=32, batch_size=32)
    network = NetworkConfig(hidden=(64, 64))
    target = actor_parameters(build("ndp-oja", venv, network, trainer).policy)
    matched = match_hidden(agent, target, venv, network, trainer)
    count = actor_parameters(build(agent, venv, matched, trainer).policy)
    assert abs(count - target) < 0.05 * target
    assert matched.hidden != network.hidden


def test_the_size_to_match_is_that_of_the_policy_with_a_cue():
    task = [
        "--env",
        "HalfCheetah-v5",
        "--perturb",
        "motor_signs=seen",
        "--cue",
        "--n-envs",
        "1",
    ]
    other = parse([*task, "--policy", "snn"])
    settings = parse([*task, "--policy", "mlp", "--match-parameters", "snn"])
    venv = make_envs(
        replace(settings, cue=None)
    )  # which a deployed policy does not see
    found, target = (
        actor_parameters(build(name, venv, network, settings.trainer).policy)
        for name, network in (("mlp", train._matched(settings)), ("snn", other.network))
    )
    assert found == pytest.approx(target, rel=0.01)


def test_what_is_not_learned_cannot_be_matched():
    trainer = TrainerSettings(
        n_steps=32, batch_size=32, untrained=("weights", "readout")
    )
    with pytest.raises(ValueError, match="however wide it is, so it cannot have 9999"):
        match_hidden("mlp", 9999, make_venv(), NetworkConfig(hidden=(64, 64)), trainer)


# evaluation while training


@pytest.mark.parametrize(
    ("env", "more", "name"),
    [
        ("HalfCheetahCue-v0", [], "told"),
        ("CueAssociation-v0", ["noise", "0.4"], "noise"),
    ],
)
def test_evaluations_while_training_are_without_noise_and_help(env, more, name):
    arguments = ["--env-kwargs", *more] if more else []
    settings = parse(["--env", env, "--policy", "snn", "--n-envs", "1", *arguments])
    for make, helped in ((make_envs, True), (evaluation_envs, False)):
        with closing(make(settings)) as venv:
            assert (max(venv.get_attr(name)) > 0) == helped


def test_evaluations_keep_the_best_policy_and_change_no_number(tmp_path, run_here):
    arguments = [
        "--env",
        "Pendulum-v1",
        "--policy",
        "ndp-oja",
        *TINY,
        "--log-every",
        "1",
    ]
    arguments += ["--steps", "160", "--checkpoint-every", "64"]
    folder = folder_of(tmp_path, "Pendulum-v1")
    assert run_here(*arguments) == 0
    weights = (folder / "policy" / "weights.safetensors").read_bytes()
    assert run_here(*arguments, "--eval-every", "64", "--overwrite") == 0
    assert (folder / "policy" / "weights.safetensors").read_bytes() == weights
    evaluated = {
        int(row["time/total_timesteps"]): float(row["eval/mean_reward"])
        for row in rows_of(folder)
        if row["eval/mean_reward"]
    }
    assert not any(
        row["train/loss"] for row in rows_of(folder) if row["eval/mean_reward"]
    )
    assert sum(bool(row["train/loss"]) for row in rows_of(folder)) == 4
    assert list(evaluated) == [64, 128, 160]
    best = load_policy(folder / "best/policy")
    assert best.metadata["evaluation"]["mean_reward"] > max(evaluated.values()) - 1e-3
    assert find(folder / "best") == folder / "best"
    before = (folder / "best/policy" / "weights.safetensors").read_bytes()
    stopped = tmp_path / "stopped"
    for steps, more in (("128", []), ("160", ["--resume"])):
        settings = [*arguments, "--eval-every", "64", *more, "--steps", steps]
        assert train.main([*settings, "--runs", str(stopped)]) == 0
    resumed = stopped / "Pendulum-v1" / "ndp-oja" / "seed-0" / "best/policy"
    assert (resumed / "weights.safetensors").read_bytes() == before


def test_a_task_without_a_time_limit_is_evaluated_in_episodes_that_are_cut(
    tmp_path, run_here, capsys
):
    gym.register("Endless-v0", entry_point=Endless)
    arguments = ["--env", "Endless-v0", "--policy", "mlp", *TINY]
    assert run_here(*arguments, "--eval-every", "32") == 0
    best = load_policy(folder_of(tmp_path, "Endless-v0", "mlp") / "best/policy")
    assert best.metadata["evaluation"] == {
        "mean_reward": ENDLESS,
        "mean_ep_length": ENDLESS,
    }
    assert run_here(*arguments, "--trainer.kind", "evolution", "--overwrite") == 2
    assert "has no time limit; give it one by" in capsys.readouterr().err
    del gym.registry["Endless-v0"]


def test_short_runs_have_twenty_rows():
    assert [rows_every(None, steps, 1000) for steps in (5000, 40_000, 10**6)] == [
        1,
        2,
        10,
    ]
    assert rows_every(7, 5000, 1000) == 7
