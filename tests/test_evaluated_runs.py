"""Which runs are evaluated together, in which conditions, by what names, and what
stays.
"""

import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import PendulumEnv
from saved_runs import ARGUMENTS, CUES, command_line, measured, save_run
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine import table
from spikepropamine.agents import PlasticPPO, PlasticSAC
from spikepropamine.agents import save_run as save_run_of
from spikepropamine.common import UsageError
from spikepropamine.envs.making import make
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.shown import PreviousActionAndReward
from spikepropamine.evaluation.ask.conditions import choose, conditions_of, task_of
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.command import folder_name, parse
from spikepropamine.folder import RETURN, read_curve
from spikepropamine.policies import export
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.report import card as card_module
from spikepropamine.report.html import report


def test_variants_of_a_policy_have_names_of_their_own(tmp_path, capsys):
    first, second = (
        save_run(tmp_path / name, CUES, "mlp") for name in ("one", "other")
    )
    arguments = ["--conditions", "clean", "--episodes", "4", "--out", tmp_path / "out"]
    assert command_line(first, second, *arguments) == 2
    assert f"a name of its own: other={second}" in capsys.readouterr().err
    assert list(measured(first, f"other={second}", *arguments).policies) == [
        "mlp",
        "other",
    ]
    assert command_line(f"a={first}", f"b={first}", *arguments) == 2
    assert "has two names, a and b" in capsys.readouterr().err
    assert (
        command_line(tmp_path / "*/*/*/seed-0", *arguments) == 2
    )  # not every shell expands it
    assert "are both mlp with seed 0" in capsys.readouterr().err
    assert command_line("runs/lr=0.1", *arguments) == 2
    assert "'runs/lr=0.1' is neither a run folder" in capsys.readouterr().err


def test_a_card_knows_a_run_by_its_folder(tmp_path):
    run = save_run(tmp_path, CUES, "snn")
    assert command_line(f"mine={run}", "--conditions", "clean", "--episodes", "1") == 0
    assert card_module.main([str(run)]) == 0
    card = (run / "README.md").read_text()
    assert "# snn on CueAssociation-v0" in card
    for way in (
        ["--stochastic"],
        ["--horizon-factor", "2"],
    ):  # are no usual evaluations
        assert (
            command_line(
                f"mine={run}", "--conditions", "clean", "--episodes", "1", *way
            )
            == 0
        )
    assert card_module.main([str(run)]) == 0
    assert (run / "README.md").read_text() == card


def test_without_an_evaluation_a_card_says_the_command_with_ones_own_modules(tmp_path):
    run = save_run(tmp_path, CUES, "mlp")
    loaded = load_policy(run / "policy")
    settings = loaded.metadata["settings"] | {"imports": ["signs", "more"]}
    save_policy(
        run / "policy", loaded.policy, metadata={"settings": settings, "steps": 123}
    )
    command = f"run: spikepropamine evaluate {run} --import signs more"
    with pytest.raises(UsageError, match=re.escape(command)):
        card_module.main([str(run)])


def test_seeds_of_a_policy_were_trained_in_the_same_way(tmp_path, capsys):
    runs = [save_run(tmp_path, CUES, "ndp-oja", seed) for seed in (0, 1)]
    for run, rate in zip(runs, (1e-3, 1e-5)):
        loaded = load_policy(run / "policy")
        settings = loaded.metadata["settings"] | {"trainer": {"learning_rate": rate}}
        save_policy(
            run / "policy", loaded.policy, metadata={"settings": settings, "steps": 123}
        )
    assert command_line(*runs, "--conditions", "clean", "--episodes", "4") == 2
    assert "differ in --trainer.learning-rate (0.001, 1e-05)" in capsys.readouterr().err
    for name, values, said in (
        ("cue", ([1.0, 500], [0.0, 0]), "--cue ([1.0, 500], [0.0, 0])"),
        ("env_kwargs", ({"trials": 4}, {"trials": 4, "noise": 0.1}), "--env-kwargs"),
    ):
        for run, value in zip(runs, values):
            loaded = load_policy(run / "policy")
            settings = loaded.metadata["settings"] | {
                "trainer": {},
                "cue": None,
                name: value,
            }
            save_policy(
                run / "policy",
                loaded.policy,
                None,
                {"settings": settings, "steps": 123},
            )
        assert command_line(*runs, "--conditions", "clean", "--episodes", "4") == 2
        assert f"differ in {said}" in capsys.readouterr().err
    found = measured(runs[1], "--conditions", "clean", "--episodes", "1")
    assert "the task, noise 0.1" in report(found)


def test_a_policy_that_is_replaced_while_it_is_read_is_the_newer_one(
    tmp_path, monkeypatch
):
    folder = save_run(tmp_path, CUES, "mlp") / "policy"
    policy = load_policy(folder).policy
    load = export._load
    left = [1]

    def replaced(*arguments):
        if left:
            left.pop()
            save_policy(folder, policy, metadata={"steps": 456})
        return load(*arguments)

    policy.load_state_dict({name: x + 1 for name, x in policy.state_dict().items()})
    monkeypatch.setattr(export, "_load", replaced)
    found = load_policy(folder)
    assert found.metadata["steps"] == 456 and not left
    for name, x in found.policy.state_dict().items():
        assert (x == policy.state_dict()[name]).all()
    away = folder.rename(folder.with_name("policy.old"))  # as it is for a moment
    monkeypatch.setattr(export.time, "sleep", lambda _: away.rename(folder))
    assert load_policy(folder).metadata["steps"] == 456


def test_a_run_opens_no_window(tmp_path, monkeypatch):
    monkeypatch.setitem(ARGUMENTS, CUES, {"render_mode": "human", "trials": 4})
    (run,), task = load_runs([save_run(tmp_path, CUES, "mlp")])
    assert "render_mode" not in task.arguments and run.arguments == {"trials": 4}


def test_results_are_replaced_where_that_is_asked(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "snn")
    few = ["--conditions", "clean", "--episodes", "2"]
    assert command_line(run, *few, overwrite=False) == 0
    assert command_line(run, *few, overwrite=False) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command_line(run, *few) == 0
    assert command_line(run, *few, "--perturb", "novel-dynamics") == 2
    assert (
        "novel-dynamics is a suite: --suite novel-dynamics" in capsys.readouterr().err
    )


def test_old_results_stay_where_new_ones_are_refused(tmp_path, capsys, monkeypatch):
    run = save_run(tmp_path, CUES, "snn")
    few = ["--conditions", "clean", "--episodes", "2"]
    assert command_line(run, *few) == 0
    (results,) = tmp_path.rglob("results.csv")
    before = {path.name: path.read_bytes() for path in results.parent.glob("*.*")}
    assert {"results.csv", "evaluation.json", "report.html"} <= set(before)

    def refused(path, frame):
        raise UsageError("a value is not finite")

    monkeypatch.setattr(table, "write", refused)
    assert command_line(run, *few) == 2
    assert "not finite" in capsys.readouterr().err
    after = {path.name: path.read_bytes() for path in results.parent.glob("*.*")}
    assert before == after


def test_a_return_without_a_limit_has_no_bounds(monkeypatch):
    limits = [(-np.inf, 0.0), (-1.0, np.inf), (-1.0, 1.0)]
    for limit in limits:
        monkeypatch.setattr(PendulumEnv, "return_range", limit, raising=False)
        bounds = task_of("Pendulum-v1", {}, horizon_factor=2).return_range
        assert bounds == (None if np.inf in np.abs(limit) else (-2.0, 2.0))


def test_what_is_measured_in_another_way_has_a_folder_of_its_own():
    long = " | ".join(f"obs_noise=0.{k}" for k in range(1, 10))
    asked = [
        [],
        ["--quick"],
        ["--stochastic"],
        ["--horizon-factor", "2"],
        ["--suite", "noise"],
    ]
    texts = ("obs_noise=0.1@3", "obs_noise=0.1 | none", long, f"{long} | none")
    asked += [["--perturb", text] for text in texts]
    names = [folder_name(parse(["RUN", *options], "evaluate")) for options in asked]
    assert names[:4] == [
        "standard",
        "standard-quick",
        "standard-stochastic",
        "standard-x2",
    ]
    assert names[5:7] == ["perturb-obs_noise=0.1@3", "perturb-obs_noise=0.1_none"]
    assert len(set(names)) == len(names) and max(map(len, names)) == 108


def test_rows_of_longer_or_sampled_episodes_are_of_a_suite_of_their_own(tmp_path):
    run = save_run(tmp_path, CUES, "snn")
    few = ["--conditions", "clean", "--episodes", "2"]
    for more, suite in (
        ([], "standard"), (["--horizon-factor", "2"], "standard-x2"),
        (["--stochastic"], "standard-stochastic"),
    ):  # fmt: skip
        assert command_line(run, *few, *more) == 0
        rows = table.read(run / "evaluations" / suite / "results.csv")
        assert rows["suite"].drop_nulls().unique().to_list() == [suite]


def test_returns_that_are_no_numbers_do_not_count(tmp_path):
    rows = [
        "3,10",
        "nan,20",
        "inf,30",
        ",40",
        "1,50",
        "1e200,55",
        "3,nan",
        "torn,a,60",
        "9",
        "9,no",
        "9,70",
    ]
    text = "\n".join(["rollout/ep_rew_mean,time/total_timesteps", *rows])
    (tmp_path / "progress.csv").write_text(text)  # the last row was still being written
    steps, returns = read_curve(tmp_path / "progress.csv", RETURN)
    assert (steps.tolist(), returns.tolist()) == ([10, 50], [3, 1])
    assert not len(read_curve(tmp_path / "missing", RETURN)[0])


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    run = save_run(tmp_path / "run", CUES, "snn")
    arguments = ["--conditions", "clean", "--episodes", "2", "--out"]
    foreign = tmp_path / "mine" / "videos" / "talk.mp4"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    assert command_line(run, *arguments, tmp_path / "mine", overwrite=False) == 0
    assert (
        foreign.read_text() == "mine" and (tmp_path / "mine" / "report.html").exists()
    )


def test_an_evaluation_does_without_a_place_to_keep_its_parts(
    tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKEPROPAMINE_CACHE", str(tmp_path / "file" / "below"))
    run = save_run(tmp_path, CUES, "snn")
    measured(run, "--conditions", "clean", "--episodes", "4")
    error = capsys.readouterr().err
    assert error.count("nothing is kept") == 1
    assert "SPIKEPROPAMINE_CACHE" in error


def test_conditions_of_a_suite():
    task = task_of(CUES, {})
    found, skipped = conditions_of(task, "mid-episode", ["obs_noise=0.1"], ["off"])
    assert found[0].key == "clean" and len({c.key for c in found}) == len(found)
    reversed_cues = next(c for c in found if c.key == "reversed cues")
    assert (reversed_cues.onset, reversed_cues.split) == (20, "held-out")
    lesioned = [c for c in found if c.lesion == "off"]
    assert [c.intact for c in lesioned] == [c.key for c in found if c.lesion is None]
    assert not skipped
    found, skipped = conditions_of(task_of("CartPole-v1", {}), "noise", [], [])
    left_out = {entry.condition: entry.reason for entry in skipped}
    assert "observation noise 0.5" in {c.key for c in found}
    assert "CartPole-v1" in left_out["action noise 0.5"]
    with pytest.raises(
        ValueError, match="nothing of the suite novel-dynamics applies to Pendulum"
    ):
        conditions_of(task_of("Pendulum-v1", {}), "novel-dynamics", [], [])
    for env in ("EvidenceAccumulation-v0", "KeyValue-v0"):
        with pytest.raises(
            ValueError, match="has neither a time limit nor an argument `trials`"
        ):
            task_of(env, {}, horizon_factor=2)


@pytest.mark.parametrize(
    ("condition", "texts", "name"),
    [
        ('{clean: "obs_noise=0.5"}', [], "clean"),
        ('{n: "obs_noise={severity}"}', [], "n 0.123457"),
        ('{"obs_bias=1": "obs_noise=0.5"}', ["obs_bias=1"], "obs_bias=1"),
    ],
)
def test_two_conditions_of_one_name_are_refused(condition, texts, name, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        f"severities: [0.12345671, 0.12345672]\ntrain: {condition}\n"
        'held-out: {shift: "obs_bias=0.7"}\n'
    )
    with pytest.raises(ValueError, match=f"would both be called '{name}'"):
        conditions_of(task_of("CartPole-v1", {}), str(file), texts, [])


def test_a_limit_of_trials_is_multiplied_too():
    limited = {"told": 0.5, "max_episode_steps": 16, "trials": 4, "cue_length": 2,
               "feedback_length": 2, "settle_length": 0}  # fmt: skip
    task = task_of("HalfCheetahCue-v0", limited, horizon_factor=3)
    assert task.horizon == 48 and task.arguments["trials"] == 12
    env = make(task.environment, task.arguments)
    env.reset(seed=0)
    steps = 0
    done = False
    while not done:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        done = terminated or truncated
        steps = steps + 1
    assert steps == task.horizon


def test_chosen_conditions_come_with_what_they_are_compared_with():
    found, _ = conditions_of(
        task_of(CUES, {}), "standard", ["obs_noise=0.1"], ["off", "frozen"]
    )
    lesioned = [
        "noise-0.2 [off]",
        "noise-0.2 [frozen]",
        "plasticity-off",
        "clean [frozen]",
    ]
    of = {
        "noise-0.2": ["noise-0.2", *lesioned],
        "noise-0.1 [off]": ["noise-0.1", "plasticity-off"],
    }
    for name, others in of.items():
        assert {c.key for c in choose(found, [name])} == {"clean", name, *others}
    assert {
        c.key for c in choose(found, ["clean", "obs_noise=0.1"]) if c.lesion is None
    } == {
        "clean",
        "obs_noise=0.1",
    }
    assert (
        len(choose(found, ["noise"])) == 3 + 2 + 2 + 2
    )  # two levels, all of it lesioned twice
    with pytest.raises(ValueError, match=r"did you mean 'noise-0\.1'"):
        choose(found, ["noise-0.11"])


def test_a_model_of_a_script_of_ones_own_is_a_run(tmp_path, capsys):
    env = make_vec_env(
        lambda: PreviousActionAndReward(
            Perturbed(gym.make("HalfCheetah-v5", max_episode_steps=20), "mass=1.5")
        ),
        n_envs=2,
    )
    model = PlasticPPO(
        "PlasticSpikingPolicy", VecNormalize(env), n_steps=8, batch_size=8, seed=3,
        policy_kwargs={"network": {"hidden": (8,), "plastic": (True,),
                                   "recurrent": (False,),
                                   "rule": "oja", "modulation": "direct"}},
    )  # fmt: skip
    model.learn(16)
    run = save_run_of(tmp_path / "mine", model)
    settings = load_policy(str(run / "policy")).metadata["settings"]
    assert (
        settings["policy"] == "ndp-oja"
        and settings["seed"] == 3
        and settings["previous"]
    )
    assert settings["perturb"] == "mass=1.5"
    assert settings["env_kwargs"] == {"max_episode_steps": 20}
    assert (
        command_line(run, "--conditions", "clean", "--episodes", "2", "--workers", "1")
        == 0
    )
    assert "ndp-oja" in capsys.readouterr().out
    with pytest.raises(ValueError, match="evaluations of another policy"):
        save_run_of(run, model)
    save_run_of(run, model, overwrite=True)
    assert [path.name for path in run.iterdir()] == ["policy"]


def test_a_model_whose_task_cannot_be_made_again_is_refused(tmp_path):
    wrapped = make_vec_env(
        lambda: gym.wrappers.RescaleAction(gym.make("Pendulum-v1"), -1.0, 1.0)
    )
    with pytest.raises(ValueError, match="wrapped in RescaleAction"):
        save_run_of(tmp_path, PPO("MlpPolicy", wrapped, n_steps=8, batch_size=8))
    unlike = DummyVecEnv(
        [lambda g=g: gym.make("Pendulum-v1", g=g) for g in (10.0, 1.0)]
    )
    stacked = VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 2)
    own = DummyVecEnv([gym.envs.classic_control.PendulumEnv])
    for venv, message in (
        (unlike, "not alike"), (stacked, "VecFrameStack"), (own, "not registered"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            save_run_of(tmp_path, PPO("MlpPolicy", venv, n_steps=8, batch_size=8))
    shifted = make_vec_env(
        lambda: gym.wrappers.TransformObservation(
            gym.make("Pendulum-v1"), lambda x: x + 1, None
        ),
        n_envs=2,
    )
    with pytest.raises(ValueError, match="wrapped in TransformObservation"):
        save_run_of(tmp_path, PPO("MlpPolicy", shifted, n_steps=8, batch_size=8))
    twice = VecNormalize(VecNormalize(make_vec_env("Pendulum-v1")))
    with pytest.raises(ValueError, match="in 2 VecNormalize, one in the other"):
        save_run_of(tmp_path, PPO("MlpPolicy", twice, n_steps=8, batch_size=8))
    told = PlasticSAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"told": 1})
    with pytest.raises(ValueError, match="told"):
        save_run_of(tmp_path, told)
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8)
    with pytest.raises(ValueError, match="'my model' is not the name of a policy"):
        save_run_of(tmp_path, model, "my model")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="a training of"):
        save_run_of(tmp_path, model)


def test_what_make_makes_is_saved_with_its_perturbation(tmp_path):
    venv = make_vec_env(
        lambda: make("CueAssociation-v0", {"cues": 3}, "obs_noise=0.1", True)
    )
    run = save_run_of(
        tmp_path / "mine", PPO("MlpPolicy", venv, n_steps=8, batch_size=8)
    )
    settings = load_policy(run / "policy").metadata["settings"]
    assert settings["env_kwargs"] == {"cues": 3}
    assert settings["perturb"] == "obs_noise=0.1" and settings["previous"]


def test_a_run_of_a_script_takes_its_normalisation_along(tmp_path):
    venv = VecNormalize(make_vec_env("Pendulum-v1", 2))
    model = PlasticPPO(
        "PlasticSpikingPolicy", venv, n_steps=8, batch_size=8, seed=3
    ).learn(16)
    found = load_policy(save_run_of(tmp_path / "mine", model) / "policy").normalisation
    np.testing.assert_array_equal(found.statistics[""][0], venv.obs_rms.mean)


def test_a_teacher_that_acts_in_another_space_is_refused_first(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "mlp")
    env = make(CUES)
    env.close()
    four = spaces.Discrete(4)
    policy = ActorCriticPolicy(env.observation_space, four, lambda _: 0.0)
    settings = {"env": CUES, "policy": "mlp", "seed": 0, "n_envs": 1, "env_kwargs": {}}
    teacher = tmp_path / "teacher"
    metadata = {"settings": settings, "steps": 1}
    save_policy(teacher / "policy", policy, metadata=metadata)
    arguments = ["--perturb", "sensor_signs=seen", "--teacher", teacher]
    assert command_line(run, *arguments, "--out", tmp_path / "out") == 2
    assert "acts in Discrete(4)" in capsys.readouterr().err
