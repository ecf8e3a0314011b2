"""Evaluation: what a trained policy does in episodes that training never saw.

The folders are in the order of the data: what is asked for (`ask`), the episodes that are run for
it (`run`), what their numbers say (`judge`), how they look (`film`), and what people read
(`report`). `schema` has the form in which `judge` hands the result to its readers. It knows
environments, and policies through their `predict`; only lesions, `run.inside`, `film.recording`
and `judge.cost` look into the state of a spiking one.
"""
