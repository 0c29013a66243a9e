"""Writing the pixels of a store: an .npy file whose shape is settled by the images that arrive.

It is written as a plain file, because Windows cannot rename a folder with a mapped file in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from eyesight.data.prepare import Pixels, Preparation
from eyesight.errors import DiskFullError

PORTION = 32 << 20  # bytes moved at a time


class PixelWriter:
    """Appends prepared images in order; widens grey ones once an image in colour arrives.

    `preparation` becomes exact with the first image: its height, width and channels replace zeros.
    """

    def __init__(self, path: Path, preparation: Preparation, total: int) -> None:
        self.path = path
        self.preparation = preparation
        self.total = total
        self.indices: list[int] = []  # row → index of its image in the source
        self.sizes_differ = False  # once true, nothing more is written
        self.needed = 0  # bytes of all `total` images
        self.start = 0  # position of the first row
        self.file: BinaryIO = path.open("wb+")

    def add(self, pixels: Pixels, first: int) -> None:
        """Append N,C,H,W, the images from index `first`; raises DiskFullError."""
        if not self.indices:
            self._begin(pixels)
        if pixels.shape[2:] != self.preparation.shape[1:]:
            self.sizes_differ = True
        if self.sizes_differ:
            return
        channels = pixels.shape[1]
        if channels > self.preparation.channels:
            self._widen()
        if channels < self.preparation.channels:
            pixels = np.repeat(pixels, self.preparation.channels, axis=1)
        self.file.write(np.ascontiguousarray(pixels).data)
        self.indices.extend(range(first, first + len(pixels)))

    def finish(self, keep: NDArray[np.bool_]) -> None:
        """Drop the rows that are not to be kept, write the header, sync and close the file."""
        end = self.start + len(keep) * self._row_bytes
        if not keep.all():
            end = self._compact(keep)
        self.file.truncate(end)
        self._write_header(int(keep.sum()))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    @property
    def _row_bytes(self) -> int:
        channels, height, width = self.preparation.shape
        return channels * height * width

    def _begin(self, pixels: Pixels) -> None:
        padding = 2 * self.preparation.pad
        self.preparation = replace(
            self.preparation,
            channels=pixels.shape[1],
            height=pixels.shape[2] - padding,
            width=pixels.shape[3] - padding,
            depth=self.preparation.depth or 16,
        )
        self._check_space()
        self._write_header(self.total)
        self.start = self.file.tell()

    def _write_header(self, count: int) -> None:
        """Numpy pads headers, so that one for another count takes the same space."""
        self.file.seek(0)
        shape = (count, *self.preparation.shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
        assert self.start in (0, self.file.tell())

    def _check_space(self) -> None:
        self.needed = self.total * self._row_bytes
        free = shutil.disk_usage(self.path.parent).free
        written = len(self.indices) * self._row_bytes
        if self.needed - written > free:
            raise no_space(self.path.parent, self.needed)

    def _blocks(self, row_bytes: int) -> Iterator[tuple[int, int]]:
        """(first row, number of rows) of portions that fit in memory."""
        step = max(1, PORTION // row_bytes)
        for first in range(0, len(self.indices), step):
            yield first, min(step, len(self.indices) - first)

    def _read(self, first: int, count: int, row_bytes: int) -> Pixels:
        self.file.seek(self.start + first * row_bytes)
        return np.frombuffer(self.file.read(count * row_bytes), dtype=np.uint8)

    def _widen(self) -> None:
        """One channel to three, last row first: nothing is overwritten before it is read."""
        row_bytes = self._row_bytes
        self.preparation = replace(self.preparation, channels=3)
        self._check_space()
        for first, count in reversed(list(self._blocks(row_bytes))):
            block = self._read(first, count, row_bytes).reshape(count, 1, row_bytes)
            self.file.seek(self.start + first * 3 * row_bytes)
            self.file.write(np.repeat(block, 3, axis=1).data)
        self.file.seek(0, os.SEEK_END)

    def _compact(self, keep: NDArray[np.bool_]) -> int:
        """Move the rows to be kept together; returns where they end."""
        end = self.start
        for first, count in self._blocks(self._row_bytes):
            block = self._read(first, count, self._row_bytes).reshape(count, -1)
            block = np.ascontiguousarray(block[keep[first : first + count]])
            self.file.seek(end)
            end += self.file.write(block.data)
        return end


def no_space(folder: Path, needed: int) -> DiskFullError:
    """The error when the prepared images do not fit on the disk of `folder`."""
    free = ""
    with suppress(OSError):
        free = f", and {folder} has {shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
    return DiskFullError(
        f"the disk is full: the prepared images need {needed / 1e6:,.1f} MB{free}",
        "free some space, or set EYESIGHT_CACHE to a folder on a larger disk",
    )
