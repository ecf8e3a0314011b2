"""`spikepropamine tune`: what it searches, its value, and what is left of a killed
process.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import TrialState
from stable_baselines3.common.evaluation import evaluate_policy

from spikepropamine.policies.export import load_policy
from spikepropamine.training import tune
from spikepropamine.training.evaluations import EPISODES, SEED, evaluation_envs
from spikepropamine.training.sections import defaults

optuna.logging.set_verbosity(optuna.logging.WARNING)
TASK = ["--env", "CueAssociation-v0", "--policy", "mlp"]
TINY = [*TASK, "--steps", "64", "--n-envs", "8", "--trainer.n-steps", "8",
        "--env-kwargs", "trials",
        "2", "--trainer.batch-size", "64", "--network.hidden", "4", "--seeds",
        "2"]  # fmt: skip
SEARCH = {
    "all": {"trainer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    "mlp": {
        "trainer.n_epochs": {"low": 1, "high": 2},
        "trainer.critic": {"choices": [[4], [8]]},
        "trainer.target_kl": {"choices": [None]},
        "normalize_observations": {"choices": [True]},
        "normalize_rewards": {"choices": [False]},
    },
}


@pytest.fixture
def study(tmp_path):
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(SEARCH))
    return tmp_path / "study"


def arguments(study, trials) -> list[str]:
    more = [
        "--study",
        study,
        "--search",
        study.parent / "search.yaml",
        "--trials",
        trials,
    ]
    return [*TINY, *map(str, more)]


def trials_of(study, *states) -> list:
    storage = f"sqlite:///{study / 'study.db'}"
    loaded = optuna.load_study(study_name="CueAssociation-v0 mlp", storage=storage)
    return loaded.get_trials(states=states or None)


def test_a_study_has_its_trials_and_the_best_as_a_config(study, capsys):
    assert tune.main(arguments(study, 3)) == 0
    told = capsys.readouterr().out
    assert told.count("trial ") >= 3 and "best of 3 trials" in told
    complete = trials_of(study, TrialState.COMPLETE)
    assert len(complete) == 3
    best = max(complete, key=lambda trial: trial.value)
    text = (study / "best.yaml").read_text()
    found = yaml.safe_load(text)["mlp"]["trainer"]
    assert found["learning_rate"] == best.params["trainer.learning_rate"]
    assert found["critic"] == json.loads(best.params["trainer.critic"])
    command = text.splitlines()[1].removeprefix("# spikepropamine train ").split()
    settings = tune.command_line.parse(command)
    assert (
        settings.trainer.learning_rate == found["learning_rate"]
        and settings.steps == 64
    )
    assert settings.normalize_observations and not settings.normalize_rewards
    # a trial is the mean over two seeds, each told to the pruner at its own steps
    assert max(best.intermediate_values) > tune.REPORTS
    assert not list((study / "trials").rglob("policy.json"))
    assert tune.main(arguments(study, 3)) == 0  # there is nothing left to do
    assert len(trials_of(study)) == 3


def test_a_setting_is_a_whole_number_where_that_is_all_it_takes():
    settings = defaults("CueAssociation-v0", "mlp")
    space = {
        name: {"low": 1, "high": 9}
        for name in ("trainer.n_epochs", "trainer.max_grad_norm")
    }
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    epochs, norm = tune.suggested(trial, space, settings).values()
    assert isinstance(epochs, int) and norm % 1


def test_the_value_of_a_trial_is_what_its_policies_earn_in_new_episodes(tmp_path):
    settings = tune.command_line.parse([*TASK, "--steps", "2560"])
    trial = optuna.create_study(direction="maximize").ask()
    value = tune.value_of(trial, settings, 2, tmp_path)
    returns: list[float] = []
    for seed in (tune.FIRST_SEED, tune.FIRST_SEED + 1):
        policy = load_policy(tmp_path / f"CueAssociation-v0/mlp/seed-{seed}/policy")
        venv = evaluation_envs(settings)
        venv.seed(SEED)
        returns += evaluate_policy(
            policy, venv, EPISODES, return_episode_rewards=True, warn=False
        )[0]
    assert value == pytest.approx(np.mean(returns)) and np.std(returns) > 0


def test_what_is_interrupted_is_tried_again(study, monkeypatch):
    def interrupted(trial, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tune, "value_of", interrupted)
        assert tune.main(arguments(study, 1)) == 130
    (left,) = trials_of(study, TrialState.FAIL)
    assert tune.main(arguments(study, 1)) == 0
    (done,) = trials_of(study, TrialState.COMPLETE)
    assert done.params == left.params


def test_a_trial_that_falls_behind_is_given_up():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())

    class Model:
        num_timesteps = 500
        ep_info_buffer = [{"r": 1.0}]

    def reported(value: float, done: Sequence[float] = ()) -> None:
        reports = tune.Reports(study.ask(), done, steps=1000)
        reports.model = Model()
        reports.num_timesteps = 500
        Model.ep_info_buffer = [{"r": value}]
        reports._on_rollout_end()
        study.tell(reports.trial, value)

    for value in (5.0, 6.0, 1.0, 2.0, 3.0):  # none of the first
        reported(value)
    with pytest.raises(optuna.TrialPruned):
        reported(2.5)
    reported(3.5)
    values = [trial.intermediate_values for trial in study.trials]
    assert values == [{5: x} for x in (5.0, 6.0, 1.0, 2.0, 3.0, 2.5, 3.5)]


def test_a_good_first_seed_does_not_save_a_trial():
    study = optuna.create_study(direction="maximize")

    class Model:
        ep_info_buffer = [{"r": 1.0}]

    def trained(*returns: float) -> None:
        """A trial with one training for each of these returns."""
        trial = study.ask()
        for seed, value in enumerate(returns):
            reports = tune.Reports(trial, returns[:seed], steps=1000)
            reports.model = Model()
            Model.ep_info_buffer = [{"r": value}]
            for reports.num_timesteps in range(100, 1001, 100):
                reports._on_rollout_end()
        study.tell(trial, sum(returns) / len(returns))

    for _ in range(tune.STARTUP):
        trained(100.0, 100.0)
    trained(105.0, 100.0)
    with pytest.raises(optuna.TrialPruned):
        trained(105.0, 50.0)


def test_a_file_may_change_the_number_of_layers(tmp_path):
    file = tmp_path / "more.yaml"
    file.write_text("all: {network: {hidden: [64, 64, 64]}}")
    for policy in ("lstm", "gru", "mlp"):
        settings = defaults("MotorMap-v0", policy, config=file)
        assert settings.network.hidden == (64, 64, 64)
    file.write_text("base: KeyValue-v0\nall: {trainer: {n_epochs: 2}}")
    assert defaults("KeyValue-v0", "lstm", config=file).trainer.n_epochs == 2
    file.write_text("lstm: {network.hidden: {choices: [[8], [8, 8]]}}")
    space = tune.search_space(file, defaults("MotorMap-v0", "lstm"))
    assert space["network.hidden"] == {"choices": [[8], [8, 8]]}


def test_a_search_file_comes_after_its_base(tmp_path):
    file = tmp_path / "mine.yaml"
    settings = defaults("CueAssociation-v0", "mlp")
    file.write_text("base: configured\nall: {network.hidden: null}")
    assert "network.hidden" not in tune.search_space(file, settings)
    file.write_text("base: configured\nall: {network.hidden: {choices: [[7]]}}")
    space = tune.search_space(file, settings)
    assert space["network.hidden"] == {"choices": [[7]]}


@pytest.mark.parametrize(
    "policy", ["mlp", "lstm", "gru", "snn", "rsnn", "dp-bcm", "ndp-oja"]
)
def test_every_policy_has_something_to_search(policy):
    space = tune.search_space(None, defaults("CueAssociation-v0", policy))
    assert "trainer.learning_rate" in space
    assert ("network.plasticity_gain" in space) == policy.startswith(("dp", "ndp"))
    assert ("network.modulator_gain" in space) == policy.startswith("ndp")
    assert ("network.slope" in space) == (policy not in ("mlp", "lstm", "gru"))
    for task in (
        "CartPoleNoVelocity-v0",
        "PendulumNoVelocity-v0",
    ):  # networks have one layer
        settings = defaults(task, policy)
        space = tune.search_space(None, settings)
        layers = {
            len(hidden)
            for hidden in space.get("network.hidden", {"choices": []})["choices"]
        }
        assert layers <= {len(settings.network.hidden)}


WHAT_A_TASK_DECIDES = {
    "n_envs",
    "trainer.gamma",
    "trainer.n_steps",
    "trainer.batch_size",
    "trainer.log_std_init",
    "normalize_observations",
    "network.hidden",
}


def test_what_a_task_of_ones_own_decides_is_searched():
    for policy in ("mlp", "lstm", "snn", "ndp-oja"):
        space = tune.search_space(None, defaults("Pendulum-v1", policy))
        remembers = {"trainer.sequence_length"} if policy != "mlp" else set()
        assert WHAT_A_TASK_DECIDES | remembers <= space.keys()
    # with discrete actions there is no spread, and a configured task has decided
    assert "trainer.log_std_init" not in tune.search_space(
        None, defaults("CartPole-v1", "mlp")
    )
    configured = tune.search_space(None, defaults("CueAssociation-v0", "ndp-oja"))
    assert not (WHAT_A_TASK_DECIDES - {"network.hidden"}) & configured.keys()


def test_all_values_of_a_task_of_ones_own_go_together():
    """No sequence is longer than a rollout or a minibatch."""
    space = tune.search_space(None, defaults("Pendulum-v1", "ndp-oja"))
    longest = max(space["trainer.sequence_length"]["choices"])
    assert longest <= min(space["trainer.n_steps"]["choices"])
    assert longest <= min(space["trainer.batch_size"]["choices"])


def test_each_algorithm_has_its_own_search():
    settings = defaults("Pendulum-v1", "ndp-oja", kind="sac")
    assert {"trainer.train_freq", "trainer.gamma"} <= tune.search_space(
        None, settings
    ).keys()
    evolution = tune.search_space(
        None, defaults("Pendulum-v1", "ndp-oja", kind="evolution")
    )
    assert "trainer.population" in evolution and "n_envs" not in evolution


def test_what_the_command_line_says_is_not_searched():
    words = ["--env", "Pendulum-v1", "--policy", "mlp", "--trainer.gamma=0.9"]
    words += ["--n-envs", "2", "--no-normalize-observations"]
    options, settings = tune.parse(words, "tune")
    space = tune.search_space(None, settings, options.given)
    assert {"trainer.n_steps", "trainer.log_std_init"} <= space.keys()
    assert not {"trainer.gamma", "n_envs", "normalize_observations"} & space.keys()
    changed = tune.changed(settings, tune.nested({"trainer.n_steps": 128}), "trial")
    assert changed.trainer.gamma == 0.9 and changed.n_envs == 2


def test_nothing_is_searched_that_has_no_effect():
    settings = defaults("EvidenceAccumulation-v0", "snn")
    supervised = replace(settings, trainer=replace(settings.trainer, kind="supervised"))
    by_rewards = {"trainer.gae_lambda", "trainer.ent_coef"}
    reinforced = replace(settings, trainer=replace(settings.trainer, kind="ppo"))
    assert by_rewards <= tune.search_space(None, reinforced).keys()
    assert not by_rewards & tune.search_space(None, supervised).keys()
    started = replace(settings, start_from=Path("first"))
    assert "network.readout_decay" in tune.search_space(None, settings)
    assert "network.readout_decay" not in tune.search_space(None, started)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"all": {"trainer.learning_rat": {"low": 1, "high": 2}}},
            "did you mean 'learning_rate'",
        ),
        (
            {"all": {"trainer.learning_rate": {"low": 1e-3}}},
            "needs `choices`, or `low` and `high`",
        ),
        (
            {"all": {"trainer.learning_rate": {"low": -1.0, "high": 1.0}}},
            "learning_rate",
        ),
        (
            {"all": {"trainer.n_epochs": {"low": 3, "high": 2}}},
            "low must be below high",
        ),
        (
            {"all": {"trainer.ent_coef": {"low": 0.0, "high": 1.0, "log": True}}},
            "above 0 where log",
        ),
        *(
            ({"all": {name: {"choices": [1]}}}, f"{name}: cannot be searched")
            for name in ("policy", "env", "runs", "seed", "overwrite")
        ),
        ({"ndp": {}}, "nothing to search for mlp"),
    ],
)
def test_a_search_that_cannot_work_is_one_line(sections, message, study, capsys):
    (study.parent / "search.yaml").write_text(yaml.safe_dump(sections))
    assert tune.main(arguments(study, 1)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not study.exists()


def test_settings_that_do_not_go_together_end_a_trial_and_not_the_study(study, capsys):
    lengths = {"trainer.batch_size": {"choices": [16, 64]}, "trainer.sequence_length": {
        "choices": [8, 32]}}  # fmt: skip
    (study.parent / "search.yaml").write_text(yaml.safe_dump({"snn": lengths}))
    more = arguments(study, 4)
    more[more.index("mlp")] = "snn"
    assert tune.main([*more, "--trainer.n-steps", "32"]) == 0
    assert "best of 4 trials" in capsys.readouterr().out


def test_a_study_is_of_one_task_and_one_budget(study, capsys):
    assert tune.main(arguments(study, 1)) == 0
    same = arguments(study, 1)
    assert tune.main([*same[4:], *same[:4], "--device", "cpu"]) == 0  # in another order
    capsys.readouterr()
    for other in (["--steps", "128"], ["--seeds", "1"], ["--policy", "lstm"]):
        assert tune.main([*arguments(study, 2), *other]) == 2
        assert "give another --study" in capsys.readouterr().err


def test_a_study_goes_on_with_other_workers(study):
    study.mkdir()
    task = ["--env", "CueAssociation-v0", "--policy", "ndp-oja", "--study", str(study)]
    for workers in "12":
        more = ["--trainer.kind", "evolution", "--trainer.workers", workers]
        tune._check_same(*tune.parse([*task, *more], "tune"), {})


def test_what_each_trial_has_of_its_own_cannot_be_given(study, capsys):
    assert tune.main([*arguments(study, 1), "--seed", "3"]) == 2
    assert "each trial has its own" in capsys.readouterr().err
