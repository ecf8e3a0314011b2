"""Pages about runs: the report of an evaluation, and a page over all runs of a folder.

They read what runs and evaluations leave on disk, and import nothing else of this project.
"""
