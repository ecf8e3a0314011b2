"""PPO's update with little around the network: the gradient of the loss is written out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from spikepropamine.policies.plain import plain_evaluate

if TYPE_CHECKING:
    _Base = OnPolicyAlgorithm  # a mixin over PPO or RecurrentPPO
else:
    _Base = object


class NotFinite(ValueError):
    """The loss of an update is not a finite number."""

    def __init__(self) -> None:
        super().__init__(
            "the loss is not a finite number; a smaller learning_rate or max_grad_norm may help"
        )


class PolicyLoss(NamedTuple):
    """PPO's clipped surrogate objective, negated, of N steps.

    Attributes:
        loss: its mean.
        gradient: of the loss to the log-likelihoods, [N].
        clipped: share of the steps whose ratio lies beyond the clip range.
        divergence: approximate Kullback-Leibler divergence from the old policy, which is
            non-negative (Schulman 2020, "Approximating KL divergence").
    """

    loss: Tensor
    gradient: Tensor
    clipped: Tensor
    divergence: Tensor


def policy_loss(log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> PolicyLoss:
    """The loss of log-likelihoods, old ones and advantages, each [N] and without a graph.

        L = -mean(min(r A, clamp(r, 1 - clip, 1 + clip) A)),  r = exp(log_probs - old)

    (Schulman et al. 2017).
    """
    log_ratio = log_probs - old
    ratio = log_ratio.exp()
    free = ratio * advantages
    bounded = ratio.clamp(1.0 - clip, 1.0 + clip).mul_(advantages)
    # a product, so that what is not a number stays none
    gradient = (free <= bounded).mul(free).mul_(-1.0 / len(ratio))
    excess = ratio.sub_(1.0)
    return PolicyLoss(
        loss=-torch.minimum(free, bounded).mean(),
        gradient=gradient,
        clipped=(excess.abs() > clip).float().mean(),
        divergence=(excess - log_ratio).mean(),
    )


def value_loss(
    values: Tensor, old: Tensor, returns: Tensor, clip: float | None
) -> tuple[Tensor, Tensor]:
    """Mean squared error of values, with `clip` of values that may move so far from the old ones;
    and its gradient to the values. All are [N], without a graph.
    """
    moved = values - old
    kept = moved if clip is None else moved.clamp(-clip, clip)
    error = old + kept - returns if clip is not None else values - returns
    gradient = error * (2.0 / len(error))
    return error.square().mean(), gradient if clip is None else gradient * (kept == moved)


def evaluator(algorithm: Any) -> Callable[[Any], tuple[Tensor, Tensor, Tensor | None]]:
    """From minibatches of the algorithm's buffer to values, log-likelihoods of the actions and
    entropies (None where there is no formula), each [N], with gradients.
    """
    policy, discrete = algorithm.policy, isinstance(algorithm.action_space, spaces.Discrete)

    def evaluate(batch: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        actions = batch.actions.long().flatten() if discrete else batch.actions
        recurrent = (batch.lstm_states, batch.episode_starts) if hasattr(batch, "mask") else ()
        values, log_probs, entropy = policy.evaluate_actions(
            batch.observations, actions, *recurrent
        )
        return values.flatten(), log_probs, entropy

    return plain_evaluate(policy) or evaluate


class Gradients:
    """The gradients of a policy in one tensor, each parameter's a part of it.

    Args:
        policy: any.
        largest_norm: bound of the norm of all of them together.
    """

    def __init__(self, policy: Any, largest_norm: float) -> None:
        self.largest_norm = largest_norm
        parameters = [x for x in policy.parameters() if x.requires_grad]
        sizes = [x.numel() for x in parameters]
        self.all = parameters[0].new_zeros(sum(sizes))
        for parameter, part in zip(parameters, self.all.split(sizes)):
            parameter.grad = part.view_as(parameter)

    def backward(self, outputs: Sequence[Tensor | None], gradients: list[Tensor]) -> Tensor:
        """Replaces the gradients by those of outputs of the policy, of which the first come with
        their gradients, and bounds their norm; returns the norm that they had.
        """
        self.all.zero_()
        learned = [(x, d) for x, d in zip(outputs, gradients) if x is not None and x.requires_grad]
        torch.autograd.backward([x for x, _ in learned], [d for _, d in learned])
        norm = torch.linalg.vector_norm(self.all)
        self.all.mul_((self.largest_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


class PlainUpdates(_Base):
    """The update of SB3's PPO and RecurrentPPO: the same arithmetic, but for the order of sums."""

    def train(self) -> None:
        """Some passes over the rollout, in minibatches.

        Raises:
            NotFinite: the loss is not a finite number.
        """
        ppo: Any = self
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        left = self._current_progress_remaining
        clip, clip_values = ppo.clip_range(left), ppo.clip_range_vf and ppo.clip_range_vf(left)
        evaluate, gradients = evaluator(self), Gradients(self.policy, self.max_grad_norm)
        terms: list[Tensor] = []
        for epoch in range(ppo.n_epochs):
            first, stops = len(terms), False  # the first minibatch of this epoch
            for batch in self.rollout_buffer.get(ppo.batch_size):
                outputs = evaluate(batch)
                found, slopes = self._loss(batch, *outputs, clip, clip_values)
                terms.append(found)
                divergence = found[-1]
                stops = ppo.target_kl is not None and bool(divergence > 1.5 * ppo.target_kl)
                if stops:
                    break
                gradients.backward(outputs, slopes)
                self.policy.optimizer.step()
            self._n_updates += 1
            if stops:
                if self.verbose >= 1:
                    print(
                        f"Early stopping at step {epoch} due to reaching max kl: {divergence:.2f}"
                    )
                break
        found = torch.stack(terms)
        if not found.isfinite().all():
            raise NotFinite
        self._record(found, first, clip, clip_values)

    @torch.no_grad()
    def _loss(
        self,
        batch: Any,
        values: Tensor,
        log_probs: Tensor,
        entropy: Tensor | None,
        clip: float,
        clip_values: float | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The terms of the loss of a minibatch (the policy's, that of values, of entropy, the share
        of clipped ratios, the divergence), and its gradients to the outputs of the policy.
        """
        advantages, count = batch.advantages, len(values)
        if self.normalize_advantage and count > 1:  # type: ignore[attr-defined]
            deviation, mean = torch.std_mean(advantages)
            advantages = (advantages - mean) / (deviation + 1e-8)
        policy = policy_loss(log_probs, batch.old_log_prob, advantages, clip)
        error, d_values = value_loss(values, batch.old_values, batch.returns, clip_values)
        slopes = [d_values.mul_(self.vf_coef), policy.gradient]
        if entropy is None:  # no formula: estimated by what was drawn
            spread = log_probs.mean()
            policy.gradient.add_(self.ent_coef / count)
        else:
            spread = -entropy.mean()
            slopes.append(entropy.new_full((), -self.ent_coef / count).expand(count))
        return torch.stack([policy.loss, error, spread, policy.clipped, policy.divergence]), slopes

    def _record(self, terms: Tensor, first: int, clip: float, clip_values: float | None) -> None:
        """Logs what SB3 logs; `first` is the last epoch's first minibatch."""
        buffer, record = self.rollout_buffer, self.logger.record
        policy, value, entropy, clipped, _ = terms.mean(dim=0).tolist()
        last = terms[-1].tolist()
        record("train/entropy_loss", entropy)
        record("train/policy_gradient_loss", policy)
        record("train/value_loss", value)
        record("train/approx_kl", terms[first:, -1].mean().item())
        record("train/clip_fraction", clipped)
        record("train/loss", last[0] + self.vf_coef * last[1] + self.ent_coef * last[2])
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        record("train/explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            record("train/std", self.policy.log_std.exp().mean().item())
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/clip_range", clip)
        if clip_values is not None:
            record("train/clip_range_vf", clip_values)
