"""Prepared images with their labels, as batches of tensors; uint8 all the way to the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.system import memory
from eyesight.system.array_file import ArrayFile

CHUNK_BYTES = 32 << 20  # of images as floats: the maps of a network may take 30 times that
CHUNK = 500


@dataclass(frozen=True, eq=False)
class Images:
    """N images: row `rows[i]` of `pixels` (uint8 M,C,H,W, in memory or a file) has `labels[i]`."""

    pixels: Tensor | npt.NDArray[np.uint8] | ArrayFile
    rows: Tensor  # int64 N
    labels: Tensor  # int64 N, -1 where there is none
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    # A teacher's probabilities N,K, which are learned in place of the labels.
    soft: Tensor | None = field(default=None, kw_only=True)

    @staticmethod
    def of(
        pixels: npt.NDArray[np.uint8] | ArrayFile,
        labels: npt.NDArray[np.int64],
        classes: tuple[str, ...],
        ids: tuple[str, ...],
    ) -> Images:
        """Images straight from arrays; no pixels are copied."""
        rows = torch.arange(len(labels))
        return Images(pixels, rows, torch.from_numpy(labels.astype(np.int64)), classes, ids)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """C,H,W of one image."""
        return tuple(self.pixels.shape[1:])

    @property
    def chunk(self) -> int:
        """Images to infer at a time."""
        return chunk_size(self.shape)

    @property
    def counts(self) -> Tensor:
        """Labelled images of each class, K."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def take(self, index: Tensor) -> Tensor:
        """The pixels of these images, uint8 n,C,H,W; raises UserError when their file was cut."""
        rows = self.rows[index.to(self.rows.device)]
        if isinstance(self.pixels, Tensor):
            # index_select is ten times as fast as brackets.
            return self.pixels.index_select(0, rows.to(self.pixels.device))
        return torch.from_numpy(np.ascontiguousarray(self.pixels[rows.numpy()]))

    def targets(self, index: Tensor) -> Tensor:
        """What is to be learnt of these images: their labels n, or a teacher's answers n,K."""
        if self.soft is not None:
            return self.soft[index]
        return self.labels[index]

    def subset(self, index: npt.NDArray[np.integer]) -> Images:
        """Only these images, in this order."""
        chosen = torch.from_numpy(np.asarray(index, dtype=np.int64))
        ids = tuple(self.ids[place] for place in chosen.tolist())
        soft = self.soft[chosen] if self.soft is not None else None
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen], ids=ids, soft=soft)

    def at_pass(self, passes: int) -> Images:
        """The images as this pass over the data sees them; only cached features differ by pass."""
        return self

    def resident(self, device: torch.device | str = "cpu", limit: int | None = None) -> Images:
        """With the pixels in the device's memory where they fit in `limit` bytes."""
        if limit is None:
            limit = memory.data_limit()
        if len(self) * int(np.prod(self.shape)) > limit:
            return self
        everything = torch.arange(len(self))
        return replace(self, pixels=self.take(everything).to(device), rows=everything)

    def batches(
        self, order: Tensor, batch_size: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(pixels, targets, index) in this order."""
        for index in even_batches(order, batch_size):
            yield self.batch(index, device)

    def batch(
        self, index: Tensor, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(pixels, targets, index) of these images, on the device."""
        return self.take(index).to(device), self.targets(index).to(device), index.to(device)


def chunk_size(shape: tuple[int, ...]) -> int:
    """Images C,H,W to infer at a time: 500, or fewer where as floats they would pass 32 MB."""
    return max(1, min(CHUNK, CHUNK_BYTES // (4 * int(np.prod(shape)))))


def even_batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """An order in batches whose sizes differ by at most one, so that none is a lone remainder."""
    return torch.tensor_split(order, max(1, -(-len(order) // batch_size)))
