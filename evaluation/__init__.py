"""Evaluation: what a trained policy does in episodes that training never saw, as rows
of a table.

The folders are in the order of the data: what is asked for (`ask`), the episodes that
are run for it (`run`), what is measured in them (`judge`) and how they look (`film`).
`rows` makes the results table, with which it ends; `report` is its reader. It knows
environments, and policies through their `predict`; only lesions, `run.episodes` and
`judge.cost` look into the state of a spiking one.
"""
