"""Defaults of training by environment: `spikepropamine.training.settings` reads them."""
