"""What is hidden, shown while a policy learns: cues that are withdrawn, critics that
are told.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv
from tapes import Mirror

from spikepropamine.agents.cue import Shown, deployed
from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.envs.making import make
from spikepropamine.envs.shown import hidden_numbers
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, widen
from spikepropamine.policies.fast import fast
from spikepropamine.policies.fast.environments import Normalised
from spikepropamine.training.command_line import parse
from spikepropamine.training.run import main

KINDS = ("mlp", "lstm", "ndp-oja")
HIDDEN = 2
LENGTH = Mirror.length


def sign_and_one(info):
    return [float(info["context"][0]), 1.0]


def mirrors(cue=(1.0, 1e9), told=False, n_envs=2, seed=0):
    plain = DummyVecEnv([Mirror] * n_envs)
    plain.seed(0)
    return Shown(plain, sign_and_one, HIDDEN, cue, told, seed)


def learner(policy, cue=(1.0, 1e9), told=True):
    """An algorithm after its first rollout and update, on six environments."""
    venv = Normalised(
        mirrors(cue, told, n_envs=6), raw=HIDDEN * (told + (cue is not None))
    )
    network = NetworkConfig(hidden=(12, 10), plastic=(True, True), input_gain=4.0)
    trainer = TrainerSettings(n_steps=12, batch_size=24, sequence_length=12, n_epochs=1)
    algorithm = build(policy, venv, network, trainer)
    algorithm.learn(72)
    return algorithm


def played(policy, observations, starts):
    """Actions of observations [T, B, channels]."""
    state = None
    actions = []
    for row, first in zip(observations, starts):
        action, state = policy.predict(row, state, first, deterministic=True)
        actions.append(action)
    return np.array(actions)


def test_columns_tell_what_is_hidden_until_the_very_end_of_an_episode():
    venv = mirrors(told=True)
    observed = venv.reset()
    for step in range(2 * LENGTH):
        signs = [env.unwrapped.sign for env in venv.envs]
        np.testing.assert_allclose(observed[:, 3:], [[s, 1.0, s, 1.0] for s in signs])
        np.testing.assert_allclose(
            observed[:, :2], [env.unwrapped.shown for env in venv.envs]
        )
        assert venv.observation_space.contains(observed[0])
        observed, _, dones, infos = venv.step(np.zeros((2, 2)))
        assert dones.all() == ((step + 1) % LENGTH == 0)
        if dones.all():
            for info in infos:
                last = info["terminal_observation"]
                np.testing.assert_allclose(last[3:], [*sign_and_one(info)] * 2)
                assert last[2] == 1.0


def test_an_episode_has_its_cue_from_beginning_to_end_or_not_at_all():
    venv = mirrors(cue=(0.5, 1e9), n_envs=200)
    observed = venv.reset()
    for _ in range(3):
        rows = [observed]
        for _ in range(LENGTH):
            observed, *_, infos = venv.step(np.zeros((200, 2)))
            rows.append(observed)
        last = np.array([info["terminal_observation"] for info in infos])
        shown = np.array([*rows[:-1], last])[:, :, 4]
        assert (shown == shown[0]).all() and shown[0].mean() == pytest.approx(
            0.5, abs=0.12
        )


@pytest.mark.parametrize(
    ("cue", "shares"),
    [
        ((0.5, 1000), (0.5, 0.375, 0.25, 0.0, 0.0)),
        ((2.0, 1000), (1.0, 1.0, 1.0, 0.0, 0.0)),
        ((4.0, 800), (1.0, 1.0, 1.0, 0.0, 0.0)),
        ((0.0, 0), (0.0,) * 5),
    ],
)
def test_the_share_falls_linearly_to_none(cue, shares):
    venv = mirrors(cue)
    for steps, share in zip((0, 250, 500, 1000, 2000), shares):
        venv.steps_taken = steps
        assert venv.share == pytest.approx(share)


@pytest.mark.parametrize("policy", KINDS)
def test_the_critic_is_told_and_the_actor_is_not(policy):
    algorithm = learner(policy)
    buffer = algorithm.rollout_buffer
    found = {}
    for name, sign in (("as it was", 1.0), ("told otherwise", -1.0)):
        buffer.observations[..., -HIDDEN:] *= sign
        torch.manual_seed(0)
        np.random.seed(0)
        batch = next(iter(buffer.get(None)))
        found[name] = [x.detach() for x in fast(algorithm.policy).evaluate(batch)]
    one, other = found.values()
    assert torch.equal(one[1], other[1])
    assert not torch.allclose(one[0], other[0])


@pytest.mark.parametrize(
    ("policy", "cue", "told"),
    [*((policy, (1.0, 1e9), True) for policy in KINDS), ("ndp-hebb", None, True),
     ("mlp", (1.0, 1e9), False)],
)  # fmt: skip
def test_what_is_deployed_acts_as_in_training_without_the_columns(
    policy, cue, told, rng
):
    algorithm = learner(policy, cue, told)
    narrow, normalisation = deployed(algorithm)
    assert (
        narrow.observation_space.shape == normalisation.statistics[""][0].shape == (3,)
    )
    columns = algorithm.observation_space.shape[0] - 3
    observations = rng.normal(size=(8, 4, 3)).astype(np.float32)
    wide = np.concatenate([observations, np.zeros((8, 4, columns), np.float32)], axis=2)
    starts = rng.random((8, 4)) < 0.2
    starts[0] = True
    with torch.no_grad():
        ours = played(narrow, observations, starts)
        np.testing.assert_allclose(
            ours, played(algorithm.policy, wide, starts), atol=1e-6
        )
        before = played(algorithm.policy, wide + (wide == 0), starts)
        widen(algorithm.policy, 3, narrow.state_dict())
        after = played(algorithm.policy, wide + (wide == 0), starts)
    np.testing.assert_allclose(after, ours, atol=1e-6)
    assert np.allclose(before, ours, atol=1e-6) == (cue is None)


def test_an_order_is_told_place_by_place_and_a_latent_with_it():
    env = make("HalfCheetah-v5", perturb="motor_order=5 + mass=1.5")
    info = env.reset(seed=0)[1]
    order = info["contexts"]["motor_order"]
    numbers = hidden_numbers(info, ["motor_order"], {"mass": 1.0}, one_hot=True)
    np.testing.assert_array_equal(np.reshape(numbers[:-1], (6, 6)), np.eye(6)[order])
    assert numbers[-1] == 1.5
    info = gym.make("HalfCheetahDirection-v0").reset(seed=0)[1]
    assert hidden_numbers(info, [], {}) == [info["direction"]]


CUED = [
    "--env", "HalfCheetah-v5", "--n-envs", "2", "--steps", "192", "--trainer.n-steps",
    "16",
    "--trainer.batch-size", "16", "--trainer.sequence-length", "8", "--network.hidden",
    "8", "8",
    "--perturb", "one-sign", "--previous", "--critic-told", "--cue", "2", "128",
]  # fmt: skip


def run(folder, policy, *arguments):
    assert (
        main([*arguments, "--policy", policy, "--runs", str(folder)], "train.py") == 0
    )
    return folder / "HalfCheetah-v5" / policy / "seed-0"


@pytest.mark.parametrize("policy", ["lstm", "ndp-oja"])
def test_the_command_line_leaves_a_policy_of_the_ordinary_width(tmp_path, policy):
    first = run(tmp_path / "first", policy, *CUED)
    learned = load_policy(first / "policy").policy
    assert learned.observation_space.shape == (17 + 6 + 1,)
    one = learned.state_dict()
    # the critic alone learns first: what acts stays as it was
    only = [
        "--critic-first",
        "192",
        "--trainer.learning-rate",
        "0.01",
        "--from",
        str(first),
    ]
    again = load_policy(run(tmp_path / "again", policy, *CUED, *only) / "policy")
    for name, weights in again.policy.state_dict().items():
        kept = "value_net" not in name and "lstm_critic" not in name
        assert torch.equal(weights, one[name]) == kept, name


def test_without_numbers_the_cue_is_there_in_full_at_first_and_gone_before_the_end():
    cue = ["--env", "HalfCheetah-v5", "--policy", "snn", "--cue"]
    settings = parse([*cue, "--steps", "1000"])
    assert settings.cue == (2.0, 350.0)
    assert settings.env_kwargs == {"max_episode_steps": 200} and settings.n_envs == 16
    assert parse([*cue, "0", "0"]).cue == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cue", "1"], "--cue: it takes a share and steps, as 0.7 1e6"),
        (["--cue", "--reveal"], "--cue: leave out --reveal"),
        (["--cue"], "--cue: HalfCheetah-v5: nothing is hidden"),
        (["--critic-told"], "--critic-told: HalfCheetah-v5: nothing is hidden"),
        (
            ["--critic-first", "9", "--trainer.kind", "sac"],
            "--critic-first is for trainer.kind ppo",
        ),
        (["--cue", "-1", "5"], "--cue must be at least 0"),
    ],
)
def test_messages_say_what_would_be_right(run_here, capsys, arguments, message):
    assert run_here("--env", "HalfCheetah-v5", "--policy", "snn", *arguments) == 2
    assert message in capsys.readouterr().err
