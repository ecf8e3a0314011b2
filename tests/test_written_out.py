"""What off-policy learning writes out is what autograd and optimisers give."""

import copy
import math

import pytest
import torch
from stable_baselines3.common.logger import Logger
from test_plastic_sac import model

from spikepropamine.agents import PlasticSAC, PlasticTQC
from spikepropamine.agents.crossq import NormalisedCritics
from spikepropamine.agents.off_policy import Transitions, features_of
from spikepropamine.agents.td3 import PlasticTD3
from spikepropamine.policies.critics import Critics
from spikepropamine.policies.flat_adam import FlatAdam, flat
from spikepropamine.policies.passes import ActorPass

ROWS = 7
STATE = 5
ACTIONS = 2
LOSSES = {"sac": PlasticSAC, "tqc": PlasticTQC, "td3": PlasticTD3}


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("kind", [Critics, NormalisedCritics])
def test_a_pass_through_critics_has_the_gradients_of_autograd(kind, outputs):
    torch.manual_seed(0)
    critics = kind(STATE + ACTIONS, [6, 4], outputs, 2).double()
    critics.train(False)
    states = numbers(ROWS, STATE).requires_grad_()
    actions = numbers(ROWS, ACTIONS).requires_grad_()
    slopes = numbers(2, ROWS, outputs)
    parameters = list(critics.parameters())
    values = critics(states, actions)
    expected = torch.autograd.grad(values, [states, actions, *parameters], slopes)

    passing = critics.new_pass(ROWS)
    with torch.no_grad():
        for _ in range(2):  # the second in the memory of the first
            torch.testing.assert_close(passing.forward(states, actions), values)
            passing.backward(slopes)
            passing.to_parameters()
            of_states = passing.to_inputs(0, STATE)
            of_actions = passing.to_inputs(STATE, STATE + ACTIONS)
    found = [of_states, of_actions, *(x.grad for x in parameters)]
    torch.testing.assert_close(found, list(expected))


@pytest.mark.parametrize("cls", [PlasticSAC, PlasticTD3])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_pass_through_an_actor_has_the_gradients_of_autograd(cls, hidden):
    torch.manual_seed(0)
    actor = model("mlp", cls=cls, policy_kwargs={"net_arch": [6, 4]}).actor.double()
    with torch.no_grad():
        actor.action_net.weight.mul_(30)
        if cls is PlasticSAC:
            actor.log_std_net.weight.mul_(30)
            actor.log_std_net.bias[:] = 2.0  # in some rows above what there may be
    seen = numbers(ROWS, 3)
    features = actor.mlp_extractor.forward_actor(seen)
    torch.manual_seed(1)
    mean, log_std = actor.gaussian(features)
    noise = torch.randn_like(mean) if cls is PlasticSAC else torch.zeros_like(mean)
    actions = torch.tanh(mean + log_std.exp() * noise)
    log_probs = log_likelihoods(mean, log_std, noise)
    of_actions = numbers(*actions[:-2].shape)
    of_log_probs = numbers(ROWS - 2)
    outputs = [actions[:-2]]
    upstream = [of_actions]
    if cls is PlasticSAC:
        assert 0 < (log_std == 2).sum() < ROWS
        outputs.append(log_probs[:-2])
        upstream.append(of_log_probs)
    parameters = [x for x in actor.parameters() if x.requires_grad]
    expected = torch.autograd.grad(outputs, parameters, upstream, retain_graph=True)

    layers = actor.rectified_layers() if hidden else []
    passing = ActorPass(actor, layers, ROWS)
    for _ in range(2):  # the second in the memory of the first
        actor.optimizer.zero_grad()
        torch.manual_seed(1)
        found, found_log_probs = passing.forward(seen if hidden else features)
        torch.testing.assert_close(found, actions)
        if cls is PlasticSAC:
            torch.testing.assert_close(found_log_probs, log_probs)
        passing.backward(of_actions, of_log_probs, torch.arange(ROWS - 2))
        torch.testing.assert_close([x.grad for x in parameters], list(expected))
        features = actor.mlp_extractor.forward_actor(seen)


def test_what_is_not_trained_stays_as_it_is():
    algorithm = model("mlp", learning_starts=1000)
    algorithm.set_logger(Logger(None, []))
    algorithm.learn(80)
    actor = algorithm.actor
    critic = algorithm.critic
    frozen = [actor.action_net.weight, critic.layers[0]]
    for x in frozen:
        x.requires_grad_(False)
    before = [x.clone() for x in frozen]
    algorithm.train(3, 32)
    for x, y in zip(frozen, before):
        assert torch.equal(x, y)


def transitions_of(log_probs):
    weights = torch.rand(ROWS, dtype=torch.float64)
    nothing = numbers(0)
    return Transitions(
        *[nothing] * 5,
        weights=weights / weights.sum(),
        new_actions=nothing,
        new_log_probs=log_probs,
        next_actions=nothing,
        next_log_probs=nothing,
        rows=nothing,
    )


@pytest.mark.parametrize("kind", LOSSES)
def test_slopes_of_losses_are_those_of_autograd(kind):
    torch.manual_seed(0)
    algorithm = model("mlp", cls=LOSSES[kind])
    outputs = 5 if kind == "tqc" else 1
    values = (2 * numbers(2, ROWS, outputs)).requires_grad_()
    targets = 2 * numbers(ROWS, 9 if kind == "tqc" else 1)
    log_probs = numbers(ROWS).requires_grad_()
    transitions = transitions_of(log_probs)

    loss, slopes = algorithm._critic_loss(values, targets, transitions.weights)
    (expected,) = torch.autograd.grad(loss, values)
    torch.testing.assert_close(slopes, expected)
    actor_loss = algorithm._actor_loss(values, transitions)
    of_values, of_log_probs = torch.autograd.grad(
        actor_loss.value, [values, log_probs], allow_unused=True
    )
    torch.testing.assert_close(actor_loss.of_values, of_values)
    if kind == "td3":
        assert actor_loss.of_log_probs is None and of_log_probs is None
    else:
        torch.testing.assert_close(
            actor_loss.of_log_probs,
            of_log_probs,
            check_dtype=False,
            rtol=1e-6,
            atol=1e-7,
        )


def parameters_of(seed):
    torch.manual_seed(seed)
    shapes = [(2, 3, 4), (2, 1, 4), (5,), ()]
    return [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]


def test_flat_adam_is_adam_to_the_last_bit():
    mine = parameters_of(0)
    theirs = parameters_of(0)
    settings = {"lr": 0.01, "betas": (0.5, 0.99)}
    flat_adam = FlatAdam(mine, **settings)
    adam = torch.optim.Adam(theirs, fused=True, **settings)
    for step in range(12):
        flat_adam.zero_grad()
        adam.zero_grad()
        for x, y in zip(mine, theirs):
            gradient = torch.randn(x.shape)
            x.grad = gradient if step == 3 else x.grad.copy_(gradient)
            y.grad = gradient.clone()
        if step == 5:
            flat_adam.load_state_dict(copy.deepcopy(adam.state_dict()))
        if step == 7:
            adam.load_state_dict(flat_adam.state_dict())
        if step == 9:
            mine[1].data = mine[1].detach().clone()  # as by a move to another device
        for optimizer in (flat_adam, adam):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
            optimizer.step()
        for x, y in zip(mine, theirs, strict=True):
            assert torch.equal(x, y)


def test_flat_tensors_share_what_is_written_to_them():
    tensors = [torch.randn(3, 2), torch.randn(()), torch.randn(4, 3).mT]
    before = [x.clone() for x in tensors]
    together = flat(tensors)
    for x, y in zip(tensors, before):
        assert torch.equal(x, y)
    together.zero_()
    assert not any(x.any() for x in tensors)
    assert flat(tensors).data_ptr() == together.data_ptr()


def log_likelihoods(mean, log_std, noise):
    """Of draws of a squashed Gaussian with this noise."""
    u = mean + log_std.exp() * noise
    squash = 2 * (math.log(2) - u - torch.nn.functional.softplus(-2 * u))
    each = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squash
    return each.sum(dim=-1)


def transitions_by_autograd(algorithm, batch):
    """The steps of a minibatch with gradients to the actor."""
    state = torch.get_rng_state()
    transitions = algorithm._transitions(batch)
    torch.set_rng_state(state)
    actor = algorithm.actor
    mean, log_std = actor.gaussian(features_of(actor, algorithm._inputs(batch, actor)))
    noise = torch.randn_like(mean)
    actions = torch.tanh(mean + log_std.exp() * noise)
    log_probs = log_likelihoods(mean, log_std, noise)
    return transitions._replace(
        new_actions=actions[:-1].flatten(0, 1), new_log_probs=log_probs[:-1].flatten()
    )


def updated_by_autograd(algorithm, batch):
    """One update of SAC, with PyTorch's autograd and optimisers alone."""
    transitions = transitions_by_autograd(algorithm, batch)
    weights = transitions.weights
    coefficient = algorithm.log_ent_coef.detach().exp()
    with torch.no_grad():
        following = algorithm.critic_target(
            transitions.next_states, transitions.next_actions
        )
        worth = (
            following.amin(dim=0) - coefficient * transitions.next_log_probs[:, None]
        )
        discounts = algorithm.gamma * (1 - transitions.dones)
        targets = transitions.rewards + discounts * worth[:, 0]
    critic_loss = 0.0
    for values in algorithm.critic(transitions.states, transitions.actions):
        critic_loss += 0.5 * ((values[:, 0] - targets).square() * weights).sum()
    algorithm.critic.optimizer.zero_grad()
    algorithm.actor.optimizer.zero_grad()
    critic_loss.backward(retain_graph=True)
    algorithm.critic.optimizer.step()
    states = transitions.states.detach()
    values = algorithm.critic(states, transitions.new_actions).amin(dim=0)[:, 0]
    costs = coefficient * transitions.new_log_probs - values
    (costs * weights).sum().backward()
    algorithm.actor.optimizer.step()
    log_probs = transitions.new_log_probs.detach() @ weights
    algorithm.log_ent_coef.grad = -(log_probs + algorithm.target_entropy).reshape(1)
    algorithm.ent_coef_optimizer.step()
    for x, y in zip(
        algorithm.critic_target.parameters(), algorithm.critic.parameters()
    ):
        x.data += algorithm.tau * (y.data - x.data)


@pytest.mark.parametrize("sees_state", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "gru", "snn", "ndp-oja"])
def test_an_update_is_that_of_autograd(kind, sees_state):
    kwargs = {"critic_sees_state": sees_state}
    mine, other = (
        model(kind, learning_starts=1000, policy_kwargs=kwargs) for _ in range(2)
    )
    for algorithm in (mine, other):
        algorithm.set_logger(Logger(None, []))
    optimizers = [(other.actor, "optimizer"), (other.critic, "optimizer")]
    for owner, name in [*optimizers, (other, "ent_coef_optimizer")]:
        parameters = getattr(owner, name).param_groups[0]["params"]
        setattr(owner, name, torch.optim.Adam(parameters, lr=3e-4))
    mine.learn(80)
    for index in range(10):
        batch = mine.replay_buffer.sample(40)
        torch.manual_seed(index)
        mine._update(batch)
        torch.manual_seed(index)
        updated_by_autograd(other, batch)
    for (name, x), y in zip(
        mine.policy.named_parameters(), other.policy.parameters(), strict=True
    ):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5, msg=name)
