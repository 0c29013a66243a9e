"""Prepared pixels on disk, written once and memory-mapped."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """$EYESIGHT_CACHE, or `eyesight` in the platform's folder for caches; not created here."""
    if given := os.environ.get("EYESIGHT_CACHE"):
        return Path(given).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "eyesight" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "eyesight"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "eyesight"
