"""What people read: files and tables of an evaluation, its report, the page over all
runs.
"""
