"""Lets the process keep freed memory, so that large tensors are not paged in anew at every step."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def keep_freed_memory() -> None:
    """Asks the C library to keep up to 1 GiB of freed memory.

    glibc gives blocks of a few hundred kB back to the system as soon as they are freed, and a
    training step then spends up to a third of its time on getting them again. Other C libraries
    are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    for size in (2**30, 2**25):  # the second where the first is more than it accepts
        if mallopt(MMAP_THRESHOLD, size):
            break
    mallopt(TRIM_THRESHOLD, 2**30)
