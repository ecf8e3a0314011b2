"""Benchmarks: committed commands that print tables and write CSV."""
