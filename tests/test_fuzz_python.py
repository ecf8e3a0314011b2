"""Wrong input by the thousand, from Python: settings, observations, what environments
give to each algorithm, and code that changes in a running process.

As in `test_fuzz`: one line that says what is wrong, or a right result. A few of each by
default; `make fuzz` takes many.
"""

import importlib
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import RandomEnv
from hypothesis import given
from hypothesis import strategies as st
from saved_runs import measured, save_run
from test_fuzz import judge, plain, reached, scalars, tries

import spikepropamine as sp
from spikepropamine.common import UsageError, one_line
from spikepropamine.options import flat
from spikepropamine.policies.export import load_policy
from spikepropamine.training import run as training
from spikepropamine.training.settings import Settings

KINDS = ("ppo", "sac", "tqc", "evolution")
NAMES = sorted(flat(Settings("env", "policy").as_dict()))
POLICIES = ("ndp-oja", "snn", "lstm", "gru", "mlp")


def called(function):
    """Calls it; what is for people becomes a ValueError of one line."""
    try:
        function()
    except UsageError as error:
        raise ValueError(one_line(error)) from error
    return 0


def nested(values):
    """Settings by dotted name, as Python has them."""
    settings = {}
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if dot:
            settings.setdefault(outer, {})[inner] = value
        else:
            settings[name] = value
    return settings


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKEPROPAMINE_CACHE", str(tmp_path / "cache"))
    return tmp_path


settings_of_train = st.dictionaries(
    st.sampled_from([name for name in NAMES if name not in ("env", "policy")]),
    scalars | st.lists(scalars, max_size=3) | plain,
    max_size=3,
).map(nested)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_a_training(elsewhere, monkeypatch, kind):
    monkeypatch.setattr(training, "train", reached)

    @tries(20)
    @given(st.sampled_from(POLICIES), settings_of_train)
    def check(policy, settings):
        trainer = settings.get("trainer")
        if trainer is None or isinstance(trainer, dict):
            settings = settings | {"trainer": {"kind": kind} | (trainer or {})}

        def train():
            sp.train("Pendulum-v1", policy, **settings)

        judge(f"train with {kind}", (policy, settings), lambda: called(train))

    check()
    assert not [file for file in elsewhere.rglob("*") if file.is_file()]


def test_options_of_an_evaluation(elsewhere, monkeypatch):
    monkeypatch.setattr("spikepropamine.evaluation.command.measure", reached)
    run = save_run(elsewhere, "Pendulum-v1", "ndp-oja")
    names = ["suite", "perturb", "lesions", "conditions", "episodes", "quick", "seed",
             "horizon_factor", "stochastic", "workers", "out", "nothing"]  # fmt: skip

    @tries(40)
    @given(st.dictionaries(st.sampled_from(names), scalars | plain, max_size=3))
    def check(options):
        def evaluate():
            sp.evaluate(run, **options)

        judge("evaluate", options, lambda: called(evaluate))

    check()


SHAPES = [(), (0,), (1,), (24,), (25,), (1, 24), (2, 24), (0, 24), (24, 1)]
arrays = st.tuples(
    st.sampled_from(SHAPES),
    st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "O"]),
    st.sampled_from([0, 1, np.nan, np.inf, 1e300]),
)


def array_of(part):
    shape, kind, value = part
    with np.errstate(all="ignore"):
        try:
            return np.full(shape, value, np.float64).astype(kind)
        except (ValueError, OverflowError):
            return np.full(shape, 1, kind)


observations = (
    arrays.map(array_of) | plain | arrays.map(lambda part: {"a": array_of(part)})
)


@pytest.mark.parametrize("policy", ["ndp-oja", "snn"])
def test_observations_that_a_policy_gets(policy):
    loaded = sp.load(f"spikes/CueAssociation-v0/{policy}")
    actions = loaded.action_space

    @tries(40)
    @given(observations, st.booleans())
    def check(observation, deterministic):
        def act():
            loaded.reset()
            action = loaded.act(observation, deterministic)
            assert actions.contains(action), action

        def predict():
            action, state = loaded.predict(observation, deterministic=deterministic)
            assert all(map(actions.contains, np.atleast_1d(action))), action
            assert all(np.isfinite(part).all() for part in state or ())

        judge("act", observation, lambda: called(act))
        judge("predict", observation, lambda: called(predict))

    check()


GIVEN: dict[str, object] = {}
"""What the environment gives instead: by place, at one step."""


class Fuzzed(RandomEnv):
    """Gives what `GIVEN` has, at its sixth step."""

    def __init__(self, render_mode=None):
        super().__init__("box", "box", length=8)

    def step(self, action):
        answer = list(super().step(action))
        if self.clock == 6:
            for place, value in GIVEN.items():
                answer[int(place)] = value
        return tuple(answer)


SIZES = {
    "ppo": ["--steps", "32", "--trainer.n-steps", "16", "--trainer.batch-size", "16"],
    "sac": ["--steps", "32", "--trainer.learning-starts", "8", "--trainer.batch-size",
            "8", "--trainer.train-freq", "8", "--trainer.gradient-steps", "1",
            "--trainer.sequence-length", "4"],
    "evolution": ["--steps", "48", "--trainer.population", "4"],
}  # fmt: skip
SIZES["tqc"] = SIZES["sac"]
infos = st.dictionaries(
    st.sampled_from(["trial", "correct", "is_success", "context_began", "feedback",
                     "episode", "target", "context", "x"]),
    plain, max_size=2,
)  # fmt: skip
answers = st.dictionaries(
    st.sampled_from("0123"), plain | arrays.map(array_of), max_size=2
) | infos.map(lambda info: {"4": info})


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_environment_gives_whichever_algorithm_learns(elsewhere, kind):
    gym.register("Fuzzed-v0", entry_point=Fuzzed, max_episode_steps=8)
    words = ["--env", "Fuzzed-v0", "--policy", "mlp", "--n-envs", "1", "--overwrite",
             "--console", "none", "--network.hidden", "4", *SIZES[kind],
             "--trainer.kind", kind]  # fmt: skip

    @tries(3)
    @given(answers)
    def check(given_instead):
        GIVEN.clear()
        GIVEN.update(given_instead)
        run = Path("runs") / "Fuzzed-v0" / "mlp" / "seed-0"
        judge(kind, given_instead, lambda: training.main(words, "train"))
        if (run / "policy").is_dir():
            load_policy(run / "policy")  # which checks that all numbers are finite

    try:
        check()
    finally:
        GIVEN.clear()
        del gym.registry["Fuzzed-v0"]


MODULE = """
import gymnasium

REWARD = {reward}

class Changing(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low.copy(), {{}}

    def step(self, action):
        return self.observation_space.low.copy(), REWARD, False, False, {{}}
"""
changes = st.lists(
    st.tuples(st.sampled_from(["reload", "set", "nothing"]), st.integers(-3, 3)),
    min_size=2,
    max_size=3,
)


def test_code_that_changes_in_a_running_process(elsewhere, monkeypatch):
    """No evaluation gives numbers of code as it was before."""
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = elsewhere / "changing_task.py"
    file.write_text(MODULE.format(reward=0.0))
    module = importlib.import_module("changing_task")

    gym.register("Changing-v0", entry_point="changing_task:Changing",
                 max_episode_steps=5)  # fmt: skip
    run = save_run(elsewhere, "Changing-v0", "mlp")

    @tries(2)
    @given(changes)
    def check(steps):
        right = module.REWARD
        for what, number in steps:
            if what == "reload":
                right = float(number)
                file.write_text(MODULE.format(reward=right))
                importlib.invalidate_caches()
                importlib.reload(module)
            elif what == "set":
                right = module.REWARD = float(number)
            results = measured(run, "--episodes", "1", "--conditions", "clean",
                               "--workers", "1")  # fmt: skip
            assert results.returns("mlp").mean == 5 * right, steps

    try:
        check()
    finally:
        del gym.registry["Changing-v0"], sys.modules["changing_task"]
