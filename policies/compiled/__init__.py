"""Spiking layers on the CPU, compiled by Numba: sequences with gradients, and a network's steps.

derive          formula of a rule -> coefficients and their derivatives
rows, synapses  one tick and its adjoint
specialise      the kernels of one kind of layer
static          kernels that are the same for all
autograd        tensors in, gradients out
step            an environment step of a whole network
"""
