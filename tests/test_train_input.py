"""train.py: what wrong, idle and unusual input is answered, and spaces that cannot be
had.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces
from train_runs import CUE, TINY, folder_of

from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy
from spikepropamine.training.command_line import parse, without_effect
from spikepropamine.training.obstacles import obstacle

SNN = [*CUE, "--policy", "snn"]
ROBOT = ["--env", "HalfCheetah-v5", "--policy", "snn"]
BAD = {
    "a missing policy": (CUE, ["--policy"]),
    "an unknown environment": (
        ["--env", "CueAsociation-v0", "--policy", "snn"],
        ["'CueAsociation-v0'", "did you mean", "CueAssociation-v0"],
    ),
    "an unknown policy": (
        [*CUE, "--policy", "ndp-ojaa"],
        ["'ndp-ojaa'", "did you mean 'ndp-oja'", "mlp, lstm"],
    ),
    "a misspelt policy flag": (
        ["--env", "CueAssociation-v0", "--polcy", "snn"],
        ["unknown option --polcy", "'--policy'"],
    ),
    "an unknown flag": ([*SNN, "--trainer.learning-rat", "3"],
                        ["--trainer.learning-rate"]),
    "a value of another type": (
        [*SNN, "--trainer.learning-rate", "abc"],
        ["--trainer.learning-rate", "abc"],
    ),
    "a value out of range": ([*SNN, "--network.ticks", "0"],
                             ["ticks", "from 1 to 1000"]),
    "a number that is none": (
        [*SNN, "--trainer.clip-range", "nan"],
        ["--trainer.clip-range must be a finite number"],
    ),
    "a negative number that looks like an option": (
        [*SNN, "--trainer.log-std-init", "-1e-3"],
        ["--trainer.log-std-init", "follows an ="],
    ),
    "an unknown kind of training": (
        [*SNN, "--trainer.kind", "ppox"],
        ["error: --trainer.kind must be 'ppo'", "got 'ppox'"],
    ),
    "actions that SAC does not take": (
        [*SNN, "--trainer.kind", "sac", "--steps", "6000"],
        ["sac needs actions in a Box, not Discrete(2)", "ppo"],
    ),
    "a training that ends before it learns": (
        ["--env", "Pendulum-v1", "--policy", "snn", "--trainer.kind", "tqc", "--steps",
         "200"],
        ["--steps 200:", "more than 5,000 steps, or less --trainer.learning-starts"],
    ),
    "a training without a whole sequence": (
        ["--env", "Pendulum-v1", "--policy", "snn", "--trainer.kind", "sac", "--steps",
         "800",
         "--trainer.learning-starts", "10", "--n-envs", "8",
         "--trainer.sequence-length", "99",
         "--trainer.burn-in", "1"],
        ["--steps 800:", "more than 808 steps, or less --trainer.sequence-length"],
    ),
    "a share above 1": ([*SNN, "--trainer.gamma", "-1"],
                        ["--trainer.gamma", "at least 0"]),
    "a device that is not there": ([*SNN, "--device", "cuda"],
                                   ["CUDA", "--device cpu"]),
    "a module that is not there": ([*SNN, "--import", "no_such_module"],
                                   ["'no_such_module'"]),
    "an unknown argument of the environment": (
        [*SNN, *TINY, "--env-kwargs", "trails", "3"],
        ["CueAssociation-v0", "trails"],
    ),
    "half an argument of the environment": ([*SNN, "--env-kwargs", "trials"],
                                            ["--env-kwargs"]),
    "a batch shorter than a sequence": (
        [*SNN, "--trainer.batch-size", "30"],
        ["sequence_length", "at most batch_size", "40 is more than 30"],
    ),
    "a rule that the policy's name does not stand for": (
        [*CUE, "--policy", "ndp-oja", *TINY, "--network.rule", "bcm"],
        ["--network.rule bcm: that of ndp-oja is oja"],
    ),
    "two widths of an LSTM": (
        [*CUE, "--policy", "lstm", *TINY, "--network.hidden", "32", "16"],
        ["--network.hidden 32 16: lstm has one layer"],
    ),
    "going on and beginning anew": (
        [*SNN, *TINY, "--resume", "--overwrite"],
        ["--resume", "--overwrite", "give one"],
    ),
    "an argument that only playing shows to be wrong": (
        [*ROBOT, *TINY, "--env-kwargs", "reset_noise_scale", "-1"],
        ["failed in reset: ValueError: high - low < 0"],
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
        ["--env", "CartPole-v1", "--policy", "snn", *TINY, "--trainer.kind",
         "supervised"],
        ["target"],
    ),
    "supervision by targets that are no actions": (
        ["--env", "HalfCheetahCue-v0", "--policy", "snn", *TINY, "--trainer.kind",
         "supervised"],
        ["no action", "target"],
    ),
    "an observation space that is not supported": (
        ["--env", "Blackjack-v1", "--policy", "snn", *TINY],
        ["Tuple"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_exit_code_2_and_no_folder(
    tmp_path, run_here, capsys, case
):
    arguments, words = BAD[case]
    assert run_here(*arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert all(word in line for word in words), line
    assert len(line) < 400 and "----" not in line, line
    assert not printed.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("policy", "kind", "idle"),
    [
        ("mlp", "ppo", ["--trainer.sequence-length", "--trainer.guided-steps"]),
        ("snn", "supervised", ["--trainer.ent-coef", "--trainer.critic"]),
        ("gru", "evolution", ["--threads", "--trainer.ent-coef"]),
        ("ndp-oja", "sac", ["--trainer.n-epochs", "--trainer.n-quantiles"]),
    ],
)
def test_options_that_change_nothing_are_named(policy, kind, idle):
    given = [word for name in idle for word in (name, "9")]
    arguments = [*CUE, "--policy", policy, "--trainer.kind", kind, *given]
    assert without_effect(parse(arguments), arguments) == idle


def test_initial_values_change_nothing_where_a_policy_starts_from_another():
    given = [
        "--trainer.log-std-init",
        "-2",
        "--network.eta",
        "0.5",
        "--network.slope",
        "2",
    ]
    arguments = [*CUE, "--policy", "ndp-oja", *given]
    settings = replace(parse(arguments), start_from=Path("first"))
    assert without_effect(settings, arguments) == [
        "--network.eta",
        "--trainer.log-std-init",
    ]


def test_training_under_perturbations_and_with_the_previous_action(tmp_path, run_here):
    """A suite's name, the wrapper's channels, and both kept in the policy's
    settings.
    """
    arguments = [
        "--env",
        "InvertedPendulum-v5",
        "--policy",
        "snn",
        "--perturb",
        "body-damage",
    ]
    assert run_here(*arguments, "--previous", *TINY) == 0
    policy = load_policy(folder_of(tmp_path, "InvertedPendulum-v5", "snn") / "policy")
    assert policy.policy.observation_space.shape == (4 + 1 + 1,)
    assert policy.metadata["settings"]["perturb"] == "body-damage"
    assert policy.metadata["settings"]["previous"] is True


def test_training_that_breaks_down_says_so_in_one_line(tmp_path, run_here, capsys):
    arguments = ["--env", "InvertedPendulum-v5", "--policy", "snn", *TINY]
    assert (
        run_here(*arguments, "--steps", "320", "--trainer.learning-rate", "1e38") == 1
    )
    error = capsys.readouterr().err
    assert "training diverged at step" in error and "Traceback" not in error
    assert not (folder_of(tmp_path, "InvertedPendulum-v5", "snn") / "policy").exists()


BOX = spaces.Box(-1, 1, (2,))
TWO = spaces.Discrete(2)
REFUSED = {
    "actions that are whole numbers": (
        BOX,
        spaces.Box(-3, 3, (2,), np.int64),
        "a Box of int64",
    ),
    "a Discrete from 1": (spaces.Discrete(3, start=1), TWO, "let it start at 0"),
    "very many choices": (
        spaces.Discrete(100_000),
        TWO,
        "100,000 numbers for a network to see",
    ),
    "a Dict in a Dict": (
        spaces.Dict(a=spaces.Dict(b=BOX)),
        TWO,
        "'a' is a nested Dict",
    ),
    "a key with a dot": (
        spaces.Dict({"a.b": BOX}),
        TWO,
        "'a.b' has a name that PyTorch",
    ),
    "a key of PyTorch's own": (
        spaces.Dict(values=BOX),
        TWO,
        "'values' has a name that PyTorch",
    ),
    "an empty Dict": (spaces.Dict(), TWO, "empty"),
    "a number alone": (spaces.Box(-1, 1, ()), TWO, "the shape (1,)"),
    "a Box of nothing": (spaces.Box(-1, 1, (0,)), TWO, "holds no number"),
    "a Tuple": (spaces.Tuple([BOX, BOX]), TWO, "is a Tuple; supported are Box"),
    "a Text in a Dict": (spaces.Dict(a=BOX, b=spaces.Text(4)), TWO, "'b' is a Text"),
    "a table of choices": (
        spaces.MultiDiscrete([[2, 2], [3, 3]]),
        TWO,
        "one dimension",
    ),
    "actions from 1": (
        BOX,
        spaces.Discrete(3, start=1),
        "action space is a Discrete that starts",
    ),
    "choices from 1": (
        BOX,
        spaces.MultiDiscrete([2, 3], start=[0, 1]),
        "starts at [0, 1]",
    ),
    "a Dict of actions": (BOX, spaces.Dict(a=TWO), "supported are Box"),
    "unbounded actions": (BOX, spaces.Box(-np.inf, np.inf, (2,)), "is unbounded"),
    "a number alone as action": (BOX, spaces.Box(-1, 1, ()), "the shape (1,)"),
    "a table of bits": (BOX, spaces.MultiBinary((2, 2)), "one dimension"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_named(case):
    observation, action, words = REFUSED[case]
    reason = obstacle(observation, action)
    assert words in reason and "\n" not in reason


@pytest.mark.parametrize(
    "action", [TWO, BOX, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]
)
@pytest.mark.parametrize(
    "observation",
    [BOX, TWO, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3),
     spaces.Dict(a=BOX, b=TWO),
     spaces.Box(0, 255, (36, 36, 3), np.uint8)],
)  # fmt: skip
def test_what_can_is_not_refused(observation, action):
    assert obstacle(observation, action) is None


def test_what_one_policy_cannot_take_is_named():
    venv = SimpleNamespace(observation_space=BOX, action_space=spaces.MultiBinary(2))
    with pytest.raises(ValueError, match="cannot take MultiBinary actions"):
        build("lstm-stock", venv, NetworkConfig(), TrainerSettings())
