"""Evaluation: what a trained policy does in episodes that training never saw.

It knows environments, and policies through their `predict`; only `recording`, `lesions` and
`traces` look into the state of a spiking one.
"""
