"""What environments give and raise: named, in one line, wherever they are stepped."""

import re

import gymnasium as gym
import numpy as np
import pytest
from conftest import RandomEnv
from saved_runs import save_run

from spikepropamine.common import UsageError
from spikepropamine.envs.checked import Checked, EnvironmentFailed
from spikepropamine.envs.making import make
from spikepropamine.export import enjoy
from spikepropamine.report import evaluate


def raising(error):
    def answer(_):
        raise error

    return answer


ANSWERS = {
    "an error of its own": (raising(AttributeError("no x")), "AttributeError: no x [(].*, line "),
    "the learner's word": (raising(ValueError("a constraint")), "ValueError: a constraint [(]"),
    "a pipe": (raising(BrokenPipeError("gone")), "BrokenPipeError: gone"),
    "an end": (raising(SystemExit(3)), "SystemExit: 3"),
    "nothing": (lambda good: None, "TypeError: cannot unpack"),
    "too little": (lambda good: good[:4], "ValueError: not enough values"),
    "no observation": (lambda good: (None, *good[1:]), r"the shape \(\), and should"),
    "another shape": (lambda good: (np.zeros(4), *good[1:]), r"the shape \(4,\), and should"),
    "texts": (lambda good: (np.array(["a"] * 3), *good[1:]), "should be of numbers"),
    "no reward": (lambda good: (good[0], None, *good[2:]), "TypeError: float"),
    "a reward in words": (lambda good: (good[0], "much", *good[2:]), "could not convert"),
    "no end": (lambda good: (*good[:2], None, *good[3:]), "true or false"),
    "no info": (lambda good: (*good[:4], None), "its info is None"),
}  # fmt: skip


class Misbehaving(RandomEnv):
    """Answers as `ANSWERS` has it at its fourth step, or with a number that is not finite."""

    def __init__(self, answer="", value=None, render_mode=None):
        super().__init__("box", "box", length=10)
        self.answer, self.value = answer, value

    def step(self, action):
        good = super().step(action)
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


def test_the_traceback_is_there_for_whoever_asks(run_here, capsys, monkeypatch):
    monkeypatch.setattr("spikepropamine.common.Parser.verbose", False)
    assert run_here(*TRAIN, "--env-kwargs", "answer", "a pipe", "--verbose") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and "raise error\nBrokenPipeError: gone" in said


def test_judging_and_watching_say_so(tmp_path, capsys):
    run = save_run(tmp_path, "Misbehaving-v0", "mlp")
    for arguments, words in (
        ({"answer": "a pipe"}, "failed in step: BrokenPipeError"),
        ({"value": np.nan}, "observation[0, 1] is nan"),
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


def test_what_is_right_comes_through_unchanged():
    env, plain = Checked(RandomEnv("dict")), RandomEnv("dict")
    np.testing.assert_equal(env.reset(seed=1), plain.reset(seed=1))
    np.testing.assert_equal(env.step(0), plain.step(0))
