"""Perturbations of any environment: one catalogue, one severity scale, one notation.

`Perturbed(env, "mass:torso=1.5 + obs_noise=0.2@500")` changes what a robot senses, how it acts, its
body, its world or its task. `spikepropamine verify` proves that each of them does
what it says. MuJoCo is imported only when a perturbation of a model is made.
"""

from spikepropamine.envs.perturbations import signals, simulated  # noqa: F401  fill the catalogue
from spikepropamine.envs.perturbations.catalogue import CATALOGUE, Bound, Family
from spikepropamine.envs.perturbations.notation import Term, parse
from spikepropamine.envs.perturbations.wrapper import Perturbed, reason_against

__all__ = [
    "CATALOGUE",
    "Bound",
    "Family",
    "Perturbed",
    "Term",
    "parse",
    "reason_against",
]
