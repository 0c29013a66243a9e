"""Several prepared versions of the same images, read as one: see `prepare.together`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eyesight.data.prepare import Preparation, stacked
from eyesight.data.store import Store
from eyesight.errors import UserError
from eyesight.system.array_file import ArrayFile

Rows = npt.NDArray[np.int64]


class StackedFile(ArrayFile):
    """Rows of several arrays N,C,H,W, one image below the other; nothing is written."""

    def __init__(
        self, files: Sequence[ArrayFile], rows: Sequence[Rows], preparation: Preparation
    ) -> None:
        self.files = files
        self.rows = rows
        self.image_shape = preparation.shape
        self.path = files[0].path
        self.shape = (len(rows[0]), *preparation.shape)
        self.dtype = np.dtype(np.uint8)
        self._row = int(np.prod(preparation.shape))

    def _gather(self, rows: Rows) -> np.ndarray:
        images = []
        for file, own in zip(self.files, self.rows, strict=True):
            images.append(file[own[rows]])
        return stacked(images, self.image_shape)


def stack_stores(stores: Sequence[Store], preparation: Preparation) -> Store:
    """The stores of one source as one, its images those of all, one below the other.

    Raises UserError where an image could be prepared in one way and not in another.
    """
    first = stores[0]
    rows = []
    for store in stores:
        place = {name: row for row, name in enumerate(store.ids)}
        missing = [name for name in first.ids if name not in place]
        if missing or len(place) != len(first.ids):
            odd = (missing or [name for name in store.ids if name not in set(first.ids)])[0]
            raise UserError(
                f"{odd} can be prepared in one way and not in another",
                "mend or remove it, and train the runs again",
            )
        rows.append(np.array([place[name] for name in first.ids], dtype=np.int64))
    pixels = StackedFile([store.pixels for store in stores], rows, preparation)
    return replace(first, pixels=pixels, preparation=preparation)
