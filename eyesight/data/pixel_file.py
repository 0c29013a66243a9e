"""The file of pixels while it is being written: an .npy whose height, width and channels are settled by the pictures that arrive.

It is plain writing and no memory map, because Windows cannot rename a folder with a mapped file in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from eyesight.data.prepare import Pixels, Preparation
from eyesight.errors import UserError

PORTION = 32 << 20  # bytes moved at a time


class Rows:
    """Prepared pictures appended in order; grey ones are widened to three channels once a picture in colour arrives."""

    def __init__(self, path: Path, how: Preparation, total: int) -> None:
        self.path = path
        self.how = how  # becomes exact with the first picture
        self.total = total
        self.pictures: list[int] = []  # the picture in each row
        self.mixed = False  # pictures of another size arrived: nothing more is written
        self.needed = 0  # bytes when all are written
        self.start = 0  # of the first row
        self.file: BinaryIO = path.open("wb+")

    def add(self, pixels: Pixels, first: int) -> None:
        """Append N,C,H,W, the pictures from number `first`; raises UserError when the disk has too little room."""
        if not self.pictures:
            self._begin(pixels)
        if (pixels.shape[2], pixels.shape[3]) != self.how.shape[1:]:
            self.mixed = True
        if self.mixed:
            return
        if pixels.shape[1] > self.how.channels:
            self._widen()
        block = (
            pixels
            if pixels.shape[1] == self.how.channels
            else np.repeat(pixels, self.how.channels, axis=1)
        )
        self.file.write(np.ascontiguousarray(block).data)
        self.pictures.extend(range(first, first + len(pixels)))

    def finish(self, kept: NDArray[np.bool_]) -> None:
        """Drop the other rows, write the header and close; the file is on the disk when this returns."""
        end = self.start + len(kept) * self._row
        if not kept.all():
            end = self._compact(kept)
        self.file.truncate(end)
        self._header(int(kept.sum()))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    @property
    def _row(self) -> int:
        channels, height, width = self.how.shape
        return channels * height * width

    def _begin(self, pixels: Pixels) -> None:
        height, width = (side - 2 * self.how.pad for side in pixels.shape[2:])
        self.how = replace(self.how, height=height, width=width, channels=pixels.shape[1])
        self._reserve()
        self.file.seek(0)
        self._header(self.total)
        self.start = self.file.tell()

    def _header(self, count: int) -> None:
        """As numpy writes it: the space is the same for every count, so that it can be written again at the end."""
        self.file.seek(0)
        shape = (count, *self.how.shape)
        np.lib.format.write_array_header_1_0(
            self.file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        assert self.start in (0, self.file.tell())

    def _reserve(self) -> None:
        self.needed = self.total * self._row
        free = shutil.disk_usage(self.path.parent).free
        if self.needed - len(self.pictures) * self._row > free:
            raise no_room(self.path.parent, self.needed)

    def _blocks(self, row: int) -> Iterator[tuple[int, int]]:
        portion = max(1, PORTION // row)
        for first in range(0, len(self.pictures), portion):
            yield first, min(portion, len(self.pictures) - first)

    def _read(self, first: int, count: int, row: int) -> Pixels:
        self.file.seek(self.start + first * row)
        return np.frombuffer(self.file.read(count * row), dtype=np.uint8)

    def _widen(self) -> None:
        """One channel to three, from the last row to the first, so that nothing is overwritten before it is read."""
        row = self._row
        self.how = replace(self.how, channels=3)
        self._reserve()
        for first, count in reversed(list(self._blocks(row))):
            block = self._read(first, count, row).reshape(count, 1, row)
            self.file.seek(self.start + first * 3 * row)
            self.file.write(np.repeat(block, 3, axis=1).data)
        self.file.seek(0, os.SEEK_END)

    def _compact(self, kept: NDArray[np.bool_]) -> int:
        """Move the kept rows together; where they end."""
        end = self.start
        for first, count in self._blocks(self._row):
            block = self._read(first, count, self._row).reshape(count, -1)[
                kept[first : first + count]
            ]
            self.file.seek(end)
            end += self.file.write(np.ascontiguousarray(block).data)
        return end


def no_room(folder: Path, needed: int) -> UserError:
    """The error for a full disk."""
    hint = "free some space, or set EYESIGHT_CACHE to a folder on a larger disk"
    try:
        free = f", and {folder} has {shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
    except OSError:
        free = ""
    return UserError(
        f"the disk is full: the prepared pictures need {needed / 1e6:,.1f} MB{free}", hint
    )
