"""Settings out of configurations and of the command line: what wins, types, and what is
shown.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from saved_runs import make_policy

from spikepropamine import options
from spikepropamine.agents.zoo import agents
from spikepropamine.common import UsageError, write_text
from spikepropamine.envs.making import check_env_id
from spikepropamine.evaluation.ask.runs import learning_settings
from spikepropamine.policies.export import save_policy
from spikepropamine.training import sections
from spikepropamine.training.command_line import parse
from spikepropamine.training.sections import defaults
from spikepropamine.training.settings import validated

ROBOTS = ("HalfCheetah", "Walker2d", "Hopper", "Swimmer", "Ant", "Humanoid")
CUE = ["--env", "CueAssociation-v0"]


def test_a_configuration_may_build_on_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "CONFIGS", tmp_path)
    (tmp_path / "all.yaml").write_text("all: {steps: 6, log_every: 9}\n")
    (tmp_path / "robots.yaml").write_text(
        "base: all\nall: {steps: 7, n_envs: 3}\nsnn: {n_envs: 5}\n"
    )
    (tmp_path / "Ant-v5.yaml").write_text(
        "base: robots\nndp-oja: {steps: 8}\nndp: {steps: 9, seed: 3}\n"
        "all: {n_envs: 4, seed: 2}\n"
    )
    (tmp_path / "Hopper-v5.yaml").write_text(
        "base: robots\nsnn: {steps: 8}\ntaught: {n_envs: 6}\ntaught-snn: {steps: 9}\n"
    )
    static = defaults("Ant-v5", "snn")
    other = defaults("Ant-v5", "mlp")
    assert (static.steps, static.seed, static.n_envs) == (7, 2, 4)
    plastic = defaults("Ant-v5", "ndp-oja")  # whose own section comes last
    assert (plastic.steps, plastic.seed, plastic.n_envs) == (8, 3, 4)
    assert (other.steps, other.n_envs, other.log_every) == (7, 4, 9)
    taught, untaught = (
        defaults("Hopper-v5", "snn", taught) for taught in (True, False)
    )
    assert (taught.steps, taught.n_envs, taught.trainer.kind) == (9, 6, "supervised")
    assert (untaught.steps, untaught.n_envs, untaught.trainer.kind) == (8, 5, "ppo")


@pytest.mark.parametrize("policy", ["rsnn", "ndp-oja", "lstm"])
@pytest.mark.parametrize("more", [[], ["--match-parameters", "ndp-oja"]])
@pytest.mark.parametrize("widths", [[], ["16"], ["16", "24"]])
def test_the_command_that_a_run_was_started_with_goes_on_with_it(
    tmp_path, policy, more, widths
):
    """Though its folder has what the policy's name made of the network, and scaled
    widths.
    """
    hidden = (
        ["--network.hidden", *widths[: 1 if policy == "lstm" else None]]
        if widths
        else []
    )
    command = [*CUE, "--policy", policy, "--runs", str(tmp_path), *hidden, *more]
    started = parse(command)
    network = agents()[policy].network(started.network)
    if more:
        network = replace(network, hidden=tuple(2 * width for width in network.hidden))
    started = replace(started, network=network)
    started.folder.path.mkdir(parents=True)
    write_text(started.folder.config, yaml.safe_dump({"settings": started.as_dict()}))
    assert parse([*command, "--resume"]).network == started.network


def test_arguments_of_the_environment_add_up_over_the_sections_of_configurations():
    """Who learns from a teacher sees the task that it is configured for, in shorter
    episodes.
    """
    found = defaults("Ant-v5", "snn", taught=True).env_kwargs
    assert found == {"include_cfrc_ext_in_observation": False, "max_episode_steps": 200}
    given = [
        "--env",
        "Ant-v5",
        "--policy",
        "snn",
        "--env-kwargs",
        "max_episode_steps",
        "9",
    ]
    assert parse(given).env_kwargs == found | {"max_episode_steps": 9}
    found = defaults("HalfCheetahCueLesson-v0", "snn").env_kwargs
    assert found == {"told": 0.0}


def test_values_of_a_configuration_get_the_types_of_their_settings(
    tmp_path, monkeypatch
):
    """To YAML 2e-3 is a text, and lists are never tuples."""
    monkeypatch.setattr(sections, "CONFIGS", tmp_path)
    file = tmp_path / "default.yaml"
    file.write_text(
        "all: {runs: there, trainer: {learning_rate: 2e-3, critic: [8]}, "
        "network: {hidden: [9, 9]}}"
    )
    found = defaults("Ant-v5", "snn")
    assert found.trainer.learning_rate == 0.002 and found.trainer.critic == (8,)
    assert found.network.hidden == (9, 9) and found.runs == Path("there")
    for wrong, words in {
        "steps: many": [
            "default.yaml, section all",
            "steps must be a whole number",
            "'many'",
        ],
        "trainer: {gamma: 1.5}": ["trainer.gamma must be at most 1, got 1.5"],
        "trainer: {kind: pp}": [
            "trainer.kind must be 'ppo', 'sac', 'tqc', 'td3', 'crossq', "
            "'supervised' or",
            "did you mean 'ppo'",
        ],
        "trainer: 3": ["trainer: must be a mapping of settings, got 3"],
        "previous: 3": ["previous must be true or false"],
        "network: {hiden: [1]}": ["unknown setting 'hiden'; did you mean 'hidden'"],
        "network: {rule: ojaa}": ["unknown rule 'ojaa'; did you mean 'oja'"],
        "env_kwargs: {told: [1]}": [
            "env_kwargs must be a number, true, false or a text"
        ],
    }.items():
        file.write_text(f"all: {{{wrong}}}")
        with pytest.raises(UsageError) as error:
            defaults("Ant-v5", "snn")
        assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("policy", "hidden", "plastic"),
    [
        ("mlp", ["8"], (True,)),
        ("mlp", ["8", "8", "8"], (False,) * 3),
        ("ndp-oja", ["8"], (True,)),
    ],
)
def test_widths_may_be_given_alone(policy, hidden, plastic):
    found = parse([*CUE, "--policy", policy, "--network.hidden", *hidden])
    assert (
        found.network.hidden == tuple(map(int, hidden))
        and found.network.plastic == plastic
    )


def test_help_of_no_policy_and_of_a_kind(capsys):
    task = ["--env", "KeyValue-v0", "--policy", "snn", "--trainer.kind", "ppo"]
    for more, word in (([], "--policy NAME"), (task, "--trainer.clip-range")):
        with pytest.raises(SystemExit):
            parse(["--help", *more])
        assert word in capsys.readouterr().out


def test_options_may_be_spelt_as_in_yaml_and_switched_off():
    arguments = ["--trainer.learning_rate", "1e-4", "--no-trainer.critic-sees-spikes"]
    pairs = ["--env-kwargs", "trials", "3", "--env-kwargs", "told", "0.5"]
    more = [*pairs, "--network.exogenous", "1", "cue"]
    found = parse([*CUE, "--policy", "ndp-oja", *arguments, *more])
    assert found.trainer.learning_rate == 1e-4 and not found.trainer.critic_sees_spikes
    assert found.env_kwargs == {"trials": 3, "told": 0.5}
    assert found.network.exogenous == (1, "cue")


@pytest.mark.parametrize(
    "file", sorted(sections.CONFIGS.glob("*-v*.yaml")), ids=lambda f: f.stem
)
def test_every_configuration_is_of_a_task_and_works_with_every_kind_of_policy(file):
    check_env_id(file.stem)
    for policy, taught in itertools.product(
        ("mlp", "lstm", "snn", "ndp-oja"), (False, True)
    ):
        validated(defaults(file.stem, policy, taught))


@pytest.mark.parametrize("robot", ROBOTS)
def test_off_policy_the_policies_of_a_robot_are_trained_alike(robot):
    trainers = [
        defaults(f"{robot}-v5", policy, kind="sac").trainer for policy in agents()
    ]
    assert all(trainer == trainers[0] for trainer in trainers)


def test_a_config_of_ones_own_comes_between_configs_and_options(tmp_path):
    file = tmp_path / "best.yaml"
    file.write_text("ndp-oja:\n  steps: 2e5\n  trainer:\n    learning_rate: 0.125\n")
    task = ["--env", "CueAssociation-v0", "--config", str(file), "--policy"]
    first = parse([*task, "ndp-oja"])
    assert (first.steps, first.trainer.learning_rate) == (200_000, 0.125)
    small = options.words({"steps": 100_000, "trainer": {"log_std_init": -1e-5}})
    third = parse([*task, "ndp-oja", *small])
    assert (third.steps, third.trainer.log_std_init) == (100_000, -1e-5)
    with pytest.raises(UsageError, match="no section for snn, only ndp-oja"):
        parse([*task, "snn"])
    file.write_text("sac-snn: {steps: 30000}")
    assert parse([*task, "snn", "--trainer.kind", "sac"]).steps == 30_000
    run = {
        "settings": first.as_dict()
        | {"seed": 5, "runs": "elsewhere", "overwrite": True}
    }
    file.write_text(yaml.safe_dump(run))
    again = parse([*task, "ndp-oja", "--seed", "1"])
    assert again.trainer == first.trainer and again.network == first.network
    assert (again.seed, str(again.runs), again.overwrite) == (1, "runs", False)
    with pytest.raises(UsageError, match="is of ndp-oja on CueAssociation-v0"):
        parse([*task, "snn"])


def test_a_config_has_its_say_when_a_run_goes_on(tmp_path):
    file = tmp_path / "own.yaml"
    command = [*CUE, "--policy", "snn", "--runs", str(tmp_path)]
    command += ["--config", str(file), "--match-parameters", "ndp-oja", "--resume"]
    file.write_text("all: {steps: 1000, network: {hidden: [9, 9]}}")
    started = parse(command)
    network = agents()["snn"].network(started.network)
    started = replace(started, network=replace(network, hidden=(20, 20)))
    started.folder.path.mkdir(parents=True)
    write_text(started.folder.config, yaml.safe_dump({"settings": started.as_dict()}))
    assert parse(command).network == started.network
    file.write_text("all: {steps: 2000, network: {hidden: [9, 9]}}")
    assert parse(command).steps == 2000
    file.write_text("all: {trainer: {gamma: 0.5}}")
    with pytest.raises(UsageError, match=r"--trainer.gamma was 0.0 .* and is 0.5 now"):
        parse(command)
    config = started.as_dict() | {"cue": [0, 0]}  # which the command need not repeat
    write_text(started.folder.config, yaml.safe_dump({"settings": config}))
    file.write_text("all: {}\ncue: {steps: 3000}")
    assert parse(command).steps == 3000


def test_a_config_may_say_how_it_is_learned(tmp_path):
    file = tmp_path / "own.yaml"
    task = ["--env", "HalfCheetah-v5", "--policy", "snn"]
    teacher = "teachers/HalfCheetah-v5/mlp"
    for text, typed in (
        ("trainer: {kind: sac}", ["--trainer.kind", "sac"]),
        ("cue: [2, 1000]", ["--cue", "2", "1000"]),
        (f"teacher: {teacher}", ["--teacher", teacher]),
    ):
        file.write_text(f"all: {{{text}}}")
        assert parse([*task, "--config", str(file)]) == parse([*task, *typed])
    file.write_text("all: {trainer: {kind: sac}}")
    found = parse([*task, "--config", str(file), "--trainer.kind", "ppo"])
    assert found == parse(task)


@pytest.mark.parametrize("steps", ["1.5e0", "1e999", "0e0", "e5"])
def test_steps_are_whole_numbers(steps):
    with pytest.raises(UsageError, match="--steps must be"):
        parse([*CUE, "--policy", "snn", "--steps", steps])


@pytest.mark.nightly
def test_every_value_of_the_sweep_for_wandb_is_a_setting():
    for name, values in yaml.safe_load((sections.CONFIGS / "sweep.yaml").read_text())[
        "parameters"
    ].items():
        for value in values.get("values", [values.get("min"), values.get("max")]):
            found = parse([*CUE, "--policy", "lstm", f"--{name}={value}"])
            _, _, field = name.replace("-", "_").partition("trainer.")
            assert getattr(found.trainer, field) == value


@pytest.mark.parametrize(
    "told", [None, [], {"trainer": "ppo"}, {"trainer": {}, "network": 8}]
)
def test_a_policy_that_does_not_say_how_it_was_trained_is_none_to_start_from(
    tmp_path, told
):
    policy = make_policy("Pendulum-v1", "mlp").policy
    save_policy(tmp_path / "policy", policy, metadata={"settings": told, "steps": 1})
    with pytest.raises(UsageError, match="does not say how it was trained"):
        parse(["--env", "Pendulum-v1", "--policy", "mlp", "--from", str(tmp_path)])


def test_settings_of_learning_are_those_that_concern_the_policy_and_how_it_learns():
    plain, plastic = (
        learning_settings(defaults("Ant-v5", policy, kind="sac").as_dict())
        for policy in ("mlp", "ndp-hebb")
    )
    assert "trainer.tau" in plain and "trainer.clip_range" not in plain
    assert "network.eta" in plastic and "network.eta" not in plain
    assert "seed" not in plain and "runs" not in plain
