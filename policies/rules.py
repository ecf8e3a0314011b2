"""Rules of synaptic plasticity: what drives a fast weight, from the traces on its two sides.

A rule is one function and one row in `RULES`. To add another, write its function here, add the
row, and add its hand-computed values to `tests/test_rules.py`.
"""

from collections.abc import Callable

from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def hebb(pre: Tensor, post: Tensor, threshold: Tensor, fast: Tensor) -> Tensor:
    """Hebb's rule with decay, D_ji = q_j p_i - F_ji (Miconi et al. 2018)."""
    return post.unsqueeze(2) * pre.unsqueeze(1) - fast


def oja(pre: Tensor, post: Tensor, threshold: Tensor, fast: Tensor) -> Tensor:
    """Oja's rule, D_ji = q_j (p_i - q_j F_ji) (Oja 1982; Miconi et al. 2018)."""
    post = post.unsqueeze(2)
    return post * (pre.unsqueeze(1) - post * fast)


def bcm(pre: Tensor, post: Tensor, threshold: Tensor, fast: Tensor) -> Tensor:
    """BCM, D_ji = p_i q_j (q_j - theta_j) (Bienenstock, Cooper and Munro 1982)."""
    return (post * (post - threshold)).unsqueeze(2) * pre.unsqueeze(1)


# Every rule maps (presynaptic trace p [B, n_pre], postsynaptic trace q [B, n_post], sliding
# threshold theta [B, n_post], fast weights F [B, n_post, n_pre]) to the drive D, shaped like F.
RULES: dict[str, Rule] = {"hebb": hebb, "oja": oja, "bcm": bcm}
