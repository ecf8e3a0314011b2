"""Evaluation: what a trained policy does in episodes that training never saw, as rows
of a table.

The folders are in the order of the data: runs and conditions (`ask`), the episodes that
are run (`run`), what is computed from them (`judge`) and how they look (`film`).
`measures` has a record for each measure; `tabulation` makes the results table, with
which an evaluation ends, and `report` reads it. It knows environments, and policies
through their `predict`; only lesions, `run.episodes` and `judge.cost` look into the
state of a spiking one.
"""
