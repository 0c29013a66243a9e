"""The image files of folders, read again only when a folder has changed."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from eyesight.data.scan import SUFFIXES

MOST_NAMES = 500_000  # file names kept in memory, about 100 bytes each
# File systems note the time of a change in steps of up to two seconds (FAT) or some milliseconds: a
# folder that was changed just now may change again without a new time.
SETTLED = 3 * 10**9  # nanoseconds


class Listings:
    """The file names of the folders that were asked for last, one listing each."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self.most = most
        self.lock = Lock()
        self.kept: OrderedDict[Path, tuple[int, tuple[str, ...]]] = OrderedDict()
        self.count = 0  # of names in `kept`

    def of(self, folder: Path) -> tuple[str, ...]:
        """The names of a folder's image files, newest first."""
        changed = folder.stat().st_mtime_ns
        with self.lock:
            kept = self.kept.get(folder)
            if kept is not None and kept[0] == changed:
                self.kept.move_to_end(folder)
                return kept[1]
        began = time.time_ns()
        names = image_files(folder)
        if began - changed > SETTLED:
            self._keep(folder, changed, names)
        return names

    def _keep(self, folder: Path, changed: int, names: tuple[str, ...]) -> None:
        with self.lock:
            _, before = self.kept.pop(folder, (0, ()))
            self.kept[folder] = (changed, names)
            self.count += len(names) - len(before)
            while self.count > self.most and len(self.kept) > 1:
                _, (_, forgotten) = self.kept.popitem(last=False)
                self.count -= len(forgotten)


def image_files(folder: Path) -> tuple[str, ...]:
    """The names of a folder's image files, newest first, without hidden ones and links."""
    rows = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                continue
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - 10,000 names
                rows.append((-entry.stat().st_mtime_ns, entry.name))
    return tuple(name for _, name in sorted(rows))


listings = Listings()
