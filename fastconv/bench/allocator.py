"""Freed memory is kept, so that a framework that allocates its result at every call finds pages that are there already.

glibc gives large freed blocks back to the system, or keeps them, as it goes by what was freed before: a call that
allocates its output takes up to twice as long in one process as in another. Kept, they make the peers that allocate
faster and their times steady.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGE = 1 << 30

# The same for a process that is started with them.
ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(_LARGE), "MALLOC_MMAP_THRESHOLD_": str(_LARGE)}


def keep_freed_memory() -> None:
    """From now on, in this process; where there is no glibc nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _LARGE)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
