"""Evaluation: what a trained policy does in episodes that training never saw.

It knows environments, and policies through their `predict`; only `recording` looks inside one.
"""
