"""One episode step by step, from the inside: steps, and the layer recorded in them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from spikepropamine.evaluation.ask.lesions import Hook
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.reference import LayerOutput, LayerSpec
from spikepropamine.policies.spaces import stacked
from spikepropamine.policies.spiking import PlasticSpikingPolicy


@dataclass(frozen=True)
class Moment:
    """One environment step of an episode, and in it the layer that `recorded_layer`
    names.
    """

    info: dict[str, Any]  # of the step
    reward: float = 0.0  # of the step
    action: np.ndarray | None = None  # [*action]; None right after a reset
    # float32 [ticks, neurons], 0 or 1; None where there are none
    spikes: np.ndarray | None = None
    # float32 [ticks, neurons], in [-1, 1]; None without one
    modulator: np.ndarray | None = None
    # float32 [neurons, inputs], after the step; None where there are none
    fast_weights: np.ndarray | None = None
    observation: Any = None  # what the policy acts upon next


def can_record(policy: Any) -> bool:
    """Whether the policy is a deployed one whose spikes `watch` records."""
    inner = getattr(policy, "policy", None)
    if not isinstance(inner, PlasticSpikingPolicy):
        return False
    return inner.network.config.units == "spiking"


def recorded_layer(policy: DeployedPolicy) -> tuple[int, LayerSpec]:
    """Index and kind of the layer that is recorded: the last plastic one, or else the
    last one.
    """
    inner: Any = policy.policy
    specs = [layer.spec for layer in inner.network.layers]
    plastic = [index for index, spec in enumerate(specs) if spec.plastic]
    index = max(plastic, default=len(specs) - 1)
    return index, specs[index]


def watch(
    policy: DeployedPolicy,
    env: gym.Env,
    seed: int,
    *,
    hook: Hook | None = None,
    width: int = 1,
    deterministic: bool = True,
) -> Iterator[Moment]:
    """One episode: the moment after the reset, and every step.

    Nothing of it is kept. While the caller has a moment, the environment stands at it;
    it is not closed.

    Args:
        policy: acts.
        env: in which it acts.
        seed: of the episode.
        hook: a lesion; None: there is none.
        width: rows of a batch; with that of `run_episodes` it is the same episode to
            the last bit.
        deterministic: whether actions are the likeliest, or sampled.

    Yields:
        The moments.
    """
    inner: Any = policy.policy
    row = seed % width
    observed = _Observed(policy, row) if _is_spiking(inner) else None
    state = None if observed is None else inner.initial_state(width)
    observation, info = env.reset(seed=seed)
    yield Moment(info, observation=observation)
    starts = np.ones(width, dtype=bool)
    over = False
    step = 0
    draws = torch.Generator().manual_seed(seed // width).get_state()
    while not over:
        batch = stacked([observation] * width)
        if hook is not None:
            hook.before(step, state, starts, {row: info})
        observing = nullcontext() if observed is None else observed.observing()
        with observing, torch.random.fork_rng():
            torch.set_rng_state(draws)
            actions, state = policy.predict(batch, state, starts, deterministic)
            draws = torch.get_rng_state()
        seen = {} if observed is None else observed.seen(state)
        answer = env.step(actions[row])
        observation, reward, terminated, truncated, info = answer
        yield Moment(info, float(reward), actions[row], **seen, observation=observation)
        starts = np.zeros(width, dtype=bool)
        over = terminated or truncated
        step += 1


def _is_spiking(policy: Any) -> bool:
    return isinstance(policy, PlasticSpikingPolicy)


class _Observed:
    """What goes on in the recorded layer of a policy, in one row of a batch."""

    def __init__(self, policy: DeployedPolicy, row: int) -> None:
        self.inner: Any = policy.policy
        self.row = row
        self.layer, self.spec = recorded_layer(policy)
        self.has_spikes = can_record(policy)
        self.kept: dict[str, np.ndarray] = {}

    def observing(self) -> AbstractContextManager[Any]:
        """Within it, what the layer does is kept."""
        self.kept = {}
        context: AbstractContextManager[Any] = self.inner.network.observed(self._look)
        return context

    def _look(self, outputs: list[LayerOutput]) -> None:
        output = outputs[self.layer]
        if self.has_spikes:
            spikes = output.spikes[:, self.row]
            self.kept["spikes"] = spikes.numpy(force=True).copy()
        if output.rate is not None and self.spec.modulation != "none":
            rate = output.rate[:, self.row]
            self.kept["modulator"] = rate.numpy(force=True).copy()

    def seen(self, state: Any) -> dict[str, Any]:
        """By name, what is recorded of a step that ends with this state."""
        if not self.spec.plastic:
            return self.kept
        name = f"layer{self.layer}.fast_weights"
        weights = self.inner.layout.get(state[0], name)[0, self.row]
        return self.kept | {"fast_weights": weights}
