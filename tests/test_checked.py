"""What environments give and raise: named, in one line, wherever they are stepped."""

import re
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from conftest import OBSERVATIONS, RandomEnv
from gymnasium.wrappers import TransformReward
from saved_runs import save_run
from stable_baselines3.common.vec_env import DummyVecEnv

from spikepropamine.agents.evolution import Evolution
from spikepropamine.common import UsageError
from spikepropamine.envs.checked import Checked, EnvironmentFailed
from spikepropamine.envs.making import make
from spikepropamine.envs.shown import hidden_numbers
from spikepropamine.export import enjoy
from spikepropamine.report import evaluate


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def raising(error):
    def answer(_):
        raise error

    return answer


def informed(**info):
    return lambda good: (*good[:4], info)


ANSWERS = {
    "an error of its own": (
        raising(AttributeError("no x")),
        "AttributeError: no x [(].*, line ",
    ),
    "the learner's word": (
        raising(ValueError("a constraint")),
        "ValueError: a constraint [(]",
    ),
    "a pipe": (raising(BrokenPipeError("gone")), "BrokenPipeError: gone"),
    "an end": (raising(SystemExit(3)), "SystemExit: 3"),
    "nothing": (lambda good: None, "TypeError: cannot unpack"),
    "too little": (lambda good: good[:4], "ValueError: not enough values"),
    "no observation": (lambda good: (None, *good[1:]), r"the shape \(\), and should"),
    "another shape": (
        lambda good: (np.zeros(4), *good[1:]),
        r"the shape \(4,\), and should",
    ),
    "texts": (lambda good: (np.array(["a"] * 3), *good[1:]), "should be numbers"),
    "no reward": (lambda good: (good[0], None, *good[2:]), "its reward is None, and"),
    "a reward in words": (
        lambda good: (good[0], "much", *good[2:]),
        "its reward is 'much', and",
    ),
    "a number as a text": (
        lambda good: (good[0], "1.0", *good[2:]),
        "its reward is '1.0', and",
    ),
    "two rewards": (
        lambda good: (good[0], np.ones(2), *good[2:]),
        "its reward is array",
    ),
    "a complex reward": (
        lambda good: (good[0], 1j, *good[2:]),
        "its reward is 1j, and",
    ),
    "an endless reward": (
        lambda good: (good[0], np.inf, *good[2:]),
        "its reward is inf, and",
    ),
    "no end": (
        lambda good: (*good[:2], None, *good[3:]),
        "its terminated is None, and",
    ),
    "an end in words": (
        lambda good: (*good[:2], "False", *good[3:]),
        "terminated is 'False', and",
    ),
    "an end that is no number": (
        lambda good: (*good[:3], np.nan, good[4]),
        "truncated is nan, and",
    ),
    "an end of two": (
        lambda good: (*good[:2], 2, *good[3:]),
        "its terminated is 2, and",
    ),
    "no info": (lambda good: (*good[:4], None), "its info is None"),
    "a trial in words": (
        informed(correct=True, trial="x"),
        "has trial 'x', which should be a whole",
    ),
    "a trial before the first": (informed(trial=-1), "trial -1, which"),
    "a wrong answer": (
        informed(correct="x", trial=0),
        "correct 'x', which should be true or false",
    ),
    "half an answer": (informed(correct=0.5), "correct 0.5, which"),
    "a context of no step": (informed(context_began="x"), "context_began 'x', which"),
    "a success in words": (informed(is_success="x"), "is_success 'x', which"),
    "no feedback": (informed(feedback=np.nan), "feedback nan, which"),
    "speechless": (raising(Speechless()), "step: Speechless [(]"),
}
RIGHT = {
    "NumPy's": ((np.float32(2), np.bool_(True), np.bool_(False)), (2.0, True, False)),
    "integers": ((2, 0, 1), (2.0, False, True)),
    "arrays": ((np.array([2.0]), np.array(True), np.array([0])), (2.0, True, False)),
}


class Misbehaving(RandomEnv):
    """Answers as `ANSWERS` has it at its fourth step, or with a number that is not
    finite.
    """

    def __init__(self, answer="", value=None, render_mode=None, action="box"):
        super().__init__("box", action, length=10)
        self.answer = answer
        self.value = value

    def step(self, action):
        good = super().step(action)
        good[-1]["target"] = np.int64(0)  # which supervised learning needs
        if self.clock == 4 and self.answer:
            return ANSWERS[self.answer][0](good)
        if self.clock == 4 and self.value is not None:
            good[0][1] = self.value
        return good


@pytest.fixture(autouse=True)
def registered():
    gym.register("Misbehaving-v0", entry_point=Misbehaving)
    yield
    del gym.registry["Misbehaving-v0"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_it_does_is_named_in_one_line(answer):
    env = make("Misbehaving-v0", {"answer": answer})
    env.reset(seed=0)
    with pytest.raises(
        EnvironmentFailed, match="Misbehaving-v0 failed in step: "
    ) as caught:
        for _ in range(4):
            env.step(env.action_space.sample())
    said = str(caught.value)
    assert (
        re.search(ANSWERS[answer][1], said)
        and "\n" not in said
        and env.unwrapped.clock == 4
    )


TRAIN = ["--env", "Misbehaving-v0", "--policy", "mlp", "--n-envs", "1", "--steps", "32",
         "--trainer.n-steps", "16", "--trainer.batch-size", "16"]  # fmt: skip


@pytest.mark.parametrize(
    "answer", ["the learner's word", "a pipe", "another shape", "no reward"]
)
def test_a_training_says_so(run_here, capsys, answer):
    assert run_here(*TRAIN, "--env-kwargs", "answer", repr(answer)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("train.py: error: Misbehaving-v0 failed in step: ")


@pytest.mark.parametrize("kind", ["sac", "supervised", "evolution"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("answer", "a number as a text"), "its reward is '1.0', and should be"),
        (("answer", "an end in words"), "its terminated is 'False', and should be"),
        (("value", "inf"), "its observation[1] is inf, and should be a finite"),
    ],
)
def test_every_way_to_learn_stops_at_it(kind, given, words, run_here, capsys):
    action = "box" if kind == "sac" else "discrete"
    arguments = [*given, "action", action, "max_episode_steps", "10"]
    code = run_here(
        *TRAIN, "--trainer.kind", kind, "--env-kwargs", *arguments,
        "--trainer.population", "2", "--trainer.learning-starts", "10", "--steps", "64",
    )  # fmt: skip
    said = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert said.startswith("train.py: error: Misbehaving-v0 failed in step: ")
    assert words in said


@pytest.mark.parametrize("place", ["an observation", "a reward"])
def test_evolution_checks_environments_of_ones_own(place):
    """Which have not come through `make`."""
    value = np.nan
    observed = value if place == "an observation" else None
    venv = DummyVecEnv([partial(Misbehaving, value=observed)])
    if place == "a reward":
        venv.envs = [TransformReward(venv.envs[0], lambda _: value)]
    policy_kwargs = {"network": {"hidden": (4,)}}
    model = Evolution(
        "PlasticSpikingPolicy", venv, population=2, policy_kwargs=policy_kwargs
    )
    with pytest.raises(ValueError, match="finite number"):
        model.learn(20)


def test_the_traceback_is_there_for_whoever_asks(run_here, capsys, monkeypatch):
    monkeypatch.setattr("spikepropamine.common.Parser.verbose", False)
    assert run_here(*TRAIN, "--env-kwargs", "answer", "a pipe", "--verbose") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and "raise error\nBrokenPipeError: gone" in said


def test_judging_and_watching_say_so(tmp_path, capsys):
    run = save_run(tmp_path, "Misbehaving-v0", "mlp")
    for arguments, words in (
        ({"answer": "a pipe"}, "failed in step: BrokenPipeError"),
        ({"value": np.nan}, "failed in step: ValueError: its observation[1] is nan"),
    ):

        def replaced(env, given=None, *more, arguments=arguments, **other):
            return make(env, arguments, *more, **other)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("spikepropamine.evaluation.ask.conditions.make", replaced)
            assert evaluate.main([str(run), "--episodes", "2"], "evaluate") == 2
            assert words in capsys.readouterr().err.splitlines()[-1]
            with pytest.raises(UsageError) as caught:
                enjoy.main([str(run), "--video", str(tmp_path / "video")])
            assert words in str(caught.value)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_what_is_right_comes_through_unchanged(observation):
    env = Checked(RandomEnv(observation))
    plain = RandomEnv(observation)
    np.testing.assert_equal(env.reset(seed=1), plain.reset(seed=1))
    np.testing.assert_equal(env.step(0), plain.step(0))


class Answering(RandomEnv):
    """Answers with the reward, the ends and the info that it was given."""

    def __init__(self, answer, info=None):
        super().__init__("box", "box")
        self.answer = answer
        self.info = info or {}

    def step(self, action):
        return super().step(action)[0], *self.answer, self.info


@pytest.mark.parametrize("kind", RIGHT)
def test_other_kinds_of_numbers_and_ends_become_the_usual_ones(kind):
    given, expected = RIGHT[kind]
    env = Checked(Answering(given))
    env.reset(seed=0)
    _, *got, _ = env.step(env.action_space.sample())
    assert got == list(expected)
    assert [type(x) for x in got] == [float, bool, bool]


@pytest.mark.parametrize(("over", "kept"), [(False, {"x"}), (True, {"x", "episode"})])
def test_an_episode_that_is_not_over_is_none(over, kept):
    """SB3 takes an "episode" in an info as the end of one, whenever it comes."""
    info = {"x": 1, "episode": {"r": 1.0, "l": 2}}
    env = Checked(Answering((0.0, over, False), info))
    env.reset(seed=0)
    assert set(env.step(env.action_space.sample())[-1]) == kept
    assert set(info) == {"x", "episode"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("observation", ["box", "dict"])
def test_numbers_of_an_observation_are_finite(observation, value):
    env = RandomEnv(observation)
    parts, _ = env.reset(seed=0)
    array = parts["cue"] if observation == "dict" else parts
    array[1] = value
    with pytest.raises(
        ValueError, match=r"observation.*\[1\] is .*(nan|inf), and should"
    ):
        Checked(env)._check_observation(parts)
    assert not Checked(env)._is_sound_vector(parts)


def test_huge_numbers_are_sound():
    env = Checked(Answering((0.0, False, False)))
    env._check_observation(np.array([1e38, -1e38, 1e38], np.float32))


@pytest.mark.parametrize("context", ["abc", [np.nan], {"a": 1}, 3, [[1]]])
def test_a_context_that_cannot_be_told_is_named(context):
    with pytest.raises(
        EnvironmentFailed, match=r"its info has context .*, which should be"
    ):
        hidden_numbers({"context": context}, [], {})
