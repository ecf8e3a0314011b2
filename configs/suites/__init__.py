"""Suites of perturbations: `spikepropamine.envs.perturbations.suites` reads them."""
