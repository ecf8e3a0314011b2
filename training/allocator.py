"""Lets the process keep freed memory, so that large tensors are not paged in anew at every step."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def keep_freed_memory() -> None:
    """Asks glibc to keep up to 1 GiB of freed memory: it gives blocks of a few hundred kB back as
    soon as they are freed, and a training step spends up to a third of its time to get them again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    for size in (2**30, 2**25):  # the second where the first is more than it accepts
        if mallopt(MMAP_THRESHOLD, size):
            break
    mallopt(TRIM_THRESHOLD, 2**30)
