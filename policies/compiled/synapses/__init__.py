"""Spiking layers, compiled for one kind of layer at a time.

This package is a template: `specialise.kernels_for` imports it once more for every kind, with
another module in the place of `kind`, whose constants fold away all that a kind does not need.
"""
