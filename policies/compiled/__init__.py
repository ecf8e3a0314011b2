"""Spiking layers on the CPU, compiled by Numba: sequences with gradients, and a
network's steps.

rows, synapses  one tick and its adjoint; sequences
derive          formula of a rule -> its derivatives -> the kernels of one kind of layer
autograd        tensors in, gradients out
step            an environment step of a whole network
cells, gated    LSTMs and GRUs: one tick and its adjoint; sequences
"""
