"""Environments taken as data and given back go on as if nothing had happened, bit for bit."""

import enum
from collections import defaultdict, deque
from functools import partial
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.envs import making
from spikepropamine.training.snapshot import CannotRestore, Snapshot

TASKS = [
    ("HalfCheetah-v5", None), ("Hopper-v5", None), ("Walker2d-v5", None), ("Ant-v5", None),
    ("Swimmer-v5", None), ("Humanoid-v5", None), ("InvertedPendulum-v5", None),
    ("CueAssociation-v0", None), ("EvidenceAccumulation-v0", None), ("HalfCheetahCue-v0", None),
    ("Pendulum-v1", None), ("CartPole-v1", None), ("Acrobot-v1", None),
    ("HalfCheetah-v5", "mass=0.5..2 + obs_noise=0.1 | friction=0.5@20"),
    ("HalfCheetah-v5", "rough_ground=0.1 + push=0.5"),
    ("HalfCheetah-v5", "rough_ground=0.1@20"),
    ("HalfCheetah-v5", "action_delay=2 + obs_stuck=0.3 + obs_delay=1"),
    ("Ant-v5", "limb_length=0.8..1.2 + strength=0.5..1 + gravity=0.7@10"),
    ("Swimmer-v5", "viscosity=0.05..0.2 + action_noise=0.2 + mass=1.5"),
    ("Walker2d-v5", "crippled_leg=0.5 + wind=0.3"),
]  # fmt: skip


def made(task, perturb):
    """Two environments with episodes of 40 steps, in their first."""
    make_one = partial(making.make, task, {"max_episode_steps": 40}, perturb=perturb)
    venv = make_vec_env(make_one, 2, 5)
    if isinstance(venv.observation_space, gym.spaces.Box):
        venv = VecNormalize(venv)
    venv.reset()
    return venv


def seen(venv, steps, seed):
    """All that a learner would see of so many steps of random actions."""
    draw, space, rows = np.random.default_rng(seed), venv.action_space, []
    for _ in range(steps):
        if isinstance(space, gym.spaces.Box):
            actions = draw.uniform(space.low, space.high, (2, *space.shape)).astype(space.dtype)
        else:
            actions = draw.integers(space.n, size=2)
        observations, rewards, dones, infos = venv.step(actions)
        episodes = [info["episode"]["r"] for info in infos if "episode" in info]
        rows.append(np.concatenate([np.ravel(observations), rewards, dones, episodes]))
    return rows


@pytest.mark.parametrize(("task", "perturb"), TASKS, ids=lambda x: str(x).replace(" ", ""))
def test_what_is_given_back_goes_on_bit_for_bit(task, perturb):
    venv = made(task, perturb)
    seen(venv, 33, 1)
    snapshot = Snapshot.of({"venv": venv})
    assert not snapshot.missing
    expected = seen(venv, 60, 2)
    other = made(task, perturb)
    seen(other, 7, 3)
    snapshot.give_back({"venv": other})
    found = seen(other, 60, 2)
    assert all(np.array_equal(a, b) for a, b in zip(expected, found))


class Bag:
    """Attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_what_was_shared_stays_shared_and_what_was_not_does_not():
    array = np.arange(3)
    thing = Bag(a=array, b=array, c=array.copy(), numbers=[1, (2.5, None)], own=Bag(x={1: "y"}))
    thing.own.owner = thing
    snapshot = Snapshot.of({"thing": thing})
    new = Bag(a=np.zeros(1), b=None, c=0, numbers=[], own=Bag(x={}, owner=None), later=3)
    snapshot.give_back({"thing": new})
    assert new.a is new.b and new.a is not new.c and np.array_equal(new.c, array)
    assert new.numbers == [1, (2.5, None)] and new.own.x == {1: "y"}
    assert new.own.owner is new and not hasattr(new, "later")
    array[0] = 9
    assert new.a[0] == 0


@pytest.mark.parametrize(
    "generator",
    [np.random.default_rng(3), np.random.Generator(np.random.MT19937(3)), np.random.RandomState(3)],
)
def test_generators_go_on_where_they_were(generator):
    generator.normal(size=3)
    snapshot = Snapshot.of({"draw": generator})
    expected = generator.normal(size=5)
    other = snapshot.give_back({"draw": None})["draw"]
    assert np.array_equal(other.normal(size=5), expected)


@pytest.mark.parametrize("thing", [iter([1, 2]), np.array([object()]), (x for x in ())])
def test_what_cannot_be_taken_is_named(thing):
    snapshot = Snapshot.of({"thing": Bag(inside=[0, thing])})
    assert len(snapshot.missing) == 1 and snapshot.missing[0].startswith("thing.inside[1] (")
    with pytest.raises(CannotRestore, match=r"thing.inside\[1\]"):
        snapshot.give_back({"thing": Bag(inside=[0, thing])})


@pytest.mark.parametrize("bound", ["method", "closure", "partial"])
def test_random_numbers_that_only_a_function_knows_are_named(bound):
    rng = np.random.default_rng(0)
    kinds = {"method": rng.normal, "closure": lambda: rng.normal(), "partial": partial(rng.normal)}
    (line,) = Snapshot.of({"thing": Bag(noise=kinds[bound])}).missing
    assert line == "thing.noise (a function with random numbers of its own)"
    assert not Snapshot.of({"thing": Bag(noise=kinds[bound], rng=rng)}).missing


def test_arrays_that_share_memory_are_named():
    array = np.zeros(4)
    (line,) = Snapshot.of({"thing": Bag(all=array, half=array[:2])}).missing
    assert "thing.all" in line and "thing.half" in line


def test_objects_are_only_set_never_made_and_of_their_own_class():
    snapshot = Snapshot.of({"thing": Bag(inside=Bag(x=1))})
    for other in (Bag(inside=None), Bag(), Bag(inside=Snapshot())):
        with pytest.raises(CannotRestore, match=r"thing\.inside"):
            snapshot.give_back({"thing": other})


class Phase(enum.Enum):
    CUE, ANSWER = range(2)


class Path(NamedTuple):
    """A place."""

    x: int


def test_defaults_and_named_tuples_are_given_back_or_named():
    def bag(counts, point, path):
        return Bag(counts=counts, point=point, path=path)

    snapshot = Snapshot.of({"thing": bag(defaultdict(int, {3: 1}), Path(2), deque([Path(3)]))})
    new = bag(defaultdict(int), Path(0), deque([Path(0)]))
    snapshot.give_back({"thing": new})
    assert new.counts[3] == 1 and new.counts[9] == 0
    assert new.point.x == 2 and new.path[0].x == 3
    for other in (
        bag({}, Path(0), deque([Path(0)])),
        bag(defaultdict(int), (0,), deque([Path(0)])),
        bag(defaultdict(int), Path(0), deque()),
    ):
        with pytest.raises(CannotRestore, match="before an episode has begun"):
            snapshot.give_back({"thing": other})


def test_members_of_enumerations_are_state():
    snapshot = Snapshot.of({"thing": Bag(phase=Phase.ANSWER)})
    new = Bag(phase=Phase.CUE)
    snapshot.give_back({"thing": new})
    assert new.phase is Phase.ANSWER
    with pytest.raises(CannotRestore, match=r"thing\.phase"):
        snapshot.give_back({"thing": Bag(phase=0)})


@pytest.mark.parametrize(
    ("one", "other"),
    [(range(3), range(4)), (len, min), (seen, made), (np.array([b"SG"]), np.array([b"SH"]))],
)
def test_constants_that_have_become_others_are_named(one, other):
    snapshot = Snapshot.of({"thing": Bag(made=one)})
    snapshot.give_back({"thing": Bag(made=one)})
    with pytest.raises(CannotRestore, match=r"thing\.made"):
        snapshot.give_back({"thing": Bag(made=other)})


def test_paths_are_no_state():
    snapshot = Snapshot.of({"thing": Bag(file="/here/it/is", word="left")})
    new = Bag(file="/there/it/is", word="right")
    snapshot.give_back({"thing": new})
    assert vars(new) == {"file": "/there/it/is", "word": "left"}
    # a text that only looks like one may be state, and is not taken from a file
    board = Snapshot.of({"thing": Bag(board="8/8/8 w")})
    assert board.give_back({"thing": Bag(board="8/8/8 w")})["thing"].board == "8/8/8 w"
    with pytest.raises(CannotRestore, match=r"thing\.board"):
        board.give_back({"thing": Bag(board="8/8/8 b")})
    snapshot.nodes[0]["fields"]["word"] = "../elsewhere"
    with pytest.raises(CannotRestore):
        snapshot.give_back({"thing": new})
