"""Environments side by side are those of Stable-Baselines3, to the last bit, and keep
no past.
"""

import itertools
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from conftest import RandomEnv, make_venv, same
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from spikepropamine.envs import making
from spikepropamine.envs.perturbations import CATALOGUE, Perturbed
from spikepropamine.envs.rendering import is_mujoco
from spikepropamine.policies.fast.environments import Normalised, SideBySide
from spikepropamine.training.simulated import Simulated

LENGTH = 6
OTHER = {
    "gravity_tilt": "Ant-v5",
    "cue_reversal": "CueAssociation-v0",
}  # than HalfCheetah


def task(name, perturb=None, length=LENGTH, **arguments):
    limit = {"max_episode_steps": length} if name.endswith("v5") else {}
    return partial(making.make, name, limit, perturb, **arguments)


def text_of(family):
    """A perturbation that acts, beside another one that changes within an episode."""
    value = "seen" if family.contexts else repr(family.hardest)
    change = "change(2)" if family.contexts else "3"
    return f"{family.name}={value} | {family.name}={value}@{change} | none"


def played(venv, steps=3 * LENGTH):
    """All that environments return on a fixed tape, but what the clock says."""
    random = np.random.default_rng(0)
    rows = [venv.reset()]
    for _ in range(steps):
        actions = [venv.action_space.sample() for _ in range(venv.num_envs)]
        if isinstance(venv.action_space, gym.spaces.Box):
            low = venv.action_space.low
            high = venv.action_space.high
            actions = random.uniform(low, high, (venv.num_envs, *low.shape)).astype(
                np.float32
            )
        observations, rewards, dones, infos = venv.step(np.asarray(actions))
        for info in infos:
            if "episode" in info:
                assert 0 <= info["episode"].pop("t") < 600  # seconds
        rows.append((observations, rewards, dones, infos, venv.reset_infos))
    venv.close()
    return rows


def check_task(make):
    theirs = make_vec_env(make, 2)
    theirs._seeds = SideBySide([make] * 2, 3)._seeds
    for env, seed in zip(theirs.envs, theirs._seeds):
        env.action_space.seed(seed)
    expected = played(theirs)
    for kind, threads in itertools.product((SideBySide, Simulated), (1, 2)):
        venv = kind([make] * 2, 3, threads)
        robot = is_mujoco(venv.makers[0]().unwrapped)
        assert getattr(venv, "in_one_call", robot) == robot
        assert same(played(venv), expected)


@pytest.mark.parametrize("name", ["Humanoid-v5", "Reacher-v5"])
def test_a_task_is_as_in_the_environments_of_stable_baselines(name):
    check_task(task(name))


@pytest.mark.parametrize("observation", ["box", "discrete", "dict"])
@pytest.mark.parametrize("truncates", [False, True])
def test_so_is_any_environment(observation, truncates):
    check_task(partial(RandomEnv, observation, "box", truncates=truncates))


class Asked(Perturbed):
    """Asks every term at every step, whether or not it has anything to do."""

    def _find_live(self):
        super()._find_live()
        self._live = self._moving = self._acts
        self._observing = [act for act in self._live if act.family.observe]
        self._acting = [act for act in self._live if act.family.act]


@pytest.mark.parametrize("family", CATALOGUE)
def test_so_is_a_perturbed_one_and_to_ask_terms_that_have_nothing_to_do_changes_nothing(
    family,
):
    name = OTHER.get(family, "HalfCheetah-v5")
    text = text_of(CATALOGUE[family])
    check_task(task(name, text, previous=True))

    def rows(kind):
        return played(SideBySide([lambda: kind(task(name)(), text)] * 2, 0))

    assert same(rows(Perturbed), rows(Asked))


class Failing(RandomEnv):
    def step(self, action):
        raise ValueError("this one fails")


@pytest.mark.parametrize("order", [[Failing, RandomEnv], [RandomEnv, Failing]])
def test_an_error_in_any_thread_is_the_callers(order):
    venv = SideBySide(order, 0, threads=2)
    venv.reset()
    with pytest.raises(ValueError, match="this one fails"):
        venv.step(np.zeros(2, dtype=int))
    venv.close()


def test_every_environment_is_stepped_once_with_any_number_of_threads():
    one, few, many = (played(SideBySide([RandomEnv] * 5, 0, n)) for n in (1, 3, 9))
    assert same(one, few) and same(one, many)


def test_what_is_returned_is_new_at_every_step():
    venv = SideBySide([RandomEnv] * 2, 0)
    venv.reset()
    first = venv.step(np.zeros(2, dtype=int))
    kept = [np.copy(x) for x in first[:3]] + [[dict(info) for info in first[3]]]
    for _ in range(6):
        venv.step(np.zeros(2, dtype=int))
    assert same(list(first), kept)


@pytest.mark.parametrize(
    ("observation", "norm_obs", "norm_reward", "training"),
    [
        ("box", True, True, True),
        ("box", False, True, True),
        ("dict", True, False, True),
        ("dict", True, True, False),
    ],
)
def test_normalised_is_vec_normalize(observation, norm_obs, norm_reward, training):
    rows = []
    for kind in (Normalised, VecNormalize):
        keys = ["cue", "reward"] if observation == "dict" and norm_obs else None
        venv = kind(
            make_venv(observation, "box"), training, norm_obs, norm_reward,
            norm_obs_keys=keys,
            clip_obs=1.0,
        )  # fmt: skip
        found = [venv.reset()]
        for _ in range(30):
            *answer, infos = venv.step(np.zeros((2, 2), np.float32))
            last = [info.get("terminal_observation") for info in infos]
            lengths = [info["episode"]["l"] for info in infos if "episode" in info]
            found += [
                *answer,
                [x for x in last if x is not None],
                lengths,
                venv.reset_infos,
            ]
            found += [venv.get_original_obs(), venv.get_original_reward()]
            found += [venv.ret_rms.var, venv.returns]
        rows.append(found)
    assert same(*rows)


def test_no_two_seeds_share_a_stream():
    made = [SideBySide([RandomEnv] * 8, seed)._seeds for seed in range(40)]
    streams = [stream for seeds in made for stream in seeds]
    assert len(set(streams)) == len(streams)
    assert min(streams) >= 2**31 and max(streams) < 2**32
