"""Shared by the tests: one PyTorch thread, fixed seeds, small environments and small
agents.
"""

import io
import os
import signal
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
import vl_convert
from gymnasium import spaces
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from spikepropamine.agents import PlasticPPO
from spikepropamine.agents.supervised import SupervisedMlp, SupervisedPlastic
from spikepropamine.envs import quiet_mujoco
from spikepropamine.policies import NetworkConfig, SpikingNetwork
from spikepropamine.policies.fast.ppo import PPO, FastPPO
from spikepropamine.policies.rules import RULES, Synaptic, register

quiet_mujoco()
torch.set_num_threads(1)
# what starts the tests in the background may make them, and all that they start, deaf
# to these
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGHUP", signal.SIG_DFL),
):
    if (
        signal.getsignal(_number := getattr(signal, _name, signal.SIGTERM))
        == signal.SIG_IGN
    ):
        signal.signal(_number, _handler)

OBSERVATIONS = {
    "box": spaces.Box(-1.0, 1.0, (3,)),
    "discrete": spaces.Discrete(3),
    "choices": spaces.MultiDiscrete([2, 3]),
    "dict": spaces.Dict(
        cue=spaces.Box(-1.0, 1.0, (2,)),
        phase=spaces.Discrete(2),
        reward=spaces.Box(-1.0, 1.0, (1,)),
    ),
}
ACTIONS = {
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
}
# Rule, modulation, recurrence and decay of layers: enough that every term and branch of
# the compiled kernels is among them, since each is compiled for itself, which takes
# seconds. The slow tests take all. See `rule_of_many_terms`.
KINDS = [
    ("none", "none", False, "contracting"),
    ("none", "none", True, "contracting"),
    ("many_terms", "direct", True, "contracting"),
    ("delta", "retroactive", True, "contracting"),
    ("bcpnn", "retroactive", False, "plain"),
]
SMALL = {
    "hidden": (12, 10),
    "rule": "oja",
    "modulation": "direct",
    "input_gain": 4.0,
    "ticks": 2,
}
VARIANTS = [
    (SupervisedPlastic, "PlasticSpikingPolicy"),
    (SupervisedPlastic, "MlpLstmPolicy"),
    (SupervisedMlp, "MlpPolicy"),
]
# Policies with a shorter way (`policies.fast`): algorithm, name and arguments.
LSTM = {"lstm_hidden_size": 8, "net_arch": {"pi": [6], "vf": [8]}}
NETWORK = {"hidden": (12, 10), "rule": "oja", "modulation": "direct", "input_gain": 4.0}
POLICIES = {
    "mlp": (PPO, "MlpPolicy", {"net_arch": {"pi": [8, 8], "vf": [8]}}),
    "relu": (PPO, "MlpPolicy", {"activation_fn": torch.nn.ReLU}),
    "elu": (PPO, "MlpPolicy", {"activation_fn": torch.nn.ELU}),
    "lstm": (PlasticPPO, "MlpLstmPolicy", LSTM),
    "gru": (PlasticPPO, "GruPolicy", LSTM),
    "lstm shared": (
        PlasticPPO, "MlpLstmPolicy", {**LSTM, "shared_lstm": True,
                                      "enable_critic_lstm": False},
    ),
    "lstm actor": (PlasticPPO, "MlpLstmPolicy", {**LSTM, "enable_critic_lstm": False}),
    "ndp": (PlasticPPO, "PlasticSpikingPolicy", {"network": NETWORK}),
    "ndp blind": (
        PlasticPPO, "PlasticSpikingPolicy",
        {"network": NETWORK, "critic_sees_spikes": False},
    ),
    "ndp graded": (PlasticPPO, "PlasticSpikingPolicy",
                   {"network": {**NETWORK, "units": "tanh"}}),
    "two ticks": (PlasticPPO, "PlasticSpikingPolicy",
                  {"network": {**NETWORK, "ticks": 2}}),
    "phases": (PlasticPPO, "PlasticSpikingPolicy", {
        "network": {**NETWORK, "ticks": 2, "phases": True, "encoder": (6,)},
    }),
}  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file goes to one worker, which compiles its kernels and makes its fixtures
    once.
    """
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


DICT = {
    "mlp": (PPO, "MultiInputPolicy", {}),
    "lstm": (PlasticPPO, "MultiInputLstmPolicy", LSTM),
    "ndp": (PlasticPPO, "PlasticSpikingPolicy", {"network": NETWORK}),
}


class RandomEnv(gym.Env):
    """Random observations and rewards; every episode has `length` steps."""

    def __init__(self, observation="box", action="discrete", length=5, truncates=False):
        self.observation_space = OBSERVATIONS[observation]
        self.action_space = ACTIONS[action]
        self.length = length
        self.truncates = truncates

    def _draw(self, space):
        if isinstance(space, spaces.Dict):
            return {key: self._draw(part) for key, part in space.items()}
        if isinstance(space, spaces.Discrete):
            return int(self.np_random.integers(space.n))
        if isinstance(space, spaces.MultiDiscrete):
            return self.np_random.integers(space.nvec)
        return self.np_random.uniform(-1.0, 1.0, space.shape).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return self._draw(self.observation_space), {}

    def step(self, action):
        self.clock += 1
        done = self.clock == self.length
        observation = self._draw(self.observation_space)
        reward = float(self.np_random.normal())
        return (
            observation,
            reward,
            done and not self.truncates,
            done and self.truncates,
            {},
        )


class Endless(gym.Env):
    """Never ends by itself."""

    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


def make_venv(observation="box", action="discrete", n_envs=2, seed=0):
    """Environments with episodes of 5, 6, ... steps, so that episodes start at
    different times.
    """
    venv = DummyVecEnv(
        [
            lambda i=i: Monitor(RandomEnv(observation, action, 5 + i))
            for i in range(n_envs)
        ]
    )
    venv.seed(seed)
    return venv


def make_model(venv, algorithm=PlasticPPO, policy="PlasticSpikingPolicy", **changes):
    """A small agent: rollouts of 16 steps, cut into sequences of 8."""
    arguments = {
        "n_steps": 16,
        "batch_size": 16,
        "n_epochs": 2,
        "seed": 0,
        "device": "cpu",
    }
    if issubclass(algorithm, PlasticPPO):
        arguments["sequence_length"] = 8
    if "Lstm" in str(policy):
        arguments["policy_kwargs"] = {
            "lstm_hidden_size": 8,
            "net_arch": {"pi": [], "vf": [8]},
        }
    elif policy != "MlpPolicy":
        arguments["policy_kwargs"] = {"network": SMALL, "net_arch": {"vf": [8]}}
    return algorithm(policy, venv, **(arguments | changes))


def model_of(kind, observation="box", action="box", venv=None, **changes):
    algorithm, policy, arguments = (DICT if observation == "dict" else POLICIES)[kind]
    venv = venv or make_vec_env(RandomEnv, 3, 0, env_kwargs={
        "observation": observation, "action": action, "truncates": True})  # fmt: skip
    return make_model(venv, algorithm, policy, policy_kwargs=arguments, **changes)


def cross_entropies(model, rollouts):
    """The loss that is logged after each rollout."""
    losses = []
    for _ in range(rollouts):
        model.learn(16 * model.n_envs, reset_num_timesteps=False)
        losses.append(model.logger.name_to_value["train/cross_entropy"])
    return losses


def by_stable_baselines(monkeypatch, name):
    """A method of PPO is Stable-Baselines3's own from now on."""

    def method(self, *arguments, **more):
        return getattr(super(FastPPO, self), name)(*arguments, **more)

    monkeypatch.setattr(FastPPO, name, method)


def make_network(channels=3, seed=0, exogenous=(0, 1, 2), backend="auto", **changes):
    """A small spiking network with seeded weights."""
    torch.manual_seed(seed)
    return SpikingNetwork(
        channels, NetworkConfig(**(SMALL | changes)), exogenous, backend
    )


def zero_state(network, batch):
    """The state before an episode, as fields [B, ...]."""
    return network.layout.unpack(torch.zeros(batch, network.layout.size))


def pixels(plot, colour):
    """Rows and columns of a plot that have a colour."""
    return np.nonzero((plot == np.array(colour, dtype=np.uint8)).all(axis=2))


def same(one, other, rounding=0.0):
    """Whether two values of any structure are the same: to the last bit, or where some
    `rounding` is allowed, up to that.
    """
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(one[key], other[key], rounding) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            same(part, counterpart, rounding) for part, counterpart in zip(one, other)
        )
    one = np.asarray(one)
    other = np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if rounding and one.dtype.kind == "f":
        return np.allclose(one, other, rtol=rounding, atol=rounding)
    return one.tobytes() == other.tobytes()


def rounding_of(kind):
    """How far a kind of `POLICIES` may be from Stable-Baselines3: LSTMs and GRUs have
    kernels with another exponential function than PyTorch's.
    """
    return 1e-3 if kind.startswith(("lstm", "gru")) else 0.0


@pytest.fixture(scope="session", autouse=True)
def undrawn():
    """Plots take an engine for JavaScript, and seconds: processes that tests start draw
    them, and tests that ask for `drawn`.
    """
    with pytest.MonkeyPatch.context() as patch, io.BytesIO() as picture:
        Image.new("RGB", (1, 1)).save(picture, "png")
        contents = picture.getvalue()
        patch.setattr(vl_convert, "vegalite_to_png", lambda *_, **__: contents)
        patch.setattr(vl_convert, "javascript_bundle", lambda _: "/* vega */")
        yield patch


@pytest.fixture(scope="module")
def drawn(undrawn):
    """Plots are drawn from here on."""
    from spikepropamine.report import page

    undrawn.undo()
    page._vega.cache_clear()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def rule_of_many_terms():
    """A rule with the variables, terms and coefficients of bcm, covariance, stdp and
    stpn.
    """

    def many_terms(
        p, q, theta, f, x, s, rest=0.1, growth: Synaptic = 1.0, decay: Synaptic = 0.5
    ):
        return growth * (s - theta) * p + rest * q - q * x - decay * decay * f

    register("many_terms", many_terms)
    yield
    del RULES["many_terms"]


@pytest.fixture
def switching():
    """Python goes from thread to thread after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test finds what another one has measured."""
    monkeypatch.setenv("SPIKEPROPAMINE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """Neither the credentials nor the settings for wandb of whoever runs the tests."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    (tmp_path / "home").mkdir()
    yield
    wandb.teardown()


@pytest.fixture
def run_here(tmp_path):
    """train.py in this process, which saves the time of starting one; returns the exit
    code.
    """
    from spikepropamine.training import run as train

    def run(*arguments):
        return train.main([*arguments, "--runs", str(tmp_path / "runs")], "train.py")

    return run
