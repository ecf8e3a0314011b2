"""Tasks whose observations are pictures: a CNN as in SB3's policies, from training to
export.
"""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import SMALL, by_stable_baselines, make_model
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv

from spikepropamine import load
from spikepropamine.__main__ import main
from spikepropamine.agents.zoo import (
    NetworkConfig,
    TrainerSettings,
    actor_parameters,
    build,
)
from spikepropamine.evaluation.judge.cost import cost_of
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.training.obstacles import obstacle


class Pictures(gym.Env):
    """Random pictures, alone or beside two numbers."""

    action_space = spaces.Discrete(2)

    def __init__(self, beside=False, side=36, colours=1):
        picture = spaces.Box(0, 255, (side, side, colours), np.uint8)
        numbers = spaces.Box(-1.0, 1.0, (2,))
        together = spaces.Dict(numbers=numbers, picture=picture, reward=numbers)
        self.observation_space = together if beside else picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return (
            self.observation_space.sample(),
            0.0,
            self.np_random.random() < 0.2,
            False,
            {},
        )


TRAIN = [
    "train", "--env", "Pictures-v0", "--n-envs", "2", "--steps", "16",
    "--trainer.n-steps", "8",
    "--trainer.batch-size", "8", "--trainer.sequence-length", "4", "--network.hidden",
    "8", "8",
    "--normalize-observations",
]  # fmt: skip


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The task's id is known, and runs are written to a folder of the test."""
    monkeypatch.chdir(tmp_path)
    gym.register("Pictures-v0", entry_point=Pictures, max_episode_steps=10)
    yield tmp_path / "runs" / "Pictures-v0"
    gym.registry.pop("Pictures-v0")


def cnns_of(policy):
    return [part for part in policy.modules() if isinstance(part, NatureCNN)]


@pytest.mark.parametrize(
    ("policy", "beside"),
    [
        ("mlp", "False"),
        ("mlp", "True"),
        ("lstm", "False"),
        ("snn", "False"),
        ("ndp-oja", "True"),
    ],
)
def test_a_picture_gets_a_cnn_and_its_policy_is_exported(task, policy, beside, capsys):
    run = task / policy / "seed-0"
    assert main([*TRAIN, "--policy", policy, "--env-kwargs", "beside", beside]) == 0
    deployed = load_policy(run / "policy")
    assert len(cnns_of(deployed.policy)) == 1
    acting = load(run)
    seen, _ = acting.make_env().reset(seed=0)
    assert acting.action_space.contains(pickle.loads(pickle.dumps(acting)).act(seen))
    assert (
        run / "policy" / "policy.json"
    ).stat().st_size < 20_000  # no bound of every pixel
    if beside == "False":
        assert deployed.normalisation is None
    else:
        assert set(deployed.normalisation.statistics) == {"numbers", "reward"}
    evaluated = [
        "evaluate",
        str(run),
        "--episodes",
        "3",
        "--conditions",
        "clean",
        "--workers",
        "1",
    ]
    assert main(evaluated) == 0
    (file,) = (run / "evaluations").rglob("results.csv")
    cnn = sum(p.numel() for p in deployed.policy.features_extractor.parameters())
    assert (
        EvaluationResults.read(file.parent).costs[policy]["parameter_bytes"] > 4 * cnn
    )
    assert main(["export", str(run), "--format", "onnx"]) == 0
    if policy == "snn":
        capsys.readouterr()
        assert main(["export", str(run), "--format", "nir"]) == 2
        assert "--format onnx" in capsys.readouterr().err


def test_a_spiking_policy_that_sees_pictures_evolves(task):
    kind = [
        "--policy",
        "snn",
        "--trainer.kind",
        "evolution",
        "--trainer.population",
        "2",
    ]
    assert main([*TRAIN, *kind, "--no-normalize-observations"]) == 0


def test_a_policy_that_could_not_be_loaded_is_not_saved(tmp_path):
    """Nor are random numbers drawn, which a training that goes on would miss."""
    picture = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    policy = PlasticSpikingPolicy(
        picture,
        spaces.Discrete(2),
        lambda _: 0.0,
        features_extractor_class=FlattenExtractor,
    )
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="another features extractor than by default"):
        save_policy(tmp_path / "policy", policy)
    assert not (tmp_path / "policy").exists()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_operations_of_a_cnn_are_counted():
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    policy = ActorCriticCnnPolicy(space, spaces.Discrete(2), lambda _: 0.0, net_arch=[])
    _, *later = (
        x for x in policy.modules() if isinstance(x, torch.nn.Conv2d | torch.nn.Linear)
    )
    for module in later:
        torch.nn.init.zeros_(module.weight)  # synapses that are not there
    picture = np.full(
        (1, *space.shape), 100, np.uint8
    )  # how bright it is does not matter
    places = 8 * 8  # of a kernel of 8 x 8 in steps of 4
    found = cost_of(policy, picture)["synapses_multiply_accumulates"]
    assert found == places * 8 * 8 * 32
    picture[0, 0, 0, 0] = 0  # which one place sees
    found = cost_of(policy, picture)["synapses_multiply_accumulates"]
    assert found == (places * 8 * 8 - 1) * 32


def test_the_cnn_is_of_the_actor():
    venv = DummyVecEnv([Pictures])
    policy = build("mlp", venv, NetworkConfig(), TrainerSettings()).policy
    cnn = sum(p.numel() for p in policy.features_extractor.parameters())
    heads = [
        *policy.mlp_extractor.policy_net.parameters(),
        *policy.action_net.parameters(),
    ]
    assert actor_parameters(policy) == cnn + sum(p.numel() for p in heads)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            spaces.Box(0, 255, (20, 40, 3), np.uint8),
            "picture of 20 x 40.*36 x 36.*ResizeObserv",
        ),
        (spaces.Box(0, 255, (3, 36, 35), np.uint8), "picture of 36 x 35,"),
        (spaces.Box(0, 255, (40, 3, 40), np.uint8), "channels come first or last"),
        (
            spaces.Dict(eye=spaces.Box(0, 255, (9, 9, 3), np.uint8)),
            "'eye' is a picture of 9 x 9",
        ),
    ],
)
def test_a_picture_that_no_cnn_takes_is_refused(space, words):
    with pytest.raises(AssertionError, match=words):
        assert not (reason := obstacle(space, spaces.Discrete(2))), reason


def test_numbers_in_three_dimensions_are_flattened_and_it_is_said(
    tmp_path, monkeypatch, capsys
):
    class Volume(Pictures):
        def __init__(self):
            self.observation_space = spaces.Box(0.0, 1.0, (2, 3, 2))

    monkeypatch.chdir(tmp_path)
    gym.register("Volume-v0", entry_point=Volume, max_episode_steps=10)
    try:
        assert main([*TRAIN, "--env", "Volume-v0", "--policy", "mlp"]) == 0
    finally:
        gym.registry.pop("Volume-v0")
    assert (
        "Volume-v0: observations of the shape (2, 3, 2) are flattened"
        in capsys.readouterr().err
    )


# PlasticSpikingPolicy by itself


@pytest.mark.parametrize("beside", [False, True])
def test_a_features_extractor_of_another_size(beside):
    size = {"cnn_output_dim": 5} if beside else {"features_dim": 5}
    kwargs = {"network": SMALL, "features_extractor_kwargs": size}
    model = make_model(DummyVecEnv([lambda: Pictures(beside)]), policy_kwargs=kwargs)
    assert model.policy.features_dim == (9 if beside else 5)
    model.learn(16)


def test_updates_with_a_picture_are_those_of_stable_baselines(monkeypatch):
    found = []
    for _ in range(2):
        model = make_model(
            DummyVecEnv([lambda: Pictures(True)] * 2), learning_rate=1e-3
        ).learn(64)
        found.append(model.policy.state_dict())
        by_stable_baselines(monkeypatch, "train")
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_exogenous_channels_are_those_of_the_key_behind_a_picture():
    network = SMALL | {"exogenous": ("reward",)}
    kwargs = {"network": network, "features_extractor_kwargs": {"cnn_output_dim": 5}}
    model = make_model(DummyVecEnv([lambda: Pictures(True)]), policy_kwargs=kwargs)
    assert model.policy.network.exogenous.tolist() == [
        7,
        8,
    ]  # after 2 numbers and 5 features


@pytest.mark.parametrize("divided", [True, False])
def test_a_picture_is_scaled_after_loading_as_before(divided, tmp_path):
    kwargs = {"network": SMALL, "normalize_images": divided}
    policy = make_model(DummyVecEnv([Pictures]), policy_kwargs=kwargs).policy
    save_policy(tmp_path / "policy", policy)
    loaded = load_policy(tmp_path / "policy").policy
    picture = policy.obs_to_tensor(Pictures().reset(seed=0)[0])[0]
    assert torch.equal(
        policy.extract_features(picture), loaded.extract_features(picture)
    )
