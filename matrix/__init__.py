"""Matrices of experiments: environments x policies x seeds x settings, and what is made
of them.
"""
