"""Suites of perturbations: `spikepropamine.envs.perturbations.notation` reads them."""
