"""Keeps freed memory with the process instead of handing it back to the system after every step of training.

glibc returns large blocks at once and asks for them again in the next step; every fresh page then has to be cleared. On the two-core
machine used for the benchmarks this made element-wise layers on 65 MB activations two to six times slower.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt(3)


def keep() -> bool:
    """Ask the C library to keep freed memory; False where it cannot be asked (anything but glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, value) == 1 for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)))
