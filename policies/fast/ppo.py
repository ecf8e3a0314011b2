"""Rollouts and updates of PPO and RecurrentPPO through `fast`; the loss's gradient is
written out.

An algorithm whose policy has no shorter way rolls out and updates as in
Stable-Baselines3.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import explained_variance
from torch import Tensor, nn

from spikepropamine.policies.fast import fast, way

if TYPE_CHECKING:
    _Base = OnPolicyAlgorithm  # a mixin over PPO or RecurrentPPO
else:
    _Base = object

logger = logging.getLogger(__name__)

ROUNDING = 1e-5
"""Of a likelihood's ratio: the rollout computes in other batches than the update."""

SMALL = 1_000_000
"""Parameters below which a policy without convolutions is fastest with one thread of
PyTorch."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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

    Args:
        log_probs: log-likelihoods of actions, [N], without a graph.
        old: the same when they were chosen, [N].
        advantages: A, [N].
        clip: bound of the ratio's change.

    Returns:
        L; its gradient to the log-likelihoods, [N]; the share of ratios beyond the clip
        range; and the approximate Kullback-Leibler divergence from the old policy,
        which is not negative (Schulman 2020, "Approximating KL divergence").
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


class Terms(NamedTuple):
    """Terms of the loss of a minibatch, and what is logged of it.

    `policy`, `value` and `entropy` are the three parts of the loss, `clipped` is the
    share of clipped ratios, `divergence` that from the old policy.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor
    clipped: Tensor
    divergence: Tensor


class Gradients:
    """The gradients of a policy in one tensor, each parameter's a part of it.

    Args:
        policy: all of its parameters are of one type, on one device.
        largest_norm: bounds the norm of all gradients together.
    """

    def __init__(self, policy: nn.Module, largest_norm: float) -> None:
        self.largest_norm = largest_norm
        parameters = []
        for x in policy.parameters():
            if x.requires_grad:
                parameters.append(x)
            else:
                # an optimiser would step by the gradient that it last had
                x.grad = None
        sizes = [x.numel() for x in parameters]
        self.all = parameters[0].new_zeros(sum(sizes))
        self.parts = [
            (x, view.view_as(x)) for x, view in zip(parameters, self.all.split(sizes))
        ]

    def backward(
        self, outputs: Sequence[Tensor | None], gradients: Sequence[Tensor]
    ) -> Tensor:
        """Replaces the gradients by those of a policy's outputs, and bounds their norm.

        Args:
            outputs: of the policy.
            gradients: those to the first of the outputs.

        Returns:
            The norm that the gradients had.
        """
        self.all.zero_()
        for parameter, part in self.parts:
            if parameter.grad is not part:  # some optimisers clear gradients
                parameter.grad = part
        learned = []
        of_learned = []
        for x, gradient in zip(outputs, gradients):
            if x is not None and x.requires_grad:
                learned.append(x)
                of_learned.append(gradient)
        torch.autograd.backward(learned, of_learned)
        norm: Tensor = torch.linalg.vector_norm(self.all)
        self.all.mul_((self.largest_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


@contextmanager
def one_thread(policy: Any) -> Iterator[None]:
    """PyTorch has one thread inside, where that is the fastest for a policy: with small
    networks on a CPU, more of them mostly wait for each other.
    """
    is_small = sum(x.numel() for x in policy.parameters()) < SMALL
    has_convolutions = any(isinstance(x, CONVOLUTIONS) for x in policy.modules())
    before = torch.get_num_threads()
    is_faster = is_small and not has_convolutions
    if is_faster and before > 1 and policy.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class _Shorter:
    """A callback between whose calls `forward` of a policy is its shorter way, where it
    has one once the callback has changed what it changes at the start of a rollout. The
    callback, and the copies that it makes, find the policy as it is; a `forward` that
    it gives the policy stays.
    """

    def __init__(self, callback: BaseCallback, policy: Any) -> None:
        self.callback = callback
        self.policy = policy
        self.step: Any = None

    def on_rollout_start(self) -> None:
        self.callback.on_rollout_start()
        compiled = fast(self.policy)
        self.step = None if compiled is None else compiled.step
        self._begin()

    def update_locals(self, locals_: dict[str, Any]) -> None:
        self.end()  # this call comes before the others
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
    """PPO and RecurrentPPO: rollouts with the same numbers, to the last bit but for
    LSTMs and GRUs; updates with the same arithmetic, but for the order of sums.

    `learn` says in the log which code runs. With `clip_range_vf`, updates are
    Stable-Baselines3's own.
    """

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Any:
        """Learns as Stable-Baselines3 does; small networks use one thread of PyTorch.

        Args:
            total_timesteps: as in SB3.
            callback: as in SB3.
            log_interval: as in SB3.
            tb_log_name: of TensorBoard's folder; None: the name of the class.
            reset_num_timesteps: as in SB3.
            progress_bar: as in SB3.
        """
        line = f"rollouts and updates: {way(self.policy)}"
        logger.info(line)
        if self.verbose >= 1:
            print(line)
        with one_thread(self.policy):
            return super().learn(
                total_timesteps,
                callback,
                log_interval,
                tb_log_name or type(self).__name__,
                reset_num_timesteps,
                progress_bar,
            )

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
        """Some passes over the rollout, in minibatches.

        Raises:
            NotFinite: the loss is not a finite number.
        """
        compiled = fast(self.policy)
        ppo = cast(Any, self)
        if compiled is None or ppo.clip_range_vf is not None:
            super().train()
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip = ppo.clip_range(self._current_progress_remaining)
        gradients = Gradients(self.policy, self.max_grad_norm)
        terms: list[Terms] = []
        for epoch in range(ppo.n_epochs):
            first_of_epoch = len(terms)
            stops = False
            for batch in self.rollout_buffer.get(ppo.batch_size):
                outputs = compiled.evaluate(batch)
                of_batch, slopes = self._loss(batch, *outputs, clip)
                terms.append(of_batch)
                if ppo.target_kl is not None:
                    stops = bool(of_batch.divergence > 1.5 * ppo.target_kl)
                if stops:
                    break
                gradients.backward(outputs, slopes)
                self.policy.optimizer.step()
            self._n_updates += 1
            if stops:
                if self.verbose >= 1:
                    print(
                        f"Early stopping at step {epoch} due to reaching max kl: "
                        f"{terms[-1].divergence:.2f}"
                    )
                break
        rows = torch.stack([torch.stack(of_batch) for of_batch in terms])
        if not rows.isfinite().all():
            raise NotFinite
        self._log(rows, first_of_epoch, clip)

    def _log(self, rows: Tensor, first: int, clip: float) -> None:
        """Logs an update.

        Args:
            rows: `Terms` of every minibatch, [minibatches, terms].
            first: minibatch of the last epoch.
            clip: the clip range.
        """
        policy, value, entropy, clipped, _ = rows.mean(dim=0).tolist()
        last = rows[-1].tolist()
        *_, divergences = rows[first:].unbind(1)
        buffer = self.rollout_buffer
        logged = {
            "entropy_loss": entropy,
            "policy_gradient_loss": policy,
            "value_loss": value,
            "approx_kl": divergences.mean().item(),
            "clip_fraction": clipped,
            "loss": last[0] + self.vf_coef * last[1] + self.ent_coef * last[2],
            "explained_variance": explained_variance(
                np.ravel(buffer.values), np.ravel(buffer.returns)
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
    ) -> tuple[Terms, list[Tensor]]:
        """The terms of the loss of a minibatch, and its gradients to the outputs of the
        policy: values, log-likelihoods and entropies, each [N].
        """
        advantages = batch.advantages
        count = len(values)
        if cast(Any, self).normalize_advantage and count > 1:
            deviation, mean = torch.std_mean(advantages)
            advantages = (advantages - mean) / (deviation + 1e-8)
        loss, d_log_probs, clipped, divergence = policy_loss(
            log_probs, batch.old_log_prob, advantages, clip
        )
        error = values - batch.returns
        value_loss = error.square().mean()
        terms = Terms(loss, value_loss, -entropy.mean(), clipped, divergence)
        d_values = error.mul_(2.0 * self.vf_coef / count)
        d_entropy = entropy.new_full((), -self.ent_coef / count).expand(count)
        return terms, [d_values, d_log_probs, d_entropy]


class PPO(FastPPO, stable_baselines3.PPO):
    """SB3's PPO through `fast`."""
