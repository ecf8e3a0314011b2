"""Matrices of experiments: `spikepropamine.matrix.file` reads them."""
