"""One episode of a policy, step by step, and a spiking one from the inside."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.evaluation.ask.lesions import Hook
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.layers import LayerOutput
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.spaces import stacked


@dataclass(frozen=True)
class Moment:
    """One environment step of an episode, and in it the layer that `recorded_layer` names."""

    info: dict[str, Any]  # of the step
    reward: float = 0.0  # of the step
    action: np.ndarray | None = None  # [*action]; None right after a reset
    spikes: np.ndarray | None = None  # float32 [ticks, neurons], 0 or 1; None where there are none
    modulator: np.ndarray | None = None  # float32 [ticks, neurons], in [-1, 1]; None without one
    # float32 [neurons, inputs], after the step; None where there are none
    fast_weights: np.ndarray | None = None
    observation: Any = None  # what the policy acts upon next


def can_record(policy: Any) -> bool:
    """Whether the policy is a deployed spiking one, which `watch` can look into."""
    return isinstance(getattr(policy, "policy", None), PlasticSpikingPolicy)


def recorded_layer(policy: DeployedPolicy) -> tuple[int, LayerSpec]:
    """Index and kind of the layer that is recorded: the last plastic one, or else the last one."""
    inner: Any = policy.policy
    specs = [layer.spec for layer in inner.network.layers]
    index = max([i for i, spec in enumerate(specs) if spec.plastic], default=len(specs) - 1)
    return index, specs[index]


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
            rate = outputs[layer].rate
            if rate is not None and spec is not None and spec.modulation != "none":
                seen["modulator"] = rate[:, row].numpy(force=True).copy()

        with inner.network.observed(look) if spiking else nullcontext():
            actions, state = policy.predict(batch, state, starts, deterministic=True)
        if spec is not None and spec.plastic:
            assert state is not None
            seen["fast_weights"] = inner.layout.get(state[0], f"layer{layer}.fast_weights")[0, row]
        observation, reward, terminated, truncated, info = env.step(actions[row])
        yield Moment(info, float(reward), actions[row], **seen, observation=observation)
        starts, over, step = np.zeros(width, dtype=bool), terminated or truncated, step + 1
