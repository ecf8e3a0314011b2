"""Distributions of actions, as Stable-Baselines3's: `draw`, `mode`, and `evaluate` with gradients.

Each is made of a policy and takes what its action network gives, [batch, channels]. None keeps what
it is given, so that threads can share it.
"""

import math
from typing import Any

import torch
from stable_baselines3.common import distributions as sb3
from torch import Tensor, nn

HALF_LOG_TWO_PI = math.log(math.sqrt(2 * math.pi))


class Gaussian:
    """Independent Gaussians around means (Box actions)."""

    def __init__(self, policy: Any) -> None:
        self.log_std = policy.log_std
        self._spread: tuple[Any, ...] = (None,)  # as it was, and what follows from it

    def mode(self, means: Tensor) -> Tensor:
        """The means."""
        return means

    def draw(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] from PyTorch's generator, and their log-likelihoods [batch]."""
        log_std = self.log_std.detach()
        spread = self._spread
        if spread[0] is None or len(spread[1]) != len(means) or not torch.equal(spread[0], log_std):
            # for the whole batch, since functions of one row differ in the last bit from many's
            deviation = torch.ones_like(means) * log_std.exp()
            parts = (x.numpy() for x in (deviation, 2 * deviation**2, deviation.log()))
            spread = self._spread = log_std.clone(), *parts
        _, deviation, twice_variance, log_deviation = spread
        # in NumPy, where calls are cheaper; single operations are the same, but not sums
        middle = means.numpy()
        actions = middle + torch.randn(means.shape).numpy() * deviation
        off = actions - middle
        each = -(off * off) / twice_variance - log_deviation - HALF_LOG_TWO_PI
        return torch.from_numpy(actions), torch.from_numpy(each).sum(dim=1)

    def evaluate(self, means: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        scaled = (actions - means) * torch.exp(-self.log_std)
        constant = (self.log_std + HALF_LOG_TWO_PI).sum()
        entropy = constant + 0.5 * len(self.log_std)
        return -0.5 * scaled.square().sum(dim=1) - constant, entropy.expand(len(means))


class Categorical:
    """One categorical distribution after the other (Discrete and MultiDiscrete actions)."""

    def __init__(self, policy: Any) -> None:
        several = getattr(policy.action_dist, "action_dims", None)
        self.sizes = [policy.action_net.out_features] if several is None else list(several)

    def mode(self, logits: Tensor) -> Tensor:
        """The likeliest actions, [batch, distributions]."""
        parts = self._likelihoods(logits)
        return torch.cat([p.argmax(dim=1, keepdim=True) for _, p in parts], dim=1)

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, distributions] from PyTorch's generator, log-likelihoods [batch]."""
        parts = self._likelihoods(logits)
        actions = torch.cat([torch.multinomial(p, 1, True) for _, p in parts], dim=1)
        return actions, _of_actions([log_p for log_p, _ in parts], actions)

    def _likelihoods(self, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Their logarithms and themselves, each [batch, actions], in Stable-Baselines3's steps."""
        parts = logits.split(self.sizes, dim=1)
        logs = [part - part.logsumexp(dim=1, keepdim=True) for part in parts]
        return [(log_p, log_p.softmax(dim=1)) for log_p in logs]

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        logs = [part.log_softmax(dim=1) for part in logits.split(self.sizes, dim=1)]
        entropies = torch.stack([(log_p * log_p.exp()).sum(dim=1) for log_p in logs])
        return _of_actions(logs, actions.long()), -entropies.sum(dim=0)


def _of_actions(logs: list[Tensor], actions: Tensor) -> Tensor:
    """Log-likelihoods [batch] of actions [batch, distributions]."""
    columns = zip(logs, actions.split(1, dim=1))
    return torch.cat([log_p.gather(1, index) for log_p, index in columns], dim=1).sum(dim=1)


class Bernoulli:
    """Independent yes or no (MultiBinary actions)."""

    def __init__(self, policy: Any) -> None:
        pass

    def mode(self, logits: Tensor) -> Tensor:
        """The likelier answers, [batch, channels]."""
        return logits.sigmoid().round()

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] from PyTorch's generator, log-likelihoods [batch]."""
        actions = logits.sigmoid().bernoulli()
        return actions, self.evaluate(logits, actions)[0]

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        loss = nn.functional.binary_cross_entropy_with_logits
        log_probs = -loss(logits, actions, reduction="none")
        return log_probs.sum(dim=1), loss(logits, logits.sigmoid(), reduction="none").sum(dim=1)


DISTRIBUTIONS: dict[type, type[Any]] = {
    sb3.DiagGaussianDistribution: Gaussian,
    sb3.CategoricalDistribution: Categorical,
    sb3.MultiCategoricalDistribution: Categorical,
    sb3.BernoulliDistribution: Bernoulli,
}
"""By Stable-Baselines3's class."""
