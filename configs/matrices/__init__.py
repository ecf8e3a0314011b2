"""Matrices of experiments: `spikepropamine.matrix.cells` reads them."""
