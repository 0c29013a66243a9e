"""Keeps freed memory with the process instead of handing it back to the system after every step of training, and says how much there is.

glibc returns large blocks at once and asks for them again in the next step; every fresh page then has to be cleared. On the two-core
machine used for the benchmarks this made element-wise layers on 65 MB activations two to six times slower.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from eyesight.errors import UserError

MOST = 4 << 30  # bytes of data that are copied into memory, however much there is
SHARE = 0.5  # of what is free
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)  # of Linux, new and old
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt(3)


def keep() -> bool:
    """Ask the C library to keep freed memory; False where it cannot be asked (anything but glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1))
    )


def spare() -> int:
    """Bytes of data that may be copied into memory: $EYESIGHT_MEMORY (such as 500M), or half of what is free, 4 GB at most."""
    if given := os.environ.get("EYESIGHT_MEMORY"):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", given.strip().upper())
        if not found:
            raise UserError(
                f"EYESIGHT_MEMORY is {given!r}, which is no size", "write it as 500M or 2G"
            )
        return int(float(found[1]) * UNITS[found[2]])
    return min(MOST, int(SHARE * free()))


def free(system: Path = Path("/")) -> int:
    """Bytes that the machine, or the container that this runs in, has left; plenty where the system does not tell."""
    found = [8 * MOST]
    with suppress(OSError, ValueError, IndexError):
        found.append(
            1024 * int((system / "proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        )
    for limit, used in GROUPS:
        with suppress(OSError, ValueError):
            most, now = (
                int((system / "sys/fs/cgroup" / name).read_text()) for name in (limit, used)
            )
            found.append(max(0, most - now))
    return min(found)


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
