"""An array in a file, read row by row: as a memory map, but a file cut short is an error.

A process that reads a mapped page behind the end of its file is killed (SIGBUS). Reading with
`pread` costs as much and raises an exception that names the file.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError

Index = int | slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_]


class ArrayFile:
    """Rows of numbers in a file; `array[3]`, `array[2:9]` and `array[rows]` read what they name.

    `np.asarray(array)` reads everything. Raises UserError when the file has become shorter.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, offset: int = 0
    ) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.offset = offset
        self._row = math.prod(shape[1:]) * self.dtype.itemsize
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._turn = threading.Lock()

    @classmethod
    def from_npy(cls, path: Path) -> ArrayFile:
        """The array in an .npy file; raises ValueError when its header or its length is wrong."""
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"{path} is an .npy file of version {version}")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
        if fortran or dtype.hasobject or not shape:
            raise ValueError(f"{path} holds {dtype} in an order that is not read")
        array = cls(path, shape, dtype, offset)
        if path.stat().st_size != offset + array.nbytes:
            raise ValueError(f"{path} has {path.stat().st_size} bytes")
        return array

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.shape[0] * self._row

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> np.ndarray:
        if isinstance(index, slice):
            return self._gather(np.arange(*index.indices(len(self))))
        if isinstance(index, np.ndarray):
            rows = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.int64)
            return self._gather(np.where(rows < 0, rows + len(self), rows))
        row = index + len(self) if index < 0 else index
        return np.asarray(self._gather(np.array([row]))[0])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        values = self._gather(np.arange(len(self)))
        return values if dtype is None else values.astype(dtype)

    def _gather(self, rows: npt.NDArray[np.int64]) -> np.ndarray:
        """The values of these rows; those that follow each other are read at once."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows")
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        if not values.nbytes:
            return values
        target = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        starts = [0, *breaks.tolist()]
        ends = [*breaks.tolist(), len(rows)]
        for start, end in zip(starts, ends, strict=True):
            part = target[start * self._row : end * self._row]
            self._read(part, self.offset + int(rows[start]) * self._row)
        return values

    def _read(self, target: memoryview, position: int) -> None:
        while target:
            count = self._read_some(target, position)
            if not count:
                raise UserError(
                    f"{self.path} was truncated while it was read",
                    "another program changed the cache; run the command again",
                )
            target = target[count:]
            position += count

    def _read_some(self, target: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [target], position)
        with self._turn:
            os.lseek(self._descriptor, position, os.SEEK_SET)
            content = os.read(self._descriptor, len(target))
        target[: len(content)] = content
        return len(content)
