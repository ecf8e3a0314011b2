"""Laws of evolution: its steps, workers, resuming, and weights drawn for each
episode.
"""

import multiprocessing
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_venv
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecNormalize
from train_runs import folder_of, with_folder

from spikepropamine.agents import members
from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.search import Search
from spikepropamine.agents.zoo import build
from spikepropamine.export.command import main as export
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.network import SpikingNetwork
from spikepropamine.training.command_line import parse
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import main

TINY = [
    "--env", "CueAssociation-v0", "--trainer.kind", "evolution", "--n-envs", "2",
    "--trainer.population", "4", "--network.hidden", "8", "8", "--network.ticks", "1",
    "--steps", "800",
]  # fmt: skip
RULES_ALONE = ["--trainer.untrained", "weights", "--network.fresh-weights", "random"]
GENERATION = 5 * 2 * 40  # steps, of the centre and four members


def algorithm(policy="ndp-oja", *more):
    settings = parse([*TINY, "--policy", policy, *more])
    venv = make_envs(settings)
    return build(policy, venv, settings.network, settings.trainer, settings.seed)


def parameters(model):
    return torch.cat([x.detach().flatten() for x in model.policy.parameters()])


def test_a_step_goes_to_the_better_of_a_pair():
    search = Search(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2, 0.1, 0.1, 0.5)
    centre = search.centre.clone()
    first, second = search.members(seed=3)
    torch.testing.assert_close(first + second, 2 * centre)
    search.move(torch.stack([first, second]), np.array([-7.0, 5.0]))
    direction = (second - centre) / (second - centre).norm()
    # ClipUp's first step: half of the longest, which is 0.5 of the radius 0.1 * sqrt(4)
    torch.testing.assert_close(search.centre, centre + 0.5 * 0.2 / 2 * direction)


def test_members_depend_on_seed_and_generation_alone():
    search = Search(torch.zeros(6), 4, 0.1, 0.1, 0.2)
    first = search.members(seed=1)
    noise = (first - search.centre) / search.state.stdev
    torch.manual_seed(5)
    assert torch.equal(search.members(seed=1), first)
    assert not torch.equal(search.members(seed=2), first)
    search.move(first, np.arange(4.0))
    other = Search(torch.zeros(6), 4, 0.1, 0.1, 0.2)
    other.restore(search.contents())
    assert torch.equal(other.members(seed=1), search.members(seed=1))
    later = (other.members(seed=1) - other.centre) / other.state.stdev
    assert not torch.allclose(later, noise, atol=0.01)
    with pytest.raises(ValueError, match="7 parameters"):
        Search(torch.zeros(7), 4, 0.1, 0.1, 0.2).restore(search.contents())


class KillsOne(BaseCallback):
    def _on_step(self):
        if self.num_timesteps == GENERATION // 5:  # the centre is through
            multiprocessing.active_children()[0].kill()
        return True


def test_workers_and_their_deaths_change_nothing(monkeypatch):
    monkeypatch.setattr(members, "TOGETHER", 2)
    more = [*RULES_ALONE, "--normalize-observations"]
    alone = algorithm("ndp-oja", *more)
    several = algorithm("ndp-oja", *more)
    before = parameters(alone)
    alone.learn(2 * GENERATION)
    several.workers = 2
    several.learn(2 * GENERATION, KillsOne())
    assert torch.equal(parameters(alone), parameters(several))
    assert alone.num_timesteps == several.num_timesteps == 2 * GENERATION
    assert not torch.equal(parameters(alone), before)
    assert not multiprocessing.active_children()


class RemovesNode(BaseCallback):
    def __init__(self, cluster, node):
        super().__init__()
        self.cluster = cluster
        self.node = node

    def _on_step(self):
        if self.num_timesteps == GENERATION // 5:
            self.cluster.remove_node(self.node, allow_graceful=False)
        return True


@pytest.mark.slow
def test_a_machine_of_a_ray_cluster_that_is_lost_changes_nothing(monkeypatch):
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setattr(members, "TOGETHER", 1)
    alone = algorithm()
    cluster = algorithm()
    alone.learn(2 * GENERATION)
    machines = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1}
    )
    try:
        monkeypatch.setenv("RAY_ADDRESS", machines.address)
        second = machines.add_node(num_cpus=1)
        cluster.cluster = "ray"
        cluster.learn(2 * GENERATION, RemovesNode(machines, second))
        assert not second.any_processes_alive()
    finally:
        machines.shutdown()
    assert torch.equal(parameters(alone), parameters(cluster))


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ("ndp-hebb", RULES_ALONE),
        ("ndp-delta", [*RULES_ALONE, "--network.ticks", "2"]),
        ("dp-stpn", ["--trainer.untrained", "weights"]),
        ("snn", ["--network.recurrent", "false", "true"]),
    ],
)
def test_members_side_by_side_are_each_as_if_alone(policy, more):
    """Also where episodes end at different times; of a pair, both have the same
    episodes and the same drawn weights.
    """
    model = algorithm(policy, *more, "--env", "CartPole-v1")
    vectors = [*3 * model.search.members(0).numpy()[:3]]
    episodes = members.Episodes((5, 6), 7, None)
    parts = (
        model.policy,
        model.names,
        model.env.unwrapped.envs,
        model.env.unwrapped.makers,
    )
    one = members.Worker(*parts)
    several = members.Worker(*parts)
    assert several.together
    one.together = False
    job = members.Job(vectors, records=True)
    expected, found = (worker(episodes, job) for worker in (one, several))
    assert [x.returns.tolist() for x in found] == [x.returns.tolist() for x in expected]
    assert len({x.returns.tobytes() for x in found}) > 1
    for x, y in zip(found[0].record, expected[0].record):
        np.testing.assert_array_equal(x, y)
    again = several(episodes, members.Job([vectors[1], vectors[1]], records=False))
    assert (
        again[0].returns.tolist()
        == again[1].returns.tolist()
        == found[1].returns.tolist()
    )


def test_robots_are_stepped_in_one_call_and_nothing_changes():
    model = algorithm(
        "snn", "--env", "HalfCheetah-v5", "--env-kwargs", "max_episode_steps", "20"
    )
    venv = model.env.unwrapped
    parts = (model.policy, model.names, venv.envs, venv.makers)
    job = members.Job([*model.search.members(0).numpy()[:2]], records=True)
    episodes = members.Episodes((5, 6), 7, None)
    in_one_call = []

    def step_rows(envs):
        rows = venv.step_rows(envs)
        in_one_call.append(rows.in_one_call)
        return rows

    found = members.Worker(*parts, step_rows)(episodes, job)
    expected = members.Worker(*parts)(episodes, job)
    assert in_one_call == [True]
    assert [x.returns.tolist() for x in found] == [x.returns.tolist() for x in expected]
    assert len({x.returns.tobytes() for x in found}) == 2
    for x, y in zip(found[0].record, expected[0].record):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("policy", ["mlp", "gru", "dp-oja"])
def test_every_policy_evolves_and_its_critic_does_not(policy):
    model = algorithm(policy)
    before = {name: x.detach().clone() for name, x in model.policy.named_parameters()}
    model.learn(1)
    assert model.num_timesteps == GENERATION
    changed = {
        n for n, x in model.policy.named_parameters() if not torch.equal(x, before[n])
    }
    assert changed == set(model.names)
    assert not [name for name in changed if "value" in name or "critic" in name]


def test_a_rule_alone_evolves():
    model = algorithm("dp-abcd_synapse", *RULES_ALONE[2:], *RULES_ALONE[:2], "readout")
    groups = {name.rsplit(".", 1)[1] for name in model.names}
    assert groups == {"plasticity_gain", "pre_decay", "post_decay", "eta", "synaptic"}


def test_observations_are_normalised_by_what_members_have_seen():
    model = algorithm("snn", "--normalize-observations")
    model.learn(1)
    statistics = model.get_vec_normalize_env().obs_rms
    assert statistics.count == pytest.approx(
        GENERATION + 2, abs=0.01
    )  # and the first reset
    assert (statistics.mean != 0).any()
    model.get_vec_normalize_env().training, count = False, statistics.count
    model.learn(1, reset_num_timesteps=False)
    assert statistics.count == count


def test_a_loaded_algorithm_goes_on_with_its_search(tmp_path):
    whole = algorithm()
    halves = algorithm()
    whole.learn(3 * GENERATION)
    halves.learn(GENERATION).save(tmp_path / "model")
    again = Evolution.load(tmp_path / "model", env=halves.get_env())
    again.learn(2 * GENERATION, reset_num_timesteps=False)
    assert torch.equal(parameters(again), parameters(whole))


def test_a_search_begins_anew_around_other_parameters_and_takes_other_arguments(
    tmp_path,
):
    model = algorithm()
    model.learn(GENERATION)
    model.save(tmp_path / "model")
    given = model.get_parameters()
    given["policy"]["action_net.weight"].fill_(3.0)
    model.set_parameters(given)
    model.learn(1, reset_num_timesteps=False)
    moved = model.policy.action_net.weight - 3.0
    assert 0 < moved.abs().max() < 0.1
    again = Evolution.load(tmp_path / "model", env=model.get_env(), population=6)
    again.learn(1, reset_num_timesteps=False)
    assert again.num_timesteps == GENERATION + 7 * 2 * 40


@pytest.mark.parametrize(
    "normalised", [{"norm_obs_keys": ["cue"]}, {"norm_obs": False}]
)
def test_what_is_not_normalised_has_no_statistics(normalised):
    venv = VecNormalize(make_venv("dict"), **normalised)
    network = {"network": {"hidden": (8,)}}
    Evolution("PlasticSpikingPolicy", venv, population=2, policy_kwargs=network).learn(
        1
    )
    if "norm_obs_keys" in normalised:
        assert venv.obs_rms["cue"].count > 5 and "phase" not in venv.obs_rms


def test_members_end_episodes():
    counter = StopTrainingOnMaxEpisodes(2)
    model = algorithm()
    model.learn(10 * GENERATION, counter)
    assert model.num_timesteps < GENERATION and counter.n_episodes >= 2


def test_environments_that_members_would_not_see_are_refused():
    plain = make_vec_env("CartPole-v1", 2)
    processes = make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv)
    with closing(processes):
        for venv, words in (
            (VecFrameStack(plain, 2), "VecFrameStack"),
            (processes, "one by one"),
        ):
            with pytest.raises(ValueError, match=words):
                Evolution("MlpPolicy", venv, population=2).learn(1)


@pytest.mark.slow
def test_rules_alone_learn_to_associate_over_weights_drawn_anew():
    arguments = ["--policy", "ndp-delta", "--network.hidden", "32", *RULES_ALONE]
    settings = parse(
        ["--env", "CueAssociation-v0", "--trainer.kind", "evolution", *arguments]
    )
    model = build(
        "ndp-delta", make_envs(settings), settings.network, settings.trainer, 0
    )
    model.learn(1_000_000)
    assert np.mean([episode["r"] for episode in model.ep_info_buffer]) > 4  # chance: 0


def drawing(**changes):
    torch.manual_seed(0)
    config = NetworkConfig(
        rule="oja", modulation="direct", hidden=(7, 5), input_gain=4.0
    )
    return SpikingNetwork(3, replace(config, **changes), range(3))


@torch.no_grad()
def test_every_episode_has_weights_of_its_own():
    network = drawing(fresh_weights="random")
    plain = drawing()
    plain.load_state_dict(network.state_dict())
    observations = torch.randn(6, 1, 4, 3)
    flat = torch.zeros(1, 4, network.hidden_size)
    seeds = torch.zeros(1, 4, 1)
    state = (flat, seeds)
    drawn = []
    features = []
    for step, x in enumerate(observations):
        starts = torch.tensor([[float(step == 0)] * 3 + [float(step in (0, 3))]])
        output, state = network(x, state, starts)
        drawn.append(state[1].flatten().tolist())
        features.append(output)
    assert len(set(drawn[0])) == 4  # episodes differ
    assert all(row[:3] == drawn[0][:3] for row in drawn)  # each keeps its own
    assert drawn[2][3] == drawn[0][3] != drawn[3][3] == drawn[5][3]
    for row in range(3):  # they are those of a network with these weights
        plain.redraw(int(drawn[0][row]))
        state = flat[:, :1], seeds[:, :1]
        for step, x in enumerate(observations):
            starts = torch.tensor([[float(step == 0)]])
            output, state = plain(x[:, row : row + 1], state, starts)
            assert torch.equal(output, features[step][:, row : row + 1])
    with torch.enable_grad(), pytest.raises(ValueError, match="gradients"):
        network(x, (flat, seeds), starts)


def test_weights_drawn_have_the_spread_of_the_first_ones():
    network = drawing(fresh_weights="random", hidden=(200, 300))
    network.redraw(1)
    first, second = (layer.weight for layer in network.layers)
    assert first.std().item() == pytest.approx(4 / 3**0.5, rel=0.1)
    assert second.std().item() == pytest.approx(1 / 200**0.5, rel=0.02)
    assert not any(
        x.any() for x in drawing(fresh_weights="zero").layers[0].fixed_weights()
    )


def test_a_run_leaves_a_policy_that_draws(tmp_path, capsys):
    arguments = with_folder(tmp_path, *TINY, *RULES_ALONE, "--policy", "ndp-oja")
    assert main(arguments) == 0
    policy = load_policy(folder_of(tmp_path) / "policy")
    observation = np.zeros((3, *policy.policy.observation_space.shape), np.float32)
    starts = np.ones(3, dtype=bool)
    seeds = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seeds.append(policy.predict(observation, None, starts)[1][1].ravel().tolist())
    assert seeds[0] == seeds[1] != seeds[2] and len(set(seeds[0])) == 3
    for kind in ("onnx", "nir"):  # in which they stay
        assert export([str(folder_of(tmp_path)), "--format", kind]) == 0
        assert "one episode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--trainer.population", "5"], ["population", "even", "5"]),
        (["--critic-told"], ["--critic-told", "gradients"]),
        (["--trainer.kind", "ppo", *RULES_ALONE], ["fresh_weights", "evolution"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, more, words):
    assert main(with_folder(tmp_path, *TINY, "--policy", "ndp-oja", *more)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert all(word in said for word in words)
    assert not (tmp_path / "runs").exists()
