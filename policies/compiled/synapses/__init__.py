"""Spiking layers, compiled for one kind of layer at a time.

This package is a template: `derive.kernels_for` imports it anew for every kind, with a
module `kind` of constants, which fold away what a kind does not need, and of functions
out of `derive`.
"""
