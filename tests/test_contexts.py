"""Contexts of motors and sensors: drawn, held out, changing, told and undone."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from tapes import make

from spikepropamine.envs import making
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.perturbations.contexts import MOST_CODES, Contexts, codes_of
from spikepropamine.evaluation.run.episodes import run_episodes


def contexts_of(text, seeds=200, steps=0):
    """The contexts of episodes, as a list for each: of their first step, and every new
    one.
    """
    env = Perturbed(make("HalfCheetah-v5"), text)
    found = []
    for seed in range(seeds):
        _, info = env.reset(seed=seed)
        rows = [(info["context_began"], tuple(info["context"]))]
        for _ in range(steps):
            *_, info = env.step(np.zeros(6, np.float32))
            if info["context_began"] != rows[-1][0]:
                rows.append((info["context_began"], tuple(info["context"])))
        found.append(rows)
    return found


def patterns(name, contexts):
    return {
        tuple(contexts.of_code(int(code))) for code in codes_of(contexts.codes, name)
    }


def test_a_quarter_is_held_out_for_ever_and_never_the_plain_one():
    seen, held_out = (codes_of(64, name) for name in ("seen", "held_out"))
    assert sorted([*seen, *held_out]) == list(range(64))
    # results that are stored depend on these
    assert held_out.tolist() == [
        3,
        5,
        9,
        11,
        17,
        21,
        24,
        25,
        31,
        44,
        47,
        53,
        54,
        58,
        59,
        61,
    ]
    assert all(0 not in codes_of(count, "held_out") for count in range(2, 300))
    assert len(codes_of(256, "held_out")) == 64


@pytest.mark.parametrize("size", [9, 105])
@pytest.mark.parametrize("kind", ["signs", "order", "signed_order"])
def test_where_there_are_many_every_code_still_has_a_context_of_its_own(kind, size):
    """Else a pattern could be held out under one code and seen under another."""
    contexts = Contexts(np.arange(size), kind)
    np.testing.assert_array_equal(contexts.of_code(37), contexts.of_code(37))
    assert contexts.codes == min(contexts.all, MOST_CODES)
    # of as many random patterns some would be equal
    some = range(0, contexts.codes, max(1, contexts.codes // 2000))
    assert len({contexts.of_code(code).tobytes() for code in some}) == len(some)


def test_a_signed_order_is_read_as_the_action_that_each_motor_gets():
    contexts = Contexts(np.arange(3), "signed_order")
    np.testing.assert_array_equal(contexts.of_code(0), [1, 2, 3])
    assert contexts.codes == 6 * 8
    assert len({tuple(contexts.of_code(code)) for code in range(48)}) == 48
    command = np.array([0.1, 0.2, 0.3], np.float32)
    context = np.array([-3, 1, 2])
    arrives = contexts.apply(command, context)
    np.testing.assert_array_equal(arrives, np.array([-0.3, 0.1, 0.2], np.float32))
    np.testing.assert_array_equal(contexts.undo(arrives, context), command)


@pytest.mark.parametrize("name", ["seen", "held_out"])
def test_episodes_draw_from_the_whole_set_and_from_nothing_else(name):
    drawn = {rows[0][1] for rows in contexts_of(f"motor_signs={name}", 400)}
    assert drawn == patterns(name, Contexts(np.arange(6), "signs"))


def test_contexts_change_at_random_steps_to_another_of_the_set():
    episodes = contexts_of("motor_signs=held_out@change(3..5, 8)", 60, steps=10)
    assert {tuple(step for step, _ in rows) for rows in episodes} == {
        (0, first, 8) for first in (3, 4, 5)
    }
    held_out = patterns("held_out", Contexts(np.arange(6), "signs"))
    for rows in episodes:
        assert {context for _, context in rows} <= held_out
        assert all(one[1] != other[1] for one, other in pairwise(rows))


def test_a_context_may_begin_late():
    ((first, second),) = contexts_of("motor_signs=37@4", 1, steps=6)
    assert first == (0, (1,) * 6) and second == (4, (-1, 1, -1, 1, 1, -1))


def test_the_context_of_an_episode_can_be_given():
    env = Perturbed(make("HalfCheetah-v5"), "none | motor_signs=seen@change(2)")
    for seed in range(4):
        _, info = env.reset(seed=seed, options={"context": 3})
        for _ in range(4):
            assert (
                info["context"] == [-1, -1, 1, 1, 1, 1] and info["context_began"] == 0
            )
            *_, info = env.step(np.zeros(6, np.float32))
    assert len({tuple(env.reset(seed=seed)[1]["context"]) for seed in range(20)}) > 5
    with pytest.raises(ValueError, match="from 0 to 63"):
        env.reset(options={"context": 64})
    with pytest.raises(ValueError, match="codes of motor_signs"):
        env.reset(options={"context": [1, 2]})
    with pytest.raises(ValueError, match=r"whole numbers, .* got 2\.9"):
        env.reset(options={"context": 2.9})


@pytest.mark.parametrize(
    "text", ["motor_signs=seen@change(3)", "motor_order=seen", "motor_map=seen"]
)
def test_the_opposite_context_of_an_episode_can_be_asked_for(text):
    env = Perturbed(gym.make("HalfCheetah-v5"), text)
    for seed in range(5):
        own = np.array(env.reset(seed=seed)[1]["context"])
        info = env.reset(seed=seed, options={"context": "opposite"})[1]
        turned = own if "signs" in text else own[::-1]
        expected = turned if "order" in text else -turned
        assert info["context"] == expected.tolist()
        for _ in range(5):
            info = env.step(env.action_space.sample())[4]
        assert info["context"] == expected.tolist() and info["context_began"] == 0


@pytest.mark.parametrize("text", ["motor_signs=5@500", "none | motor_signs=5"])
def test_the_opposite_of_an_episode_that_begins_plain_is_that_of_the_plain_task(text):
    env = Perturbed(gym.make("HalfCheetah-v5"), text)
    own = [env.reset(seed=seed)[1]["context"] for seed in range(8)]
    for seed, context in enumerate(own):
        info = env.reset(seed=seed, options={"context": "opposite"})[1]
        assert info["context"] == [-sign for sign in context]
    assert [1] * 6 in own


COMPOSED = [
    "motor_signs=seen@change(3..8)",
    "motor_order=held_out",
    "motor_map=held_out",
    "sensor_signs=held_out@change(4)",
    "sensor_order=seen",
    "motor_signs=seen + motor_order=seen@change(5) "
    "+ sensor_order=seen + sensor_signs=held_out",
    "motor_signs:bshin=1 + motor_signs:all=1",
]


@pytest.mark.parametrize("text", COMPOSED)
def test_who_is_told_moves_as_in_the_plain_task(text):
    """Bit for bit, whatever the contexts: their inverse is exact, that of a composition
    too.
    """
    plain = make("HalfCheetah-v5")
    env = Perturbed(make("HalfCheetah-v5"), text)
    random = np.random.default_rng(0)
    expected, (observation, _) = plain.reset(seed=0)[0], env.reset(seed=0)
    for _ in range(12):
        np.testing.assert_array_equal(env.out_of_context(observation), expected)
        action = random.uniform(-1.5, 1.5, 6).astype(np.float32)  # some out of bounds
        expected, reward, *_ = plain.step(action)
        observation, same, *_ = env.step(env.in_context(action))
        assert same == reward


def test_one_context_of_a_kind_at_a_time():
    with pytest.raises(ValueError, match="'motor_signs' is there twice"):
        Perturbed(make("HalfCheetah-v5"), "motor_signs=1 + motor_signs=2")
    with pytest.raises(ValueError, match="may be one that is held out"):
        Perturbed(make("HalfCheetah-v5"), "motor_signs=seen + motor_signs:bthigh=seen")


def test_the_opposite_order_leaves_no_channel_in_its_place():
    for size in range(2, 8):
        order = Contexts(np.arange(size), "order")
        assert (order.opposite(order.of_code(0)) != np.arange(size)).all()


def test_the_context_is_revealed():
    text = "motor_signs=37"
    env = making.make("HalfCheetah-v5", None, text, previous=True, reveal=text)
    observation, info = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape == (17 + 6 + 6 + 1,)
    np.testing.assert_array_equal(observation[17:23], info["context"])
    with pytest.raises(ValueError, match="nothing is hidden"):
        making.make("HalfCheetah-v5", reveal="")


def test_what_perturbs_is_revealed_after_the_contexts_with_its_value_at_every_step():
    trained = "mass=0.5..2 | motor_signs=seen | friction~0.5@2"
    shown = {
        "mass=1.5": [1.5, 1.0],
        "friction~0.5@2": [1.0, 0.55],
        "gravity=0.5": [1.0, 1.0],
        "motor_signs=37": [1.0, 1.0],
        None: [1.0, 1.0],
    }
    for text, values in shown.items():
        env = making.make("HalfCheetah-v5", None, text, reveal=trained)
        observation, info = env.reset(seed=0)
        assert observation.shape == env.observation_space.shape == (17 + 6 + 2,)
        began = observation[-2:]
        for _ in range(2):
            observation, *_, info = env.step(np.zeros(6, np.float32))
        np.testing.assert_array_equal(observation[17:23], info["context"])
        assert (info["context"] == [1] * 6) == (text != "motor_signs=37")
        np.testing.assert_allclose(observation[-2:], values)
        np.testing.assert_allclose(began, [values[0], 1.0])


@pytest.mark.parametrize(
    "text",
    [
        "motor_signs=held_out@change(3..5, 8)",
        "motor_order~0.5@4",
        "motor_signs=37@4",
        "none | motor_map=seen@change(2)",
        "motor_signs=seen@change(3) + motor_order=seen@change(7)",
        "motor_signs=0@4",
    ],
)
def test_when_contexts_begin_is_known_as_an_episode_begins(text):
    env = Perturbed(make("HalfCheetah-v5"), text)
    several = False
    for seed in range(20):
        info = env.reset(seed=seed)[1]
        planned = env.contexts_begin
        began = {info["context_began"]}
        for _ in range(10):
            began.add(env.step(np.zeros(6, np.float32))[4]["context_began"])
        assert planned == sorted(began)
        several |= len(planned) > 1
    assert several == ("=0@" not in text)


def test_a_context_that_begins_after_a_fall_counts():
    """Else a policy that falls early would be spared the second context."""

    class Falls(gym.Wrapper):
        def step(self, action):
            return *self.env.step(action)[:2], True, False, {}

    def fallen():
        return Falls(Perturbed(make("HalfCheetah-v5"), "motor_signs=seen@change(5)"))

    class Still:
        def predict(self, observation, state, starts, deterministic):
            return np.zeros((len(observation), 6), np.float32), None

    episodes = run_episodes(Still(), fallen, [0, 1], width=2)
    assert [episode.length for episode in episodes] == [1, 1]
    assert [episode.began for episode in episodes] == [(0, 5), (0, 5)]
