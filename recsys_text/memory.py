"""Gives memory that was freed back to the operating system. Knows no library and no setting."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Return to the operating system what the C library keeps of freed memory.

    glibc keeps blocks of up to 32 MiB for later, in as many places as there are threads: after the search for a kernel
    that were 1.6 of 2.5 GB. A C library that has no `malloc_trim` is left alone.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
