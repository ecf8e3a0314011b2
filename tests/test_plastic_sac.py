"""Laws of off-policy learning: squashed actors, targets, saving, what is observed."""

import csv
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import make_venv
from sb3_contrib.common.utils import quantile_huber_loss
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from spikepropamine.agents import PlasticSAC, PlasticTQC
from spikepropamine.agents.off_policy import features_of, memory_of
from spikepropamine.export import command as export
from spikepropamine.policies.actors import SquashedDraw
from spikepropamine.policies.critics import Critics
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast import fast
from spikepropamine.policies.flat_adam import FlatAdam
from spikepropamine.report import evaluate
from spikepropamine.training import run as train

KINDS = {
    "mlp": ("MlpPolicy", {"net_arch": {"pi": [16], "qf": [16]}}),
    "lstm": ("MlpLstmPolicy", {"lstm_hidden_size": 8, "n_lstm_layers": 2}),
    "gru": ("GruPolicy", {"lstm_hidden_size": 8}),
    "snn": ("PlasticSpikingPolicy", {"network": {"rule": "none", "hidden": (16, 16)}}),
    "ndp-oja": (
        "PlasticSpikingPolicy",
        {
            "network": {
                "rule": "oja",
                "modulation": "direct",
                "hidden": (16, 12),
                "ticks": 2,
            }
        },
    ),
}


def venv(n_envs=2, limit=13):
    return DummyVecEnv(
        [
            partial(gym.make, "Pendulum-v1", max_episode_steps=limit + i)
            for i in range(n_envs)
        ]
    )


def model(kind="snn", env=None, cls=PlasticSAC, policy_kwargs=None, **arguments):
    policy, more = KINDS[kind]
    given = {
        "learning_starts": 20,
        "batch_size": 32,
        "train_freq": 8,
        "gradient_steps": 2,
        "buffer_size": 1000,
        "seed": 1,
        "device": "cpu",
    }
    more = {"net_arch": {"qf": [16]}} | more | (policy_kwargs or {})
    return cls(policy, env or venv(), policy_kwargs=more, **(given | arguments))


class Means(BaseCallback):
    """Keeps what the actor's means were, environment by environment."""

    def __init__(self):
        super().__init__()
        self.found = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.found.append(self.model.rollout_buffer.means)


@pytest.mark.parametrize(
    ("kind", "normalised"), [*((k, False) for k in KINDS), ("lstm", True)]
)
def test_unroll_from_stored_states_gives_what_acted(kind, normalised):
    env = venv()
    if normalised:
        env = VecNormalize(env, norm_reward=False)
        env.training = False
    algorithm = model(kind, env, learning_starts=10_000, sequence_length=5)
    means = Means()
    algorithm.learn(160, means)
    acted = np.concatenate(means.found)  # [steps, n_envs, actions]
    buffer = algorithm.replay_buffer
    for env_index in range(2):
        # positions of the entries of weight 1 are the steps in order
        count = buffer.counts[env_index]
        steps = np.cumsum(buffer.weights[env_index, :count]).astype(int) - 1
        for block in range((count - buffer.entries) // buffer.sequence_length):
            at = block * buffer.sequence_length + np.arange(buffer.entries)
            obs = buffer._normalize_obs(
                buffer.kept[""][env_index, at], algorithm._vec_normalize_env
            )
            inputs = torch.as_tensor(obs, dtype=torch.float32)[:, None]
            starts = torch.as_tensor(buffer.starts[env_index, at])[:, None]
            states = torch.as_tensor(buffer.states[env_index, block : block + 1])
            with torch.no_grad():
                actor = algorithm.actor
                features, _ = actor.unroll(inputs, starts, actor.pair(states))
                mean = torch.tanh(actor.gaussian(features)[0])[:, 0].numpy()
            real = buffer.weights[env_index, at] == 1
            np.testing.assert_allclose(
                mean[real], acted[steps[at[real]], env_index], atol=1e-5
            )
    assert (
        buffer.starts.sum() > 4 and (buffer.weights[0, : buffer.counts[0]] == 0).any()
    )


@pytest.mark.parametrize("kind", ["mlp", "gru", "ndp-oja"])
def test_the_fast_way_acts_as_the_policy(kind):
    actor = model(kind).actor
    states = [None, None]
    starts = np.ones(2)
    for step in range(6):
        obs = np.random.randn(2, 3).astype(np.float32)
        actions = []
        for index, way in enumerate((actor, fast(actor))):
            action, states[index] = way.predict(
                obs, states[index], starts, deterministic=True
            )
            actions.append(action)
        np.testing.assert_allclose(*actions, atol=1e-5)
        starts = np.array([step == 3, False])
    for way in (actor, fast(actor)):
        torch.manual_seed(1)
        actions.append(way.predict(obs, states[0], starts)[0])
    np.testing.assert_allclose(*actions[2:], atol=1e-5)


def test_draws_have_the_likelihood_of_a_squashed_gaussian():
    torch.manual_seed(0)
    mean, log_std = torch.randn(2, 6, 3, dtype=torch.float64).requires_grad_().unbind()
    noise = torch.randn(6, 3, dtype=torch.float64)
    draw = SquashedDraw.of(mean.detach(), log_std.detach(), noise)
    actions = torch.tanh(mean + log_std.exp() * noise)
    torch.testing.assert_close(draw.actions, actions)
    reference = SquashedDiagGaussianDistribution(3, epsilon=0.0)
    reference.proba_distribution(mean, log_std)
    log_probs = reference.log_prob(actions)
    torch.testing.assert_close(draw.log_probs, log_probs)
    upstream = [torch.randn_like(actions), torch.randn_like(log_probs)]
    expected = torch.autograd.grad([actions, log_probs], [mean, log_std], upstream)
    torch.testing.assert_close(draw.slopes(*upstream), expected)
    far = torch.full((1, 1), 30.0)  # where 1 - tanh(u)^2 is 0 in any precision
    found = SquashedDraw.of(far, far * 0, far * 0).log_probs
    torch.testing.assert_close(
        found, torch.tensor([60 - 2 * np.log(2) - 0.5 * np.log(2 * np.pi)]).float()
    )


def test_critics_are_separate_mlps():
    critics = Critics(5, [7, 6], 3, 2)
    x = torch.randn(4, 3)
    a = torch.randn(4, 2)
    for index, found in enumerate(critics(x, a)):
        out = torch.cat([x, a], 1)
        for k in range(3):
            out = (
                out @ critics.layers[2 * k][index].T + critics.layers[2 * k + 1][index]
            )
            out = out if k == 2 else out.relu()
        torch.testing.assert_close(found, out)
    critics.double()
    leaves = [x.double().requires_grad_() for x in (x, a)]
    assert torch.autograd.gradcheck(lambda x, a: critics(x, a), leaves)


@pytest.mark.parametrize("critic_sees_state", [False, True])
def test_targets_by_hand(critic_sees_state):
    policy, more = KINDS["snn"]
    algorithm = PlasticSAC(
        policy, venv(1, 6), 1e-9, ent_coef=0.5, gamma=0.9, learning_starts=1000, seed=0,
        sequence_length=3, buffer_size=300,
        policy_kwargs={"critic_sees_state": critic_sees_state,
                       "net_arch": {"qf": [4]}} | more,
    )  # fmt: skip
    algorithm.learn(40)
    with torch.no_grad():
        for critics, values in (
            (algorithm.critic, (1.0, 2.0)),
            (algorithm.critic_target, (5.0, 3.0)),
        ):
            for x in critics.parameters():
                x.zero_()
            critics.layers[-1][:, 0, 0] = torch.tensor(values)
    buffer = algorithm.replay_buffer
    buffer.dones[:, ::3] = buffer.weights[
        :, ::3
    ]  # some actions end an episode for good
    batch = buffer.sample(60)
    assert 0 < batch.dones[:-1].sum() < batch.weights[:-1].sum()
    torch.manual_seed(3)
    with torch.no_grad():
        actor = algorithm.actor
        features = features_of(actor, algorithm._inputs(batch, actor))
        _, log_probs, _ = actor.draw(actor.logits(features))
    targets = batch.rewards[:-1] + 0.9 * (1 - batch.dones[:-1]) * (
        3.0 - 0.5 * log_probs[1:]
    )
    weights = batch.weights[:-1]
    assert (weights == 0).any()
    errors = 0.5 * ((1.0 - targets) ** 2 + (2.0 - targets) ** 2)
    torch.manual_seed(3)
    losses = algorithm._update(batch)
    torch.testing.assert_close(
        losses["critic_loss"], (errors * weights).sum() / weights.sum()
    )
    actor = (0.5 * log_probs[:-1] - 1.0) * weights
    torch.testing.assert_close(losses["actor_loss"], actor.sum() / weights.sum())


def test_the_entropy_coefficient_follows_the_target_entropy():
    algorithm = model("mlp", learning_starts=1000, target_entropy=-0.7)
    algorithm.learn(40)
    batch = algorithm.replay_buffer.sample(60)
    torch.manual_seed(3)
    with torch.no_grad():
        actor = algorithm.actor
        features = features_of(actor, algorithm._inputs(batch, actor))
        _, log_probs, _ = actor.draw(actor.logits(features))
    weights = batch.weights[:-1] / batch.weights[:-1].sum()
    torch.manual_seed(3)
    algorithm._update(batch)
    # of -log_ent_coef (log_prob + target_entropy)
    expected = -((log_probs[:-1] - 0.7) * weights).sum()
    torch.testing.assert_close(algorithm.log_ent_coef.grad, expected.reshape(1))


def test_quantile_loss_is_that_of_tqc():
    algorithm = model("mlp", cls=PlasticTQC)
    outputs = torch.randn(3, 6, 5) * 2
    targets = torch.randn(6, 11) * 2
    weights = torch.full((6,), 1 / 6)
    expected = quantile_huber_loss(
        outputs.transpose(0, 1), targets[:, None], sum_over_quantiles=False
    )
    loss, _ = algorithm._critic_loss(outputs, targets, weights)
    torch.testing.assert_close(loss, expected)
    kept = algorithm._pooled(outputs)
    pooled = np.sort(outputs.numpy().transpose(1, 0, 2).reshape(6, -1), axis=1)[:, :9]
    np.testing.assert_array_equal(kept.numpy(), pooled)


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("mlp", PlasticSAC), ("lstm", PlasticTQC), ("ndp-oja", PlasticSAC)],
)
def test_save_and_load(kind, cls, tmp_path):
    algorithm = model(kind, cls=cls, burn_in=1, policy_delay=2).learn(64)
    assert algorithm._n_updates > 0
    algorithm.save(tmp_path / "model")
    algorithm.save_replay_buffer(tmp_path / "replay")
    again = cls.load(tmp_path / "model", env=venv())
    again.load_replay_buffer(tmp_path / "replay")
    obs = venv().reset()
    for name, x in algorithm.policy.state_dict().items():
        torch.testing.assert_close(x, again.policy.state_dict()[name], rtol=0, atol=0)
    one, two = (m.predict(obs, deterministic=True)[0] for m in (algorithm, again))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(
        algorithm.replay_buffer.rewards, again.replay_buffer.rewards
    )
    assert (
        np.abs(algorithm.predict(np.tile(obs, (20, 1)))[0]) <= 2
    ).all()  # Pendulum's bounds
    again.learn(32, reset_num_timesteps=False)
    assert again.num_timesteps == 96
    longer = cls.load(tmp_path / "model", env=venv(), sequence_length=6, burn_in=3)
    assert longer.replay_buffer.entries == 3 + 6 + 1
    with pytest.raises(ValueError, match="sequence_length=4, burn_in=1"):
        longer.load_replay_buffer(tmp_path / "replay")
    assert longer.replay_buffer.entries == 3 + 6 + 1


def test_what_cannot_work_is_refused():
    for arguments, words in (
        ({"sequence_length": 0}, "sequence_length must be at least 1"),
        ({"n_steps": 3}, "n_steps"),
        ({"use_sde": True}, "gSDE"),
        (
            {"policy_kwargs": {"share_features_extractor": False}},
            "share_features_extractor",
        ),
        ({"policy_kwargs": {"n_critics": 0}}, "there has to be a critic"),
        ({"policy_kwargs": {"told": 3}}, "the actor needs one, too"),
        ({"policy_kwargs": {"told": -1}}, "told=-1"),
    ):
        with pytest.raises(ValueError, match=words):
            model("snn", **arguments)
    for dropped in (-1, 6):  # of which as many would be kept as are there, and none
        with pytest.raises(ValueError, match="less than n_quantiles, 6, got"):
            quantiles = {"n_quantiles": 6}
            model(
                cls=PlasticTQC,
                policy_kwargs=quantiles,
                top_quantiles_to_drop_per_net=dropped,
            )


def test_adam_takes_the_arguments_that_it_takes_in_sb3():
    for arguments in ({"weight_decay": 0.1}, {"amsgrad": True}, {"eps": 1e-5}):
        policy = {"optimizer_kwargs": arguments}
        algorithm = model("mlp", learning_starts=20, policy_kwargs=policy)
        algorithm.learn(60)
        (name,) = arguments
        (group,) = algorithm.actor.optimizer.param_groups
        assert group[name] == arguments[name]
        assert isinstance(algorithm.actor.optimizer, FlatAdam) == (name == "eps")


def test_a_policy_is_called_as_that_of_sb3():
    algorithm = model("mlp")
    seen = torch.rand(3, 3)
    means = algorithm.policy(seen, deterministic=True).detach().numpy()
    actions = algorithm.predict(seen.numpy(), deterministic=True)[0]
    np.testing.assert_allclose(
        algorithm.policy.unscale_action(means), actions, rtol=1e-5
    )


def test_widths_in_a_list_are_of_actor_and_critics():
    policy = model("mlp", policy_kwargs={"net_arch": [12, 9]}).policy
    assert policy.given["net_arch"] == {"pi": [12, 9], "qf": [12, 9]}
    assert (
        policy.actor.action_net.in_features == policy.critic.layers[-2].shape[-1] == 9
    )


def test_a_replay_buffer_of_something_else_is_refused_and_changes_nothing(tmp_path):
    arguments = {"env": venv(), "learning_starts": 20, "device": "cpu"}
    for other, words in (
        (SAC("MlpPolicy", **arguments), "no sequences"),
        (model("gru"), "states of 16 numbers"),
        (model("snn", venv(3)), "3 environments"),
    ):
        other.learn(30).save_replay_buffer(tmp_path / "replay")
        mine = model("snn").learn(30)
        with pytest.raises(ValueError, match=words):
            mine.load_replay_buffer(tmp_path / "replay.pkl")
        mine.learn(30, reset_num_timesteps=False)
        assert mine.replay_buffer.size() >= 60


class Tracking(gym.Env):
    """Reward for an action near the number that is seen, or was so many steps ago."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-2, 2, (1,))

    def __init__(self, ago):
        self.ago = ago

    def _shown(self):
        self.seen.append(self.np_random.uniform(-1, 1))
        return np.array(self.seen[-1:], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen = [0.0] * self.ago
        return self._shown(), {}

    def step(self, action):
        reward = -abs(float(action[0]) - self.seen[-1 - self.ago])
        return self._shown(), reward, False, len(self.seen) == 11 + self.ago, {}


@pytest.mark.parametrize(("kind", "ago"), [("mlp", 0), ("lstm", 1)])
def test_it_learns(kind, ago):
    algorithm = model(
        kind, DummyVecEnv([lambda: Monitor(Tracking(ago))] * 4), learning_rate=1e-2,
        gamma=0.5,
        ent_coef=0.02, batch_size=64, gradient_steps=8, sequence_length=4,
        learning_starts=100,
        policy_kwargs={"critic_sees_state": ago > 0},
    )  # fmt: skip
    algorithm.learn(1600)
    returns = [episode["r"] for episode in list(algorithm.ep_info_buffer)[-30:]]
    assert np.mean(returns) > -3  # -5 without looking, or remembering


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_critics_see_the_memory_and_not_what_follows_it(kind):
    algorithm = model(
        kind,
        policy_kwargs={
            "critic_sees_state": True,
            "net_arch": {"pi": [5], "qf": [4]},
        },
    )
    algorithm.learn(40)
    batch = algorithm.replay_buffer.sample(32)
    actor = algorithm.actor
    inputs = algorithm._inputs(batch, actor)
    memory = memory_of(actor, inputs).detach()
    states = algorithm._transitions(batch).states
    width = actor.lstm_actor.hidden_size
    torch.testing.assert_close(states[:, -width:], memory[:-1].flatten(0, 1))
    assert actor.action_net.in_features == 5
    actor.zero_grad()
    states.sum().backward()
    assert all(x.grad is None for x in actor.mlp_extractor.parameters())
    assert all(x.grad.any() for x in actor.lstm_actor.parameters())


@pytest.mark.parametrize("kind", ["gru", "ndp-oja"])
def test_critics_may_be_told_what_the_actor_does_not_see(kind):
    algorithm = model(
        kind, cls=PlasticTQC, policy_kwargs={"critic_sees_state": True, "told": 1}
    )
    algorithm.learn(64)
    batch = algorithm.replay_buffer.sample(32)
    other = batch._replace(observations=batch.observations.clone())
    other.observations[..., -1] += 1.0
    actor = algorithm.actor
    one, two = (algorithm._inputs(x, actor) for x in (batch, other))
    assert torch.equal(one.seen, two.seen)
    assert torch.equal(features_of(actor, one), features_of(actor, two))
    torch.testing.assert_close(two.told, one.told + 1)
    assert algorithm.actor.observation_space.shape == (2,)
    assert algorithm.predict(venv().reset())[0].shape == (2, 1)


PENDULUM = ["--env", "Pendulum-v1", "--env-kwargs", "max_episode_steps", "20"]
TINY = [
    *PENDULUM, "--n-envs", "2", "--steps", "96", "--network.hidden", "8",
    "--trainer.critic", "8",
    "--trainer.train-freq", "8", "--trainer.gradient-steps", "2",
    "--trainer.batch-size", "16",
    "--trainer.sequence-length", "4", "--trainer.learning-starts", "32", "--log-every",
    "2",
]  # fmt: skip


@pytest.mark.parametrize(("policy", "kind"), [("gru", "tqc"), ("ndp-oja", "sac")])
def test_the_command_line_trains_saves_and_judges(policy, kind, tmp_path):
    runs = ["--policy", policy, "--runs", str(tmp_path)]
    assert train.main([*TINY, *runs, "--trainer.kind", kind], "train.py") == 0
    run = tmp_path / "Pendulum-v1" / policy / "seed-0"
    rows = list(csv.DictReader((run / "progress.csv").open()))
    assert (
        int(rows[-1]["time/total_timesteps"]) == 96
        and float(rows[-1]["train/critic_loss"]) > 0
    )
    assert "rollout/ep_rew_mean" in rows[-1] and "system/steps_per_second" in rows[-1]
    deployed = load_policy(run / "policy")
    actions, _ = deployed.predict(np.random.randn(50, 3) * 9, deterministic=True)
    assert (np.abs(actions) <= 2).all() and actions.shape == (50, 1)
    names = [name for name, _ in deployed.policy.named_parameters()]
    assert not any("critic" in name or "value_net" in name for name in names)
    evaluated = [str(run), "--episodes", "1", "--perturb", "obs_noise=0.1"]
    assert evaluate.main(evaluated, "evaluate.py") == 0
    for form in ("onnx", *["nir"] * (policy != "gru")):
        assert export.main([str(run), "--format", form], "spikepropamine export") == 0


@pytest.mark.parametrize("kind", ["gru", "ndp-oja"])
def test_observations_may_be_a_dict(kind):
    policy, more = KINDS[kind]
    env = make_venv("dict", "box")
    algorithm = PlasticSAC(
        policy, env, learning_starts=20, policy_kwargs=more, device="cpu"
    )
    algorithm.learn(64)
    assert algorithm._n_updates > 0
    actions = algorithm.predict(env.reset())[0]
    assert (
        actions.shape == (2, *env.action_space.shape) and (np.abs(actions) <= 1).all()
    )


class Filmed(gym.Env):
    """Shows noise as a picture with its channels last, which SB3 puts first, and a
    number.
    """

    observation_space = gym.spaces.Dict(
        picture=gym.spaces.Box(0, 255, (36, 40, 3), np.uint8),
        number=gym.spaces.Box(-1, 1, (1,)),
    )
    action_space = gym.spaces.Box(-1, 1, (1,))

    def __init__(self):
        self.shown = []

    def _shown(self):
        self.shown.append(self.observation_space.sample())
        return self.shown[-1]

    def reset(self, *, seed=None, options=None):
        self.left = 3
        return self._shown(), {}

    def step(self, action):
        self.left -= 1
        return self._shown(), 0.0, False, not self.left, {}


def test_pictures_beside_normalised_numbers_are_kept_as_the_policy_saw_them():
    # at the start a spread is nearly zero, and what is clipped cannot be made whole
    # again
    env = VecNormalize(DummyVecEnv([Filmed]), norm_obs_keys=["number"], clip_obs=1e9)
    replay = model("mlp", env, buffer_size=20).learn(8).replay_buffer
    (count,), shown = replay.counts, env.venv.envs[0].shown
    pictures = np.stack([x["picture"].transpose(2, 0, 1) for x in shown])
    np.testing.assert_array_equal(replay.kept["picture"][0, :count], pictures[:count])
    numbers = np.stack([x["number"] for x in shown])
    np.testing.assert_allclose(
        replay.kept["number"][0, :count], numbers[:count], rtol=1e-4
    )


@pytest.mark.parametrize("silent", [False, True])
def test_a_network_for_pictures_learns_from_the_critics_alone(silent):
    algorithm = model(
        "mlp", DummyVecEnv([Filmed]), buffer_size=60, learning_starts=1000
    )
    algorithm.learn(40)
    named = dict(algorithm.actor.named_parameters())
    before = {name: x.detach().clone() for name, x in named.items()}
    if silent:
        for parameter in algorithm.critic.parameters():
            parameter.data.zero_()
    algorithm.train(2)
    changed = {name for name, x in named.items() if not torch.equal(x, before[name])}
    sees = {name for name in named if "features_extractor" in name}
    assert sees and changed == (named.keys() - sees if silent else named.keys())


class Digits(Filmed):
    observation_space = gym.spaces.Box(0, 9, (4,), np.uint8)


def test_whole_numbers_are_kept_as_they_were():
    env = VecNormalize(DummyVecEnv([Digits]), clip_obs=1e9)
    replay = (
        model("mlp", env, buffer_size=400, learning_starts=1000)
        .learn(200)
        .replay_buffer
    )
    count = replay.counts[0]
    shown = env.venv.envs[0].shown
    np.testing.assert_array_equal(replay.kept[""][0, 8:count], shown[8:count])


@pytest.mark.parametrize("amx", [False, True, "another setting"])
def test_learning_leaves_the_process_its_precision_of_products(monkeypatch, amx):
    seen = []
    read = torch.get_float32_matmul_precision

    def refuse():  # as where `torch.backends.cuda.matmul.fp32_precision` was set
        raise RuntimeError

    def update(self, batch):
        seen.append(read())
        raise KeyboardInterrupt

    monkeypatch.setattr(PlasticSAC, "_update", update)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx is True)
    if amx == "another setting":
        monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    before = read()
    with pytest.raises(KeyboardInterrupt):
        model().learn(60)
    assert seen == [before if amx else "medium"]
    assert read() == before != "medium"


def test_small_networks_learn_with_one_thread_and_give_the_others_back():
    counts = []

    def count(found, _):
        counts.append(torch.get_num_threads())
        return True

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model("lstm").learn(40, callback=count)
        assert set(counts) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
