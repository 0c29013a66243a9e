"""Memory: how much there is, and how to keep what was freed for the next training step.

glibc returns large freed blocks to the system at once and asks for them again in the next step;
every fresh page then has to be cleared. On the two-core machine of the benchmarks this made
element-wise layers on 65 MB activations two to six times slower.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from eyesight.errors import UserError

MOST = 4 << 30  # bytes of data that are copied into memory, however much is free
SHARE = 0.5  # of the free memory may be taken by data
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
CONTROL_GROUPS = (  # the limit and the use, in version 2 and 1 of Linux's control groups
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt(3)


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory; False where it cannot be asked (not glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1))
    )


def parse_size(text: str) -> int:
    """Bytes from a text such as 500M, 2G or 4096; raises ValueError when it is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)I?B?", text.strip().upper())
    if not match:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * UNITS[match[2]])


def data_limit() -> int:
    """Bytes of data that may be copied into memory.

    $EYESIGHT_MEMORY (such as 500M) where it is set, else half of what is free, 4 GB at most.
    Raises UserError when the variable holds no size.
    """
    if setting := os.environ.get("EYESIGHT_MEMORY"):
        try:
            return parse_size(setting)
        except ValueError:
            raise UserError(
                f"EYESIGHT_MEMORY is {setting!r}, which is not a size", "write it as 500M or 2G"
            ) from None
    return min(MOST, int(SHARE * available()))


def available(system: Path = Path("/")) -> int:
    """Free bytes of this machine or container; a large number where the system does not tell."""
    candidates = [8 * MOST]
    with suppress(OSError, ValueError, IndexError):
        facts = (system / "proc/meminfo").read_text()
        candidates.append(1024 * int(facts.split("MemAvailable:")[1].split()[0]))
    for limit_name, used_name in CONTROL_GROUPS:
        group = system / "sys/fs/cgroup"
        with suppress(OSError, ValueError):
            limit = int((group / limit_name).read_text())
            used = int((group / used_name).read_text())
            candidates.append(max(0, limit - used))
    return min(candidates)


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
