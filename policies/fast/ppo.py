"""Rollouts and updates of PPO and RecurrentPPO through `fast`; the loss's gradient is written out.

An algorithm whose policy has no shorter way rolls out and updates as in Stable-Baselines3.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from spikepropamine.policies.fast import fast, way

if TYPE_CHECKING:
    _Base = OnPolicyAlgorithm  # a mixin over PPO or RecurrentPPO
else:
    _Base = object

logger = logging.getLogger(__name__)

ROUNDING = 1e-5
"""Of a likelihood's ratio: the rollout computes in other batches than the update."""

SMALL = 1_000_000
"""Parameters below which a policy without convolutions is fastest with one thread of PyTorch."""


class NotFinite(ValueError):
    """The loss of an update is not a finite number."""

    def __init__(self) -> None:
        super().__init__(
            "the loss is not a finite number; a smaller learning_rate may help"
        )


def policy_loss(
    log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """PPO's clipped surrogate objective, negated (Schulman et al. 2017):

        L = -mean(min(r A, clamp(r, 1 - clip, 1 + clip) A)),  r = exp(log_probs - old)

    Log-likelihoods, the old ones and advantages are [N], without a graph.

    Returns:
        L; its gradient to the log-likelihoods, [N]; the share of ratios beyond the clip range; and
        the approximate Kullback-Leibler divergence from the old policy, which is not negative
        (Schulman 2020, "Approximating KL divergence").
    """
    log_ratio = log_probs - old
    ratio = log_ratio.exp()
    free = ratio * advantages
    bounded = ratio.clamp(1.0 - clip, 1.0 + clip).mul_(advantages)
    # a product, so that what is not a number stays none
    gradient = (free <= bounded).mul(free).mul_(-1.0 / len(ratio))
    loss = -torch.minimum(free, bounded).mean()
    excess = ratio.sub_(1.0)
    clipped = (excess.abs() > clip + ROUNDING).float().mean()
    return loss, gradient, clipped, (excess - log_ratio).mean()


class Gradients:
    """The gradients of a policy in one tensor, each parameter's a part of it; all parameters are of
    one type, on one device. `largest_norm` bounds the norm of all gradients together.
    """

    def __init__(self, policy: Any, largest_norm: float) -> None:
        self.largest_norm = largest_norm
        parameters = [x for x in policy.parameters() if x.requires_grad]
        for x in policy.parameters():
            if (
                not x.requires_grad
            ):  # an optimiser would step by the gradient that it last had
                x.grad = None
        self.all = parameters[0].new_zeros(sum(x.numel() for x in parameters))
        views = self.all.split([x.numel() for x in parameters])
        self.parts = [(x, view.view_as(x)) for x, view in zip(parameters, views)]

    def backward(
        self, outputs: Sequence[Tensor | None], gradients: list[Tensor]
    ) -> Tensor:
        """Replaces the gradients by those of outputs of the policy, of which the first come with
        their gradients, and bounds their norm; returns the norm that they had.
        """
        self.all.zero_()
        for parameter, part in self.parts:
            if parameter.grad is not part:  # some optimisers clear gradients
                parameter.grad = part
        learned = [
            (x, d)
            for x, d in zip(outputs, gradients)
            if x is not None and x.requires_grad
        ]
        torch.autograd.backward([x for x, _ in learned], [d for _, d in learned])
        norm = torch.linalg.vector_norm(self.all)
        self.all.mul_((self.largest_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


@contextmanager
def one_thread(policy: Any) -> Iterator[None]:
    """PyTorch has one thread inside, where that is the fastest for a policy: with small networks on
    a CPU, more of them mostly wait for each other.
    """
    shapes = [x.shape for x in policy.parameters()]
    small = sum(map(torch.Size.numel, shapes)) < SMALL and all(
        len(s) < 3 for s in shapes
    )
    before = torch.get_num_threads()
    if small and before > 1 and policy.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class _Shorter:
    """A callback between whose calls `forward` of a policy is its shorter way, where it has one
    once the callback has changed what it changes at the start of a rollout. The callback, and the
    copies that it makes, find the policy as it is; a `forward` that it gives the policy stays.
    """

    def __init__(self, callback: BaseCallback, policy: Any) -> None:
        self.callback, self.policy = callback, policy
        self.step: Any = None

    def on_rollout_start(self) -> None:
        self.callback.on_rollout_start()
        found = fast(self.policy)
        self.step = found and found.step
        self._begin()

    def update_locals(
        self, locals_: dict[str, Any]
    ) -> None:  # comes before the other calls
        self.end()
        self.callback.update_locals(locals_)

    def on_rollout_end(self) -> None:
        self.end()
        self.callback.on_rollout_end()

    def on_step(self) -> bool:
        goes_on = self.callback.on_step()
        self._begin()
        return goes_on

    def _begin(self) -> None:
        if self.step is not None:  # a module takes microseconds to set an attribute
            vars(self.policy).setdefault("forward", self.step)

    def end(self) -> None:
        if vars(self.policy).get("forward", self) is self.step:
            del self.policy.forward


class FastPPO(_Base):
    """PPO and RecurrentPPO: rollouts with the same numbers, to the last bit; updates with the same
    arithmetic, but for the order of sums. `learn` says in the log which code runs. With
    `clip_range_vf`, updates are Stable-Baselines3's own.
    """

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """As in Stable-Baselines3; small networks learn with one thread of PyTorch."""
        line = f"rollouts and updates: {way(self.policy)}"
        logger.info(line)
        if self.verbose >= 1:
            print(line)
        with one_thread(self.policy):
            return super().learn(*args, **kwargs)

    def collect_rollouts(
        self,
        env: Any,
        callback: BaseCallback,
        rollout_buffer: Any,
        n_rollout_steps: int,
    ) -> bool:
        """Stable-Baselines3's, with calls of the policy by its shorter way."""
        shorter: Any = _Shorter(callback, self.policy)
        try:
            return super().collect_rollouts(
                env, shorter, rollout_buffer, n_rollout_steps
            )
        finally:
            shorter.end()

    def train(self) -> None:
        """Some passes over the rollout, in minibatches. Raises NotFinite where the loss is not a
        finite number.
        """
        compiled, ppo = fast(self.policy), cast(Any, self)
        if compiled is None or ppo.clip_range_vf is not None:
            return super().train()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip = ppo.clip_range(self._current_progress_remaining)
        gradients = Gradients(self.policy, self.max_grad_norm)
        rows: list[Tensor] = []
        for epoch in range(ppo.n_epochs):
            first, stops = len(rows), False  # the first minibatch of this epoch
            for batch in self.rollout_buffer.get(ppo.batch_size):
                outputs = compiled.evaluate(batch)
                terms, slopes = self._loss(batch, *outputs, clip)
                rows.append(terms)
                stops = ppo.target_kl is not None and bool(
                    terms[-1] > 1.5 * ppo.target_kl
                )
                if stops:
                    break
                gradients.backward(outputs, slopes)
                self.policy.optimizer.step()
            self._n_updates += 1
            if stops:
                if self.verbose >= 1:
                    print(
                        f"Early stopping at step {epoch} due to reaching max kl: {terms[-1]:.2f}"
                    )
                break
        found = torch.stack(rows)
        if not found.isfinite().all():
            raise NotFinite
        policy, value, entropy, clipped, _ = found.mean(dim=0).tolist()
        buffer, last = self.rollout_buffer, found[-1].tolist()
        logged = {
            "entropy_loss": entropy,
            "policy_gradient_loss": policy,
            "value_loss": value,
            "approx_kl": found[first:, -1].mean().item(),
            "clip_fraction": clipped,
            "loss": last[0] + self.vf_coef * last[1] + self.ent_coef * last[2],
            "explained_variance": explained_variance(
                *map(np.ravel, (buffer.values, buffer.returns))
            ),
            "clip_range": clip,
        }
        if hasattr(self.policy, "log_std"):
            logged["std"] = self.policy.log_std.exp().mean().item()
        for name, number in logged.items():
            self.logger.record(f"train/{name}", number)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    @torch.no_grad()
    def _loss(
        self,
        batch: Any,
        values: Tensor,
        log_probs: Tensor,
        entropy: Tensor,
        clip: float,
    ) -> tuple[Tensor, list[Tensor]]:
        """The terms of the loss of a minibatch (the policy's, that of values, of entropy, the share
        of clipped ratios, the divergence), and its gradients to the outputs of the policy.
        """
        advantages, count = batch.advantages, len(values)
        if cast(Any, self).normalize_advantage and count > 1:
            deviation, mean = torch.std_mean(advantages)
            advantages = (advantages - mean) / (deviation + 1e-8)
        loss, slope, *watched = policy_loss(
            log_probs, batch.old_log_prob, advantages, clip
        )
        error = values - batch.returns
        d_entropy = entropy.new_full((), -self.ent_coef / count).expand(count)
        terms = torch.stack([loss, error.square().mean(), -entropy.mean(), *watched])
        return terms, [error.mul_(2.0 * self.vf_coef / count), slope, d_entropy]


class PPO(FastPPO, stable_baselines3.PPO):
    """SB3's PPO through `fast`."""
