"""One episode of a spiking policy, recorded from the inside."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from policies.export import DeployedPolicy
from policies.policy import PlasticSpikingPolicy


@dataclass(frozen=True)
class Recording:
    """An episode, step by step, and one layer of the network in it: its last plastic layer, or
    the last one where none is plastic.

    Attributes:
        layer: index of the layer.
        ticks: ticks of network time per environment step.
        spikes: float32 [steps * ticks, neurons], 0 or 1.
        rate: float32 [steps * ticks, neurons], what multiplied the drive of the plasticity (eta
            or the neuromodulator, in [-1, 1]); None in a static layer.
        fast_weights: float32 [steps, neurons, inputs], after each step; None in a static layer.
        modulated: whether `rate` is a neuromodulator's.
        actions: [steps, *action].
        rewards: float64 [steps].
        infos: of each step.
    """

    layer: int
    ticks: int
    spikes: np.ndarray
    rate: np.ndarray | None
    fast_weights: np.ndarray | None
    modulated: bool
    actions: np.ndarray
    rewards: np.ndarray
    infos: list[dict[str, Any]]


def can_record(policy: Any) -> bool:
    """Whether the policy is a deployed spiking one, which `record_episode` can look into."""
    return isinstance(getattr(policy, "policy", None), PlasticSpikingPolicy)


def record_episode(
    policy: DeployedPolicy,
    env: gym.Env,
    seed: int,
    plasticity: bool = True,
    max_steps: int = 200,
) -> Recording:
    """Runs one episode with deterministic actions and records it.

    Args:
        policy: a deployed `PlasticSpikingPolicy`.
        env: reset with `seed`; not closed.
        seed: of the episode.
        plasticity: off holds the fast weights at zero.
        max_steps: environment steps after which to stop, since fast weights are large.
    """
    inner: Any = policy.policy
    network = inner.network
    plastic = [index for index, layer in enumerate(network.layers) if layer.spec.plastic]
    layer = plastic[-1] if plastic else len(network.layers) - 1
    state = inner.initial_state(1, plasticity=plasticity)
    spikes, rates, fast_weights = [], [], []
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    infos: list[dict[str, Any]] = []
    observation, _ = env.reset(seed=seed)
    start, over = np.ones(1, dtype=bool), False
    while not over and len(actions) < max_steps:
        batch = _batch_of_one(observation)
        output, after = _look_inside(policy, batch, start, state[0], layer)
        action, state = policy.predict(batch, state, start, deterministic=True)
        spikes.append(output.spikes[:, 0].numpy())
        if plastic:
            rates.append(output.rate[:, 0].numpy())
            fast_weights.append(after[f"layer{layer}.fast_weights"][0].numpy())
        observation, reward, terminated, truncated, info = env.step(action[0])
        actions.append(action[0])
        rewards.append(float(reward))
        infos.append(info)
        start, over = np.zeros(1, dtype=bool), terminated or truncated
    return Recording(
        layer=layer,
        ticks=network.config.ticks,
        spikes=np.concatenate(spikes),
        rate=np.concatenate(rates) if plastic else None,
        fast_weights=np.stack(fast_weights) if plastic else None,
        modulated=network.layers[layer].spec.modulation != "none",
        actions=np.stack(actions),
        rewards=np.array(rewards),
        infos=infos,
    )


def _look_inside(
    policy: DeployedPolicy, batch: Any, start: np.ndarray, flat: np.ndarray, layer: int
) -> tuple[Any, dict[str, torch.Tensor]]:
    """The layer's output for one step, and the network's state after it, as `predict` has them."""
    if policy.normalisation is not None:
        batch = policy.normalisation(batch)
    inner: Any = policy.policy
    with torch.no_grad():
        features = inner.extract_features(inner.obs_to_tensor(batch)[0]).unsqueeze(0)
        starts = torch.as_tensor(start, dtype=torch.float32).unsqueeze(0)
        state = inner.layout.unpack(torch.as_tensor(flat[0]))
        _, outputs, after = inner.network.run(features, starts, state)
    return outputs[layer], after


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]
