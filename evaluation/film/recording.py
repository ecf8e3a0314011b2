"""One episode of a spiking policy, recorded from the inside."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.evaluation.ask.lesions import Hook
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.layers import LayerOutput
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.spaces import stacked

MOST_OBSERVED = 1000  # steps
LONGEST = 200  # steps that are recorded of an episode, since fast weights are large


@dataclass(frozen=True)
class Recording:
    """An episode, step by step, and one layer of the network in it: its last plastic layer, or
    the last one where none is plastic.
    """

    ticks: int  # ticks of network time per environment step
    spikes: np.ndarray  # float32 [steps * ticks, neurons], 0 or 1
    # float32 [steps * ticks, neurons], what multiplied the drive of the plasticity (eta or the
    # neuromodulator, in [-1, 1]); None in a static layer
    rate: np.ndarray | None
    # float32 [steps, neurons, inputs], after each step; None in a static layer
    fast_weights: np.ndarray | None
    modulated: bool  # whether `rate` is a neuromodulator's
    actions: np.ndarray  # [steps, *action]
    rewards: np.ndarray  # float64 [steps]
    infos: list[dict[str, Any]]  # of each step


@dataclass(frozen=True)
class Moment:
    """One environment step of an episode, and the recorded layer in it."""

    info: dict[str, Any]  # of the step
    reward: float = 0.0  # of the step
    action: np.ndarray | None = None  # [*action]; None right after a reset
    spikes: np.ndarray | None = None  # float32 [ticks, neurons], 0 or 1; None where there are none
    # float32 [ticks, neurons], as in `Recording`; None where there is none
    rate: np.ndarray | None = None
    # float32 [neurons, inputs], after the step; None where there are none
    fast_weights: np.ndarray | None = None
    observation: Any = None  # what the policy acts upon next


def can_record(policy: Any) -> bool:
    """Whether the policy is a deployed spiking one, which `record_episode` can look into."""
    return isinstance(getattr(policy, "policy", None), PlasticSpikingPolicy)


def recorded_layer(policy: DeployedPolicy) -> tuple[int, LayerSpec]:
    """Index and kind of the layer that is recorded: the last plastic one, or else the last one."""
    inner: Any = policy.policy
    specs = [layer.spec for layer in inner.network.layers]
    index = max([i for i, spec in enumerate(specs) if spec.plastic], default=len(specs) - 1)
    return index, specs[index]


def observed(policy: DeployedPolicy, env: gym.Env, seed: int) -> Any:
    """What the policy sees in an episode, normalised, [T, ...] or a dict of them: up to
    `MOST_OBSERVED` steps from its start. The environment is not closed.
    """
    moments = islice(watch(policy, env, seed), MOST_OBSERVED + 1)
    batch = stacked([deepcopy(moment.observation) for moment in moments][:-1])
    return batch if policy.normalisation is None else policy.normalisation(batch)


def watch(
    policy: DeployedPolicy, env: gym.Env, seed: int, *, hook: Hook | None = None, width: int = 1
) -> Iterator[Moment]:
    """One episode with deterministic actions: the moment after the reset, and every step.

    Nothing of it is kept. While the caller has a moment, the environment stands at it; it is not
    closed. A `hook` is a lesion; with the `width` of `run_episodes` it is the same episode to the
    last bit.
    """
    inner: Any = policy.policy
    row, spiking = seed % width, can_record(policy)
    layer, spec = recorded_layer(policy) if spiking else (0, None)
    state = inner.initial_state(width) if spiking else None
    observation, info = env.reset(seed=seed)
    yield Moment(info, observation=observation)
    starts, over, step = np.ones(width, dtype=bool), False, 0
    while not over:
        batch = stacked([observation] * width)
        if hook is not None:
            hook.before(step, state, starts, {row: info})
        seen: dict[str, np.ndarray] = {}

        def look(outputs: list[LayerOutput], seen: dict[str, np.ndarray] = seen) -> None:
            seen["spikes"] = outputs[layer].spikes[:, row].numpy(force=True).copy()
            if (rate := outputs[layer].rate) is not None:
                seen["rate"] = rate[:, row].numpy(force=True).copy()

        with inner.network.observed(look) if spiking else nullcontext():
            actions, state = policy.predict(batch, state, starts, deterministic=True)
        if spec is not None and spec.plastic:
            assert state is not None
            seen["fast_weights"] = inner.layout.get(state[0], f"layer{layer}.fast_weights")[0, row]
        observation, reward, terminated, truncated, info = env.step(actions[row])
        yield Moment(info, float(reward), actions[row], **seen, observation=observation)
        starts, over, step = np.zeros(width, dtype=bool), terminated or truncated, step + 1


def record_episode(policy: DeployedPolicy, env: gym.Env, seed: int) -> Recording:
    """Runs one episode of a spiking policy with deterministic actions and records its first
    `LONGEST` steps; the environment is not closed.
    """
    inner: Any = policy.policy
    _, *moments = islice(watch(policy, env, seed), LONGEST + 1)
    _, spec = recorded_layer(policy)

    def joined(name: str, join: Callable[[list[np.ndarray]], np.ndarray]) -> np.ndarray:
        return join([getattr(moment, name) for moment in moments])

    return Recording(
        ticks=inner.network.config.ticks,
        spikes=joined("spikes", np.concatenate),
        rate=joined("rate", np.concatenate) if spec.plastic else None,
        fast_weights=joined("fast_weights", np.stack) if spec.plastic else None,
        modulated=spec.modulation != "none",
        actions=joined("action", np.stack),
        rewards=np.array([moment.reward for moment in moments]),
        infos=[moment.info for moment in moments],
    )
