"""Policies for rsl_rl's runtimes, and a plastic model that rsl_rl trains."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import spikepropamine as sp
from spikepropamine.__main__ import main
from spikepropamine.common import UsageError
from spikepropamine.export.onnx_file import STATE, OnnxPolicy, to_onnx
from spikepropamine.export.rsl_rl_file import RslRlPolicy, States, to_rsl_rl
from spikepropamine.policies.state import StateLayout

onnxruntime = pytest.importorskip("onnxruntime")

FILES = {
    "robots/Swimmer-v5/ndp-oja": ["obs", "h_in", "c_in"],
    "motor-changes/lstm/HalfCheetah-v5/lstm-linear": ["obs", "h_in", "c_in"],
    "motor-changes/HalfCheetah-v5/mlp": ["obs"],
}


@pytest.mark.parametrize("name", FILES)
def test_the_file_has_the_names_and_shapes_of_rsl_rl_and_acts_as_the_other(name):
    policy = sp.load(name)
    file = RslRlPolicy(to_rsl_rl(policy, {}))
    inputs = file.session.get_inputs()
    outputs = file.session.get_outputs()
    assert [x.name for x in inputs] == FILES[name]
    assert {x.type for x in [*inputs, *outputs]} == {"tensor(float)"}
    assert inputs[0].shape == [1, *policy.policy.observation_space.shape]
    assert outputs[0].name == "actions"
    if len(inputs) == 3:
        assert [x.name for x in outputs] == ["actions", "h_out", "c_out"]
        shapes = {tuple(x.shape) for x in [*inputs[1:], *outputs[1:]]}
        assert len(shapes) == 1  # a runtime may make both states of one shape
        assert len(shapes.pop()) == 3
    other = OnnxPolicy(to_onnx(policy, {}))
    rng = np.random.default_rng(0)
    for _ in range(30):
        seen = rng.normal(size=inputs[0].shape[1]).astype(np.float32)
        np.testing.assert_allclose(file.act(seen), other.act(seen), atol=1e-5)
        if other.state:  # where rounding makes a neuron fire, both go on from there
            file.take(other.state[STATE])


@pytest.mark.parametrize(
    "shapes", [{"a": (3,), "b": (2, 2)}, {"hidden": (2, 5), "cell": (2, 5)}]
)
def test_a_state_is_what_it_was_after_it_was_split(shapes):
    layout = StateLayout(shapes)
    states = States(layout)
    flat = torch.arange(1.0, layout.size + 1)[None]
    h, c = states.split(flat)
    assert h.shape == c.shape == torch.Size(states.shape)
    torch.testing.assert_close(states.join(h, c), flat)
    if "hidden" in shapes:
        torch.testing.assert_close(h[:, 0], layout.unpack(flat)["hidden"][0])


def test_actions_are_single_numbers_where_a_task_takes_doubles():
    policy = sp.load("robots/Swimmer-v5/ndp-oja")
    space = policy.policy.action_space
    policy.policy.action_space = Box(space.low, space.high, dtype=np.float64)
    file = RslRlPolicy(to_rsl_rl(policy, {}))
    assert {x.type for x in file.session.get_outputs()} == {"tensor(float)"}


def test_what_is_no_vector_is_refused(tmp_path, capsys):
    words = ["export", "cue-ppo/CueAssociation-v0/ndp-oja", "--format", "rsl_rl"]
    assert main([*words, "--out", str(tmp_path / "policy.onnx")]) == 2
    assert "actions are Discrete: use --format onnx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Recall:
    """A task for rsl_rl: a sign is shown at the first step, and asked for later.

    What is asked for is an action near the sign. The best without a memory is 0, whose
    mean reward is -0.75.
    """

    num_envs = 16
    num_actions = 1
    max_episode_length = 4
    device = "cpu"
    cfg: dict = {}

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.sign = self._drawn()

    def _drawn(self):
        return torch.randint(0, 2, (self.num_envs,), generator=self.generator) * 2.0 - 1

    def get_observations(self):
        from tensordict import TensorDict

        shown = (self.episode_length_buf == 0).float()
        seen = torch.stack([self.sign * shown, 1 - shown], dim=1)
        return TensorDict({"policy": seen}, batch_size=[self.num_envs])

    def step(self, actions):
        asked = (self.episode_length_buf > 0).float()
        rewards = -asked * (actions[:, 0].clamp(-2, 2) - self.sign) ** 2
        self.episode_length_buf += 1
        done = self.episode_length_buf >= self.max_episode_length
        self.sign = torch.where(done, self._drawn(), self.sign)
        self.episode_length_buf[done] = 0
        extras = {"time_outs": torch.zeros(self.num_envs)}
        return self.get_observations(), rewards, done.long(), extras


ACTOR = {
    "class_name": "spikepropamine.export.rsl_rl_model:PlasticModel",
    "network": {"hidden": [16], "plastic": [True], "recurrent": [True], "rule": "hebb"},
    "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.5},
}


@pytest.fixture
def runner():
    pytest.importorskip("rsl_rl", reason="the extra `rsl-rl` is not installed")
    from rsl_rl.runners import OnPolicyRunner

    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = {
        "num_steps_per_env": 8,
        "save_interval": 10**6,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "logger": "tensorboard",
        "check_for_nan": True,
        "actor": json.loads(json.dumps(ACTOR)),
        "critic": {"class_name": "MLPModel", "hidden_dims": [32]},
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": 2,
            "num_mini_batches": 2,
            "learning_rate": 3e-3,
            "schedule": "fixed",
            "entropy_coef": 0.0,
            "gamma": 0.9,
            "desired_kl": None,
        },
    }
    with contextlib.redirect_stdout(io.StringIO()):
        yield OnPolicyRunner(Recall(), settings, log_dir=None, device="cpu")


def mean_reward(runner, steps=40):
    """Of the likeliest actions."""
    env = Recall()
    model = runner.alg.get_policy()
    act = runner.get_inference_policy()
    model.reset()
    observations = env.get_observations()
    total = 0.0
    with torch.no_grad():
        for _ in range(steps):
            observations, rewards, done, _ = env.step(act(observations))
            model.reset(done)
            total += float(rewards.mean())
    return total / steps


@pytest.mark.nightly
def test_rsl_rl_trains_the_model(runner):
    """250 iterations of 2 epochs of 2 batches: a thousand updates."""
    assert mean_reward(runner) < -0.5
    runner.learn(250)
    assert mean_reward(runner) > -0.1


def test_trajectories_give_what_steps_gave(runner):
    """As rsl_rl pads them, with the states that it stored."""
    from rsl_rl.utils import split_and_pad_trajectories

    env = Recall()
    model = runner.alg.get_policy()
    observations = env.get_observations()
    seen, states, dones, by_step = [], [], [], []
    with torch.no_grad():
        for _ in range(10):
            state = model.get_hidden_state()
            states.append(
                torch.zeros(1, env.num_envs, model.network.layout.size)
                if state is None
                else state.clone()
            )
            seen.append(observations)
            by_step.append(model.get_latent(observations))
            observations, _, done, _ = env.step(torch.zeros(env.num_envs, 1))
            dones.append(done[:, None])
            model.reset(done)
    padded, masks = split_and_pad_trajectories(torch.stack(seen), torch.stack(dones))
    begins = torch.cat([torch.ones(1, env.num_envs), torch.stack(dones)[:-1, :, 0]])
    order = begins.bool().T.nonzero()  # by environment, then by time
    first = torch.stack([states[t][0, n] for n, t in order.tolist()])[None]
    together = model.get_latent(padded, masks, first)
    torch.testing.assert_close(together, torch.stack(by_step), atol=1e-5, rtol=1e-5)


def test_only_what_is_done_is_forgotten(runner):
    model = runner.alg.get_policy()
    observations = Recall().get_observations()
    with torch.no_grad():
        for _ in range(3):
            model(observations)
    before = model.get_hidden_state().clone()
    done = torch.zeros(16, dtype=torch.long)
    done[3] = 1
    model.reset(done)
    after = model.get_hidden_state()
    assert not after[0, 3].any() and before[0, 3].any()
    others = done == 0
    torch.testing.assert_close(after[0, others], before[0, others])
    with pytest.raises(ValueError, match="begin at 0"):
        model.reset(done, after)
    model.reset()
    assert model.get_hidden_state() is None


def test_there_is_no_torchscript_and_the_message_says_what_there_is(runner):
    with pytest.raises(UsageError, match="as ONNX"):
        runner.alg.get_policy().as_jit()


@pytest.mark.nightly
def test_the_runner_exports_what_it_trains(runner, tmp_path):
    runner.export_policy_to_onnx(str(tmp_path))
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    assert [x.name for x in session.get_inputs()] == ["obs", "h_in", "c_in"]
    assert [x.name for x in session.get_outputs()] == ["actions", "h_out", "c_out"]
    state = np.zeros(session.get_inputs()[1].shape, np.float32)
    states = {"h_in": state, "c_in": state}
    env = Recall()
    observations = env.get_observations()
    act = runner.get_inference_policy()
    for _ in range(4):
        seen = observations["policy"][:1].numpy()
        actions, h, c = session.run(None, {"obs": seen} | states)
        states = {"h_in": h, "c_in": c}
        with torch.no_grad():
            expected = act(observations)
        np.testing.assert_allclose(actions, expected[:1].numpy(), atol=1e-5)
        observations, *_ = env.step(expected)
