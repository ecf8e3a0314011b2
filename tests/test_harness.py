"""The whole evaluation: programmed answers, nothing measured twice, the same on any
cores.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from saved_runs import CUES, command_line, measured, save_run
from stable_baselines3.common.policies import ActorCriticPolicy

from spikepropamine.evaluation.ask.conditions import (
    conditions_of,
    make_env,
    severest,
    task_of,
)
from spikepropamine.evaluation.run import cache, code, work
from spikepropamine.evaluation.run.episodes import Episode, waves
from spikepropamine.evaluation.run.work import joined
from spikepropamine.folder import RESULTS
from spikepropamine.policies.export import _digest, save_policy
from spikepropamine.report.evaluation import EvaluationResults

PROGRAMMED = "Programmed-v0"


class Programmed(gym.Env):
    """Pays 1 for the action 1; once another one was taken, 0.2 for 60 steps, and 0.8
    from then on.

    A policy that always acts 1 and whose action is changed at step 200 of 400 so earns
    what a policy earns that drops and recovers.
    """

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.since = None
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if self.since is not None:
            self.since += 1
        elif action[0] != 1:
            self.since = 0
        reward = 1.0 if self.since is None else 0.2 if self.since < 60 else 0.8
        return np.zeros(2, np.float32), reward, False, False, {}


@pytest.fixture(autouse=True)
def programmed_task():
    gym.register(PROGRAMMED, entry_point=Programmed, max_episode_steps=400)
    yield
    del gym.registry[PROGRAMMED]


def save_programmed(folder: Path, seed: int = 0, action: float = 1.0) -> Path:
    """A policy that always takes one action."""
    policy = ActorCriticPolicy(
        Programmed.observation_space,
        Programmed.action_space,
        lambda _: 0.0,
        net_arch=[],
    )
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.fill_(action)
    settings = {
        "env": PROGRAMMED,
        "policy": "mlp",
        "seed": seed,
        "n_envs": 1,
        "env_kwargs": {},
    }
    run = folder / f"seed-{seed}"
    save_policy(run / "policy", policy, metadata={"settings": settings, "steps": 1})
    return run


def evaluated(out: Path, *arguments) -> EvaluationResults:
    return measured(*arguments, "--out", out)


def test_programmed_drop_and_recovery(tmp_path):
    runs = [save_programmed(tmp_path, seed) for seed in (0, 1)]
    late = "action_flip~1@200"
    early = "action_flip~1"
    found = evaluated(tmp_path / "out", *runs, "--perturb", late, early,
                      "--episodes", 6)  # fmt: skip
    assert found.description.window == 20 and found.description.horizon == 400
    random = 60 * 0.2 + 340 * 0.8  # from the first step on
    for measure in ("random_return", "still_return"):
        assert found.estimate("mlp", None, measure).by_run == pytest.approx(
            [random] * 2
        )
    assert found.learned("mlp") == [True, True]
    assert found.returns("mlp").mean == 400 and found.returns("mlp").interval is None
    assert found.returns("mlp", late).mean == pytest.approx(200 + 60 * 0.2 + 140 * 0.8)
    assert found.retention("mlp", [late]).mean == pytest.approx(
        (324 - 284) / (400 - 284)
    )
    assert found.retention("mlp", [early]).mean == pytest.approx(0, abs=1e-9)
    change = found.change("mlp", late)
    recovery = {name: score.mean for name, score in change._asdict().items()}
    # the first window with 18 of its 20 steps on the plateau ends 18 steps after the
    # rise
    expected = {
        "reward_before": 1.0,
        "drop": 0.8,
        "missing_at_end": 0.2,
        "fraction": 0.75,
    }
    assert recovery == pytest.approx(expected | {"recovery_time": 78}, abs=1e-6)
    steps, scores = zip(*found.curve("mlp", late, "reward"))
    rates = [score.by_run[0] for score in scores]
    assert rates[0] == 1 and rates[-1] == pytest.approx(0.8, abs=1e-6)
    assert steps[0] == 20 and steps[-1] == 400 and len(steps) <= 100
    at = next(index for index, step in enumerate(steps) if step >= 240)
    assert rates[at] == pytest.approx(0.2, abs=1e-6)
    assert found.change("mlp", early) is None
    assert found.overall("mlp").mean == pytest.approx((324 - 284) / (400 - 284) / 2)


def test_who_earns_no_more_than_standing_still_has_learned_nothing_and_keeps_nothing(
    tmp_path,
):
    runs = [
        save_programmed(tmp_path, seed, action)
        for seed, action in enumerate((1.0, 0.0, -1.0))
    ]
    late = "action_flip~1@200"
    found = evaluated(tmp_path / "out", *runs, "--perturb", late, "--episodes", 6)
    assert found.learned("mlp") == [True, False, False]
    kept = found.retention("mlp", [late])
    assert (
        kept.by_run == (pytest.approx(40 / 116), None, None) and kept.interval is None
    )
    found = evaluated(tmp_path / "out", runs[0], "--perturb", late, "--episodes", 1)
    assert found.learned("mlp") == [None] and found.returns("mlp").interval is None


def test_nothing_is_measured_twice(tmp_path, monkeypatch):
    run = save_programmed(tmp_path)
    ran = []

    def counting(job):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(job)
        return actual(job)

    actual = work.run_job
    arguments = [
        run,
        "--perturb",
        "action_flip~1@200",
        "--episodes",
        70,
        "--out",
        tmp_path / "out",
    ]
    monkeypatch.setattr(work, "run_job", counting)
    assert command_line(*arguments) == 130  # two waves of four parts
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*.part"))
    again = []
    monkeypatch.setattr(work, "run_job", lambda job: again.append(job) or actual(job))
    first = measured(*arguments).frame
    assert len(ran) + len(again) == 8 and not [job for job in again if job in ran]
    assert measured(*arguments).frame.equals(first) and len(again) == 5
    # what is damaged, and another policy, are measured anew
    for path in cache.folder().iterdir():
        path.write_bytes(b"half")
    measured(*arguments)
    assert len(again) == 5 + 8
    save_programmed(tmp_path, action=0.5)
    measured(run, "--conditions", "clean", "--episodes", 70, "--out", tmp_path / "out")
    assert len(again) == 5 + 8 + 2


def test_what_the_users_own_code_does_is_in_the_name_of_what_is_kept(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for helper in ("SCALE = 1", "SCALE = 2"):
        (tmp_path / "own_task.py").write_text("import own_helpers.physics\n")
        (tmp_path / "own_helpers").mkdir(exist_ok=True)
        (tmp_path / "own_helpers" / "physics.py").write_text(f"{helper}\n")
        importlib.invalidate_caches()
        importlib.import_module("own_task")
        found.append(code.digest_of_code("HalfCheetah-v5"))
        for name in ("own_task", "own_helpers", "own_helpers.physics"):
            monkeypatch.delitem(sys.modules, name)
    assert found[0] != found[1]


def test_measurements_that_come_with_a_run_are_not_believed(tmp_path, monkeypatch):
    run = save_programmed(tmp_path)
    evaluated(tmp_path / "first", run, "--quick", "--conditions", "clean")
    for file in cache.folder().iterdir():
        forged = cache.read_outcome(file) | {"return": np.full(5, 1024.0)}
        cache.write_outcome(file, forged)
        for place in ("evaluations/cache", "evaluations", "cache"):
            cache.write_outcome(run / place / file.name, forged)
    found = evaluated(tmp_path / "mine", run, "--quick", "--conditions", "clean")
    assert found.returns("mlp").mean == 1024  # a file there would be read
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "of another user"))
    found = evaluated(tmp_path / "another", run, "--quick", "--conditions", "clean")
    assert found.returns("mlp").mean == 400


def test_policies_meet_the_same_environments_with_the_same_numbers(
    tmp_path, monkeypatch
):
    runs = [save_run(tmp_path, "InvertedPendulum-v5", kind) for kind in ("snn", "mlp")]
    made = []

    def counting(task, condition, *rest):
        made.append(condition.text)
        return make_env(task, condition, *rest)

    monkeypatch.setattr(work, "make_env", counting)
    arguments = [
        "--perturb",
        "mass=2",
        "obs_noise=0.1@3",
        "--episodes",
        23,
        "--workers",
        1,
    ]
    evaluated(tmp_path / "together", *runs, *arguments)
    # two waves of each policy; both waves of both baselines have environments of their
    # own
    counts = {text: made.count(text) for text in made}
    assert counts == {"": 20 + 4, "mass=2": 20, "obs_noise=0.1@3": 20}
    assert not work._environments
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "another cache"))
    rows = []
    for run in runs:
        evaluated(tmp_path / run.parent.name, run, *arguments)
        rows += (tmp_path / run.parent.name / RESULTS).read_text().splitlines()[1:]
    together = (tmp_path / "together" / RESULTS).read_text().splitlines()[1:]
    assert sorted(together) == sorted(rows)


def test_a_quick_evaluation_has_few_episodes_of_the_severest_conditions(tmp_path):
    run = save_programmed(tmp_path)
    found = evaluated(tmp_path / "out", run, "--quick", "--suite", "noise")
    assert found.values("mlp", "clean", "return").shape == (1, 5, 1)
    severities = {key: c.severity for key, c in found.conditions.items()}
    assert len(severities) > 2 and set(severities.values()) == {None, 1.0}
    standard, _ = conditions_of(task_of(CUES, {}), "standard", [], ["off"])
    assert [(c.key, c.lesion) for c in severest(standard)] == [
        ("clean", None), ("noise-0.2", None), ("plasticity-off", "off"),
        ("noise-0.2 [off]", "off"),
    ]  # fmt: skip


def test_outcomes_survive_the_way_through_files(tmp_path):
    outcome = {name: np.array([1]) for name in ("seed", "length", "rewards", "began")}
    outcome |= {
        "return": np.array([0.1, 1 / 3]),
        "correct": np.array([[1, np.nan]], np.float32),
    }
    file = tmp_path / "deep" / "x.safetensors"
    cache.write_outcome(file, outcome)
    back = cache.read_outcome(file)
    assert all(np.array_equal(back[k], outcome[k], equal_nan=True) for k in outcome)
    assert cache.read_outcome(tmp_path / "nothing.safetensors") is None
    cache.write_outcome(file, {"return": outcome["return"]})  # a member is missing
    assert cache.read_outcome(file) is None


def test_waves_and_how_they_are_joined():
    assert waves(range(48, 52), 50) == [(48, 49), (50, 51)]
    one = {"seed": np.array([1]), "rewards": np.ones((1, 2)),
           "correct": np.ones((1, 1)),
           "inside/count": np.array([1, 1])}  # fmt: skip
    two = {"seed": np.array([2]), "rewards": np.ones((1, 3)),
           "correct": np.ones((1, 2)),
           "inside/count": np.array([1, 1, 1])}  # fmt: skip
    both = joined([one, two])
    assert both["seed"].tolist() == [1, 2] and both["rewards"].tolist() == [
        [1, 1, 0],
        [1, 1, 1],
    ]
    np.testing.assert_array_equal(both["correct"], [[1, np.nan], [1, 1]])
    assert both["inside/count"].tolist() == [2, 2, 1]
    # nothing changes in the episodes of one wave
    steps = [
        work._outcome([Episode(0, 1.0, 1, rewards=(1.0,), began=began)])
        for began in ((0, 2), ())
    ]
    assert joined(steps)["began"].tolist() == [[0, 2], [-1, -1]]


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(tmp_path, monkeypatch):
    """Bit for bit."""
    runs = [save_run(tmp_path, CUES, "ndp-oja", seed) for seed in (0, 1)]
    found = []
    asked = [*runs, "--episodes", 400, "--lesions", "modulator-shuffled", "carry-over"]
    for count in (1, 2):
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path / f"cache {count}"))
        found.append(measured(*asked, "--workers", count).frame)
    assert found[0].equals(found[1])


CHANGING = """
import gymnasium as gym
import numpy as np

PAID = {paid}


class Paying(gym.Env):
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))
    scale = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {{}}

    def step(self, action):
        return np.zeros(2, np.float32), PAID * self.scale, False, False, {{}}
"""


@pytest.fixture
def paying(tmp_path, monkeypatch):
    """A module of the user's with an environment that pays 1 a step, for 20 steps."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "paying_task.py"
    file.write_text(CHANGING.format(paid=1.0))
    importlib.invalidate_caches()
    monkeypatch.setitem(gym.registry, "Paying-v0", gym.envs.registration.EnvSpec(
        "Paying-v0", "paying_task:Paying", max_episode_steps=20))  # fmt: skip
    module = importlib.import_module("paying_task")
    yield module, file
    del sys.modules["paying_task"]


def test_an_environment_whose_code_changes_in_a_running_process_is_run_anew(
    tmp_path, paying
):
    module, file = paying
    run = save_programmed(tmp_path)
    loaded = json.loads((run / "policy" / "policy.json").read_text())
    loaded["metadata"]["settings"]["env"] = "Paying-v0"
    loaded.pop("digest")
    text = json.dumps(loaded | {"digest": _digest(loaded)})
    (run / "policy" / "policy.json").write_text(text)

    def earned():
        few = ["--conditions", "clean", "--episodes", 2, "--workers", 1]
        return evaluated(tmp_path / "out", run, *few).returns("mlp").mean

    assert earned() == 20
    module.PAID = 2.0  # a value of its module
    assert earned() == 40
    module.Paying.scale = 0.5  # a value of its class
    assert earned() == 20
    file.write_text(CHANGING.format(paid=5.0))
    os.utime(file, (1, 1))  # so that its compiled code is not taken for this one
    importlib.reload(module)
    assert earned() == 100


def test_other_processes_are_not_asked_for_what_was_changed_in_this_one(paying):
    module, _ = paying
    before = code.digests_of_modules("Paying-v0")
    assert before == code.digests_of_modules("Paying-v0")
    module.Paying.step = lambda self, action: None
    module.Paying.step.__module__ = module.__name__
    after = code.digests_of_modules("Paying-v0")
    changed = [name for name in after if after[name] != before.get(name)]
    assert changed == ["paying_task"]


def test_what_cannot_be_filmed_is_said_before_anything_is_run(
    tmp_path, monkeypatch, capsys
):
    run = save_programmed(tmp_path)
    said = []
    actual = work.run_job

    def running(job):
        said.append(capsys.readouterr().err)
        return actual(job)

    monkeypatch.setattr(work, "run_job", running)
    few = ["--conditions", "clean", "--episodes", 1, "--workers", 1, "--video"]
    assert command_line(run, *few, "--out", tmp_path / "out") == 1
    assert "no video: Programmed-v0 has no render mode rgb_array" in said[0]
