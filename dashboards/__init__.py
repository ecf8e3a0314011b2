"""Dashboards: reports of evaluations, a page over all runs of a folder, and the wandb workspace.

They read what runs and evaluations leave on disk, and import nothing else of this project.
"""
