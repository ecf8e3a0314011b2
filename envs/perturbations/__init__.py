"""Perturbations of any environment: one catalogue, one severity scale, one notation.

`Perturbed(env, "mass:torso=1.5 + obs_noise=0.2@500")` changes what a robot senses, how
it acts, its body, its world or its task. `register` adds a family of your own.
`spikepropamine verify` proves that each of them does what it says. MuJoCo is imported
only when a perturbation of a model is made.
"""

# both fill the catalogue
from spikepropamine.envs.perturbations import signals, simulated  # noqa: F401
from spikepropamine.envs.perturbations.catalogue import (
    CATALOGUE,
    Bound,
    Family,
    OfRows,
    register,
)
from spikepropamine.envs.perturbations.notation import Term, parse
from spikepropamine.envs.perturbations.wrapper import Perturbed, reason_against

__all__ = [
    "CATALOGUE",
    "Bound",
    "Family",
    "OfRows",
    "Perturbed",
    "Term",
    "parse",
    "reason_against",
    "register",
]
