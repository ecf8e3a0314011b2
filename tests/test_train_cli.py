"""train.py: the run folder, going on after an interruption, and what bad input is answered."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import yaml
from conftest import make_venv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd as RMS

from spikepropamine.agents.zoo import TrainerSettings, actor_parameters, agents, build, match_hidden
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy
from spikepropamine.training import command as train
from spikepropamine.training.callbacks import CueAccuracy
from spikepropamine.training.checkpoints import listed, read
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import train as run
from spikepropamine.training.settings import parse

ROOT = Path(__file__).parent.parent
CUE = ["--env", "CueAssociation-v0"]
SHORT = [
    "--n-envs", "4", "--steps", "320", "--trainer.n-steps", "40", "--trainer.batch-size", "160",
]  # fmt: skip
TINY = [
    "--n-envs", "2", "--steps", "32", "--trainer.n-steps", "16", "--trainer.batch-size", "16",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8",
]  # fmt: skip


def with_folder(tmp_path, *arguments):
    return [*arguments, "--runs", str(tmp_path / "runs")]


def command(tmp_path, *arguments):
    return [sys.executable, str(ROOT / "train.py"), *with_folder(tmp_path, *arguments)]


def run_process(tmp_path, *arguments):
    """train.py in a process of its own, started elsewhere than in the repository."""
    return subprocess.run(
        command(tmp_path, *arguments), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def run_here(tmp_path):
    """train.py in this process, which saves the time of starting one; returns the exit code."""

    def run(*arguments):
        return train.main(with_folder(tmp_path, *arguments), "train.py")

    return run


def folder_of(tmp_path, env="CueAssociation-v0", policy="ndp-oja", seed=0):
    return tmp_path / "runs" / env / policy / f"seed-{seed}"


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
        "config.yaml", "progress.csv", "checkpoints", "policy",
    }  # fmt: skip
    assert {file.name for file in (folder / "policy").iterdir()} == {
        "policy.json", "weights.safetensors",
    }  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [tmp_path / "runs"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["settings"]["steps"] == 320 and config["settings"]["network"]["ticks"] == 3
    assert {"torch", "stable-baselines3", "gymnasium", "revision"} <= config["versions"].keys()
    assert steps_of(folder) == [160, 320]
    assert trained_steps(folder) == 320
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


def test_a_run_shorter_than_a_row_still_has_a_row(tmp_path, run_here):
    assert run_here(*CUE, "--policy", "snn", *TINY) == 0
    assert steps_of(folder_of(tmp_path, policy="snn"))[-1] == 32


@pytest.mark.parametrize("policy", ["snn", "dp-bcm", "ndp-oja"])
def test_the_settings_on_file_are_those_of_the_network_that_was_trained(tmp_path, run_here, policy):
    assert run_here(*CUE, "--policy", policy, *TINY) == 0
    folder = folder_of(tmp_path, policy=policy)
    written = yaml.safe_load((folder / "config.yaml").read_text())["settings"]["network"]
    trained = load_policy(folder / "policy").policy.network_config
    assert NetworkConfig.of(written) == trained


def test_settings_that_a_resumed_run_is_given_are_not_ignored(tmp_path, run_here):
    arguments = [*CUE, "--policy", "snn", *TINY]
    assert run_here(*arguments) == 0
    before = load_policy(folder_of(tmp_path, policy="snn") / "policy").policy.state_dict()
    still = ["--trainer.learning-rate", "1e-30", "--resume", "--steps", "64"]
    assert run_here(*arguments, *still) in (0, 2)  # used or refused, but not ignored
    after = load_policy(folder_of(tmp_path, policy="snn") / "policy").policy.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_was_allowed_once_is_not_allowed_for_ever(tmp_path, run_here, capsys):
    arguments = [*CUE, "--policy", "snn", *TINY]
    assert run_here(*arguments) == 0
    assert run_here(*arguments, "--n-envs", "3", "--resume", "--inexact", "--steps", "64") == 0
    config = folder_of(tmp_path, policy="snn") / "config.yaml"
    stored = yaml.safe_load(config.read_text())
    stored["settings"] |= {"trust": True, "inexact": True, "overwrite": True}
    config.write_text(yaml.safe_dump(stored))
    settings = train.parse(
        with_folder(tmp_path, *arguments, "--n-envs", "3", "--resume"), "train.py"
    )
    assert not (settings.trust or settings.inexact or settings.overwrite)
    capsys.readouterr()
    assert run_here(*arguments, "--n-envs", "2", "--resume", "--steps", "128") == 2
    assert "--inexact" in capsys.readouterr().err


def test_an_interruption_says_what_is_kept(tmp_path, run_here, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stop)
    assert run_here(*CUE, "--policy", "snn", *TINY) == 130
    assert "nothing of this training is kept" in capsys.readouterr().err


def test_a_training_that_a_callback_ends_goes_on_with_whole_episodes(tmp_path, run_here):
    class End(BaseCallback):
        def _on_step(self):
            return self.n_calls < 12

    arguments = [*CUE, "--policy", "snn", *TINY, "--steps", "320"]
    end = End()
    run(train.parse(with_folder(tmp_path, *arguments), "train.py"), callbacks=[end])
    folder = folder_of(tmp_path, policy="snn")
    assert trained_steps(folder) == 24
    shown = end.model.env.get_attr("seen")
    np.testing.assert_array_equal(end.model._last_obs, shown)
    assert end.model._last_episode_starts.all()
    assert run_here(*arguments, "--resume") == 0 and trained_steps(folder) == 344


def test_a_policy_is_started_with_its_critic(tmp_path, run_here):
    assert run_here(*CUE, "--policy", "mlp", *TINY, "--trainer.critic", "5") == 0
    start = str(folder_of(tmp_path, policy="mlp"))
    assert run_here(*CUE, "--policy", "mlp", *TINY, "--seed", "1", "--from", start) == 0


def test_a_run_with_arguments_of_its_environment_goes_on(tmp_path, run_here, capsys):
    arguments = [*CUE, "--policy", "snn", *TINY, "--env-kwargs", "noise", "0.1"]
    assert run_here(*arguments) == 0
    assert run_here(*arguments, "--resume", "--steps", "64") == 0
    assert run_here(*CUE, "--policy", "snn", *TINY, "--resume", "--steps", "96") == 0
    folder = folder_of(tmp_path, policy="snn")
    assert trained_steps(folder) == 96
    assert load_policy(folder / "policy").metadata["settings"]["env_kwargs"] == {"noise": 0.1}
    capsys.readouterr()
    other = [*arguments[:-1], "0.2", "--resume", "--steps", "128"]
    assert run_here(*other) == 2
    assert "env_kwargs cannot change" in capsys.readouterr().err


def test_resuming_keeps_the_normalisation(tmp_path, run_here):
    arguments = ["--env", "Pendulum-v1", "--policy", "ndp-oja", *TINY]
    folder = folder_of(tmp_path, "Pendulum-v1") / "checkpoints"
    counts = []
    for more in ([], ["--resume", "--steps", "64"]):
        assert run_here(*arguments, *more) == 0
        pattern = [{"obs_rms": RMS(), "ret_rms": RMS()}]
        parts = read(listed(folder)[0]).snapshot.give_back({"normalisation": pattern})
        counts.append(parts["normalisation"][0]["obs_rms"].count)  # observations seen so far
    assert counts[1] > counts[0] + 30 > 60


def test_equal_seeds_give_equal_policies(tmp_path, run_here):
    weights = []
    for seed in ("3", "3", "4"):
        assert run_here(*CUE, "--policy", "ndp-oja", *TINY, "--seed", seed, "--overwrite") == 0
        policy = load_policy(folder_of(tmp_path, seed=seed) / "policy").policy
        weights.append(np.concatenate([x.flatten() for x in policy.state_dict().values()]))
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


# interruption


def wait_for(condition, process, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not get going"
        time.sleep(0.05)


def test_an_interrupted_run_leaves_a_checkpoint_and_goes_on(tmp_path, run_here):
    arguments = [*CUE, "--policy", "ndp-oja", *TINY, "--log-every", "1"]
    folder = folder_of(tmp_path)
    with subprocess.Popen(
        command(tmp_path, *arguments, "--steps", "1000000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background makes their children deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        progress = folder / "progress.csv"
        wait_for(lambda: progress.exists() and len(progress.read_text().splitlines()) > 3, process)
        os.kill(process.pid, signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "--resume" in error and "Traceback" not in error
    assert listed(folder / "checkpoints")
    done = trained_steps(folder)
    assert run_here(*arguments, "--resume", "--steps", str(done + 64)) == 0
    assert trained_steps(folder) == done + 64
    assert steps_of(folder) == list(range(32, done + 65, 32))


# every agent


# a rule of every form: each kind of plastic layer is compiled for itself
TRAINED = ["mlp", "lstm", "lstm-stock", "snn", "dp-oja", "ndp-bcm", "ndp-abcd"]


@pytest.mark.parametrize(
    "policy",
    [
        *TRAINED,
        *(pytest.param(x, marks=pytest.mark.slow) for x in sorted(set(agents()) - {*TRAINED})),
    ],
)
def test_every_agent_trains_on_cue_association(tmp_path, run_here, policy):
    assert run_here(*CUE, "--policy", policy, *TINY) == 0
    deployed = load_policy(folder_of(tmp_path, policy=policy) / "policy")
    assert deployed.predict(np.zeros(24, dtype=np.float32))[0] in (0, 1)


@pytest.mark.parametrize("policy", ["mlp", "lstm", "snn", "ndp-bcm"])
def test_agents_train_on_continuous_actions(tmp_path, run_here, policy):
    assert run_here("--env", "Pendulum-v1", "--policy", policy, *TINY) == 0
    deployed = load_policy(folder_of(tmp_path, "Pendulum-v1", policy) / "policy")
    assert deployed.predict(np.zeros(3, dtype=np.float32))[0].shape == (1,)


@pytest.mark.parametrize("env", ["FrozenLake-v1", "CliffWalking-v1"])
def test_agents_train_on_discrete_observations(tmp_path, run_here, env):
    assert run_here("--env", env, "--policy", "ndp-oja", *TINY) == 0


def test_late_trials_are_those_of_the_task_however_short_a_rollout_is():
    seen, logger = {}, SimpleNamespace(record=lambda name, value, **_: seen.update({name: value}))
    venv = SimpleNamespace(has_attr=lambda name: name == "trials", get_attr=lambda _: [10, 10])
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


@pytest.mark.parametrize(("observations", "rewards"), [(True, False), (False, True), (True, True)])
def test_environments_are_seeded_and_normalised_as_the_settings_say(observations, rewards):
    arguments = ["--env", "Pendulum-v1", "--policy", "mlp", "--n-envs", "2", "--seed", "5"]
    names = {"--normalize-observations": observations, "--normalize-rewards": rewards}
    arguments += [
        name if wanted else name.replace("--", "--no-", 1) for name, wanted in names.items()
    ]
    venv = make_envs(parse([*arguments, "--trainer.gamma", "0.85"]))
    assert (venv.norm_obs, venv.norm_reward, venv.gamma) == (observations, rewards, 0.85)
    venv.reset()
    expected = [gym.make("Pendulum-v1").reset(seed=seed)[0] for seed in (5, 6)]
    np.testing.assert_array_equal(venv.get_original_obs(), expected)
    venv.close()


@pytest.mark.parametrize("policy", ["mlp", "lstm", "snn", "ndp-oja"])
def test_agents_train_with_supervision(tmp_path, run_here, policy):
    assert run_here(*CUE, "--policy", policy, *TINY, "--trainer.kind", "supervised") == 0


# equal size


@pytest.mark.parametrize("policy", ["lstm", "ndp-oja"])
@pytest.mark.parametrize("kind", ["ppo", "supervised"])
def test_lengths_need_not_divide_one_another(tmp_path, run_here, policy, kind):
    lengths = ["--trainer.n-steps", "50", "--trainer.batch-size", "33", "--trainer.kind", kind]
    training = [*CUE, "--policy", policy, *TINY, *lengths, "--steps", "150", "--log-every", "1"]
    assert run_here(*training, "--checkpoint-every", "100") == 0
    folder = folder_of(tmp_path, policy=policy)
    assert steps_of(folder) == [100, 200]
    assert run_here(*training, "--steps", "300", "--resume") == 0
    assert steps_of(folder) == [100, 200, 300]


@pytest.mark.parametrize("agent", ["mlp", "lstm", "snn", "dp-bcm"])
def test_matched_actors_are_of_equal_size(agent):
    venv, trainer = make_venv(), TrainerSettings(n_steps=32, batch_size=32)
    network = NetworkConfig(hidden=(64, 64))
    target = actor_parameters(build("ndp-oja", venv, network, trainer).policy)
    matched = match_hidden(agent, target, venv, network, trainer)
    count = actor_parameters(build(agent, venv, matched, trainer).policy)
    assert abs(count - target) < 0.05 * target
    assert matched.hidden != network.hidden


def test_the_command_line_matches_sizes(tmp_path, run_here):
    other = [*CUE, "--policy", "ndp-oja", *SHORT]
    assert run_here(*other) == 0
    assert run_here(*CUE, "--policy", "snn", *SHORT, "--match-parameters", "ndp-oja") == 0
    plastic, static = (
        actor_parameters(load_policy(folder_of(tmp_path, policy=p) / "policy").policy)
        for p in ("ndp-oja", "snn")
    )
    assert abs(static - plastic) < 0.05 * plastic


# bad input

SNN = [*CUE, "--policy", "snn"]
ROBOT = ["--env", "HalfCheetah-v5", "--policy", "snn"]
BAD = {
    "a missing environment": (["--policy", "snn"], ["--env"]),
    "a missing policy": (CUE, ["--policy"]),
    "an unknown environment": (
        ["--env", "CueAsociation-v0", "--policy", "snn"],
        ["'CueAsociation-v0'", "did you mean", "CueAssociation-v0"],
    ),
    "an unknown policy": (
        [*CUE, "--policy", "ndp-ojaa"],
        ["'ndp-ojaa'", "did you mean 'ndp-oja'", "mlp, lstm"],
    ),
    "an unknown flag": ([*SNN, "--trainer.learning-rat", "3"], ["--trainer.learning-rate"]),
    "a value of another type": (
        [*SNN, "--trainer.learning-rate", "abc"],
        ["--trainer.learning-rate", "abc"],
    ),
    "a name in a setting": ([*SNN, "--network.surrogate", "arctn"], ["did you mean 'arctan'"]),
    "a value out of range": ([*SNN, "--network.ticks", "0"], ["ticks", "at least 1"]),
    "no steps": ([*SNN, "--steps", "0"], ["steps", "at least 1"]),
    "a negative seed": ([*SNN, "--seed", "-1"], ["seed"]),
    "layers of unequal count": (
        [*SNN, "--network.hidden", "8", "8", "8"],
        ["recurrent", "3 hidden layers"],
    ),
    "a number that is none": ([*SNN, "--trainer.clip-range", "nan"], ["--trainer.clip-range"]),
    "a share above 1": ([*SNN, "--trainer.gamma", "-1"], ["--trainer.gamma", "at least 0"]),
    "no gradient": ([*SNN, "--trainer.max-grad-norm", "0"], ["--trainer.max-grad-norm", "above 0"]),
    "a gain without measure": ([*SNN, "--network.gain", "1e30"], ["gain", "at most 1000"]),
    "a device that is not there": ([*SNN, "--device", "cuda"], ["CUDA", "--device cpu"]),
    "a module that is not there": ([*SNN, "--import", "no_such_module"], ["'no_such_module'"]),
    "an unknown argument of the environment": (
        [*SNN, *TINY, "--env-kwargs", "trails", "3"],
        ["CueAssociation-v0", "trails"],
    ),
    "a bad argument of the environment": (
        [*SNN, *TINY, "--env-kwargs", "trials", "0"],
        ["trials", ">= 1"],
    ),
    "half an argument of the environment": ([*SNN, "--env-kwargs", "trials"], ["--env-kwargs"]),
    "a batch shorter than a sequence": (
        [*SNN, "--trainer.batch-size", "30"],
        ["sequence_length", "at most batch_size", "40 is more than 30"],
    ),
    "a rollout shorter than a sequence": (
        [*SNN, "--trainer.n-steps", "30"],
        ["sequence_length", "at most n_steps", "40 is more than 30"],
    ),
    "an exogenous channel that is not there": (
        [*CUE, "--policy", "ndp-oja", *TINY, "--network.exogenous", "rewrd"],
        ["'rewrd'", "does not exist"],
    ),
    "a rule that the policy's name does not stand for": (
        [*CUE, "--policy", "ndp-oja", *TINY, "--network.rule", "bcm"],
        ["--network.rule bcm: ndp-oja stands for oja"],
    ),
    "a neuromodulator where there is none": (
        [*CUE, "--policy", "dp-oja", *TINY, "--network.modulation", "direct"],
        ["--network.modulation direct: dp-oja stands for none"],
    ),
    "two widths of an LSTM": (
        [*CUE, "--policy", "lstm", *TINY, "--network.hidden", "32", "16"],
        ["--network.hidden 32 16: lstm has one layer"],
    ),
    "going on and beginning anew": (
        [*SNN, *TINY, "--resume", "--overwrite"],
        ["--resume", "--overwrite", "give one"],
    ),
    "an argument that the robot divides by": (
        [*ROBOT, *TINY, "--env-kwargs", "frame_skip", "0"],
        ["'frame_skip': 0", "ZeroDivisionError"],
    ),
    "an argument that only playing shows to be wrong": (
        [*ROBOT, *TINY, "--env-kwargs", "reset_noise_scale", "-1"],
        ["cannot be played: ValueError: high - low < 0"],
    ),
    "a window to watch training in": (
        [*ROBOT, *TINY, "--env-kwargs", "render_mode", "human"],
        ["spikepropamine enjoy"],
    ),
    "a perturbation that no episode lives to see": (
        [*ROBOT, *TINY, "--perturb", "mass=2@5000"],
        ["mass begins at step 5000, but episodes have 1000 steps"],
    ),
    "an unknown policy to match": ([*SNN, "--match-parameters", "ndp-oj"], ["ndp-oja"]),
    "nothing to resume": ([*SNN, *TINY, "--resume"], ["nothing to resume"]),
    "supervision without targets": (
        ["--env", "CartPole-v1", "--policy", "snn", *TINY, "--trainer.kind", "supervised"],
        ["target"],
    ),
    "supervision by targets that are no actions": (
        ["--env", "HalfCheetahCue-v0", "--policy", "snn", *TINY, "--trainer.kind", "supervised"],
        ["no action", "target"],
    ),
    "supervision of continuous actions": (
        ["--env", "Pendulum-v1", "--policy", "snn", *TINY, "--trainer.kind", "supervised"],
        ["target"],
    ),
    "an observation space that is not supported": (
        ["--env", "Blackjack-v1", "--policy", "snn", *TINY],
        ["Tuple"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_exit_code_2_and_no_folder(tmp_path, run_here, capsys, case):
    arguments, words = BAD[case]
    assert run_here(*arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert all(word in line for word in words), line
    assert len(line) < 300 and "----" not in line, line
    assert not printed.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "case", ["an unknown environment", "an unknown flag", "an unknown argument of the environment"]
)
def test_a_process_given_bad_input_prints_that_line_and_nothing_else(tmp_path, case):
    arguments, words = BAD[case]
    result = run_process(tmp_path, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("train.py: error: ") and all(word in line for word in words)
    assert not result.stdout
    assert list(tmp_path.iterdir()) == []


def test_options_that_change_nothing_are_named(run_here, capsys):
    other = ["--trainer.sequence-length", "9", "--trainer.guided-steps", "5"]
    assert run_here(*CUE, "--policy", "mlp", *SHORT, *other) == 0
    said = capsys.readouterr().err
    assert "--trainer.sequence-length, --trainer.guided-steps do not concern mlp" in said


def test_options_of_reinforcement_learning_are_named_where_there_is_none(run_here, capsys):
    idle = ["--trainer.ent-coef", "0.5", "--trainer.critic", "8"]
    assert run_here(*CUE, "--policy", "snn", *TINY, "--trainer.kind", "supervised", *idle) == 0
    assert "--trainer.ent-coef, --trainer.critic do not" in capsys.readouterr().err


def test_help_explains_every_setting(tmp_path):
    result = run_process(tmp_path, *CUE, "--policy", "ndp-oja", "--help")
    assert result.returncode == 0
    for words in ("--trainer.sequence-length", "--network.modulation", "--resume", "--seed"):
        assert words in result.stdout


def test_training_under_perturbations_and_with_the_previous_action(tmp_path, run_here):
    """A suite's name, the wrapper's channels, and both kept in the policy's settings."""
    arguments = ["--env", "InvertedPendulum-v5", "--policy", "snn", "--perturb", "body-damage"]
    assert run_here(*arguments, "--previous", *TINY) == 0
    policy = load_policy(folder_of(tmp_path, "InvertedPendulum-v5", "snn") / "policy")
    assert policy.policy.observation_space.shape == (4 + 1 + 1,)
    assert policy.metadata["settings"]["perturb"] == "body-damage"
    assert policy.metadata["settings"]["previous"] is True


@pytest.mark.parametrize(
    ("perturb", "message"),
    [
        ("masss=2", "did you mean 'mass'?"),
        ("mass=1.5@", "cannot read 'mass=1.5@'"),
        ("friction=0.5", "would change nothing in InvertedPendulum-v5"),
    ],
)
def test_perturbations_that_cannot_be(tmp_path, run_here, capsys, perturb, message):
    code = run_here("--env", "InvertedPendulum-v5", "--policy", "snn", "--perturb", perturb, *TINY)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_training_that_breaks_down_says_so_in_one_line(tmp_path, run_here, capsys):
    arguments = ["--env", "InvertedPendulum-v5", "--policy", "snn", *TINY]
    assert run_here(*arguments, "--steps", "320", "--trainer.learning-rate", "1e38") == 1
    error = capsys.readouterr().err
    assert "training diverged at step" in error and "Traceback" not in error
    assert not (folder_of(tmp_path, "InvertedPendulum-v5", "snn") / "policy").exists()
