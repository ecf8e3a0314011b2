"""Which runs are evaluated together and by what name, and what stays of earlier results."""

import gymnasium as gym
from saved_runs import ARGUMENTS, CUES, command_line, measured, save_run

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.ask.task import task_of
from spikepropamine.evaluation.command import folder_name, parse
from spikepropamine.export import write_cards
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.progress_csv import RETURN, read_curve


def test_variants_of_a_policy_have_names_of_their_own(tmp_path, capsys):
    first, second = (save_run(tmp_path / name, CUES, "mlp") for name in ("one", "other"))
    arguments = ["--conditions", "clean", "--episodes", "4", "--out", tmp_path / "out"]
    assert command_line(first, second, *arguments) == 2
    assert f"a name of its own: other={second}" in capsys.readouterr().err
    assert list(measured(first, f"other={second}", *arguments).policies) == ["mlp", "other"]
    assert command_line(f"a={first}", f"b={first}", *arguments) == 2
    assert "has two names, a and b" in capsys.readouterr().err
    assert command_line(tmp_path / "*/*/*/seed-0", *arguments) == 2  # not every shell expands it
    assert "are both mlp with seed 0" in capsys.readouterr().err
    assert command_line("runs/lr=0.1", *arguments) == 2
    assert "'runs/lr=0.1' is neither a run folder" in capsys.readouterr().err


def test_a_card_knows_a_run_by_its_folder(tmp_path):
    run = save_run(tmp_path, CUES, "snn")
    assert command_line(f"mine={run}", "--conditions", "clean", "--episodes", "1") == 0
    assert write_cards.main([str(run)]) == 0
    assert "# snn on CueAssociation-v0" in (run / "README.md").read_text()


def test_seeds_of_a_policy_were_trained_in_the_same_way(tmp_path, capsys):
    runs = [save_run(tmp_path, CUES, "ndp-oja", seed) for seed in (0, 1)]
    for run, rate in zip(runs, (1e-3, 1e-5)):
        loaded = load_policy(run / "policy")
        settings = loaded.metadata["settings"] | {"trainer": {"learning_rate": rate}}
        save_policy(run / "policy", loaded.policy, metadata={"settings": settings, "steps": 123})
    assert command_line(*runs, "--conditions", "clean", "--episodes", "4") == 2
    assert "differ in --trainer.learning-rate (0.001, 1e-05)" in capsys.readouterr().err


def test_the_order_of_arguments_makes_no_other_task(tmp_path):
    runs = [save_run(tmp_path, CUES, "snn", seed) for seed in (0, 1)]
    for run, kwargs in zip(runs, ({"cues": 2, "trials": 10}, {"trials": 10, "cues": 2})):
        loaded = load_policy(run / "policy")
        settings = loaded.metadata["settings"] | {"env_kwargs": kwargs}
        save_policy(run / "policy", loaded.policy, metadata={"settings": settings, "steps": 123})
    out = ["--out", tmp_path / "out"]
    assert measured(*runs, "--conditions", "clean", "--episodes", "2", *out).policies


def test_a_run_opens_no_window(tmp_path, monkeypatch):
    monkeypatch.setitem(ARGUMENTS, CUES, {"render_mode": "human", "trials": 4})
    (run,), task = load_runs([save_run(tmp_path, CUES, "mlp")], range(10**6, 10**6 + 1))
    assert "render_mode" not in task.arguments and run.arguments == {"trials": 4}


def test_results_are_replaced_where_that_is_asked(tmp_path, capsys):
    run = save_run(tmp_path, CUES, "snn")
    few = ["--conditions", "clean", "--episodes", "2"]
    assert command_line(run, *few, overwrite=False) == 0
    assert command_line(run, *few, overwrite=False) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command_line(run, *few) == 0
    assert command_line(run, *few, "--perturb", "novel-dynamics") == 2
    assert "novel-dynamics is a suite: --suite novel-dynamics" in capsys.readouterr().err


def test_what_is_measured_in_another_way_has_a_folder_of_its_own():
    long = " | ".join(f"obs_noise=0.{k}" for k in range(1, 10))
    asked = [[], ["--quick"], ["--stochastic"], ["--horizon-factor", "2"], ["--suite", "noise"]]
    texts = ("obs_noise=0.1@3", "obs_noise=0.1 | none", long, f"{long} | none")
    asked += [["--perturb", text] for text in texts]
    names = [folder_name(parse(["RUN", *options], "evaluate")) for options in asked]
    assert names[:4] == ["standard", "standard-quick", "standard-stochastic", "standard-x2"]
    assert names[5:7] == ["perturb-obs_noise=0.1@3", "perturb-obs_noise=0.1_none"]
    assert len(set(names)) == len(names) and max(map(len, names)) == 108


def test_returns_that_are_no_numbers_do_not_count(tmp_path):
    rows = ["3,10", "nan,20", "inf,30", ",40", "1,50", "torn,a,60", "9", "9,no", "9,70"]
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
    assert foreign.read_text() == "mine" and (tmp_path / "mine" / "report.html").exists()


def test_an_evaluation_does_without_a_place_to_keep_its_parts(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPIKEPROPAMINE_CACHE", str(tmp_path / "file" / "below"))
    run = save_run(tmp_path, CUES, "snn")
    measured(run, "--conditions", "clean", "--episodes", "4")
    error = capsys.readouterr().err
    assert error.count("nothing is kept for the next time") == 1
    assert "SPIKEPROPAMINE_CACHE" in error


def test_an_interval_of_a_return_ends_where_the_task_does(tmp_path):
    run = save_run(tmp_path, CUES, "snn")
    found = measured(run, "--conditions", "clean", "--episodes", "3", "--horizon-factor", "2")
    trials = 2 * gym.make(CUES, **ARGUMENTS.get(CUES, {})).unwrapped.trials
    low, high = found.returns("snn").interval
    assert -trials <= low < high <= trials
    assert task_of(CUES, ARGUMENTS.get(CUES, {}), 2).return_range == (-trials, trials)
