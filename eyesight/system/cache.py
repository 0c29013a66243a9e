"""The cache: keyed folders, each built whole or not at all, and swept."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


TEMPORARY = ".building-"


DAY = 86400.0  # seconds; a temporary folder untouched for so long belongs to a process that was killed


def cache_dir() -> Path:
    """$EYESIGHT_CACHE, or `eyesight` in the platform's folder for caches; not created here."""
    if given := os.environ.get("EYESIGHT_CACHE"):
        return Path(given).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
            / "eyesight"
            / "cache"
        )
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "eyesight"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "eyesight"


@contextmanager
def temporary(stores: Path) -> Iterator[Path]:
    """A new folder that is gone afterwards, unless it was renamed."""
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=stores))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(stores: Path) -> None:
    """Remove what killed processes left: temporary folders in which nothing was written for a day."""
    for folder in stores.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > DAY:
                shutil.rmtree(folder, ignore_errors=True)
