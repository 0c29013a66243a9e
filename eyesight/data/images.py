"""Prepared pictures with their labels, as batches of tensors; uint8 all the way to the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.system import memory


@dataclass(frozen=True, eq=False)
class Images:
    """N pictures: row `rows[i]` of `pixels` (uint8 M,C,H,W, in memory or in a mapped file) with label `labels[i]`."""

    pixels: Tensor | npt.NDArray[np.uint8]
    rows: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    ids: tuple[str, ...]

    @staticmethod
    def of(
        pixels: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        classes: tuple[str, ...],
        ids: tuple[str, ...],
    ) -> Images:
        """Pictures straight from arrays; nothing is copied yet."""
        return Images(
            pixels,
            torch.arange(len(labels)),
            torch.from_numpy(np.array(labels, dtype=np.int64)),
            classes,
            ids,
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """C,H,W of one picture."""
        return tuple(self.pixels.shape[1:])

    @property
    def portion(self) -> int:
        """Pictures to look at in one go."""
        return at_once(self.shape)

    @property
    def counts(self) -> Tensor:
        """Labelled pictures of each class, K."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def take(self, index: Tensor) -> Tensor:
        """The pixels of these pictures, uint8 n,C,H,W."""
        rows = self.rows[index.to(self.rows.device)]
        if isinstance(self.pixels, Tensor):
            return self.pixels.index_select(
                0, rows.to(self.pixels.device)
            )  # ten times as fast as brackets
        return torch.from_numpy(np.ascontiguousarray(self.pixels[rows.numpy()]))

    def targets(self, index: Tensor) -> Tensor:
        """What is known about these pictures: their labels n."""
        return self.labels[index]

    def subset(self, index: npt.NDArray[Any]) -> Images:
        """Only these pictures, in this order."""
        chosen = torch.from_numpy(np.asarray(index, dtype=np.int64))
        ids = tuple(self.ids[place] for place in chosen.tolist())
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen], ids=ids)

    def at(self, passes: int) -> Images:
        """The pictures as this pass over them sees them: the same in every pass, unless several versions were kept."""
        return self

    def resident(self, device: torch.device | str = "cpu", limit: int | None = None) -> Images:
        """With the pixels in the device's memory, without gaps, where they fit in `limit` bytes; else they stay in the mapped file."""
        if len(self) * int(np.prod(self.shape)) > (memory.spare() if limit is None else limit):
            return self
        pixels = self.take(torch.arange(len(self))).to(device)
        return replace(self, pixels=pixels, rows=torch.arange(len(self)))

    def batches(
        self, order: Tensor, batch: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(pixels, targets, index) in this order."""
        for index in portions(order, batch):
            yield self.see(index, device)

    def see(
        self, index: Tensor, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(pixels, targets, index) of these pictures, on the device."""
        return self.take(index).to(device), self.targets(index).to(device), index.to(device)


def at_once(shape: tuple[int, ...]) -> int:
    """Pictures C,H,W to look at in one go: 500, or fewer where as floats they would pass 32 MB: a network's maps may take 30 times that."""
    return max(1, min(500, (32 << 20) // (4 * int(np.prod(shape)))))


def portions(order: Tensor, batch: int) -> tuple[Tensor, ...]:
    """An order in batches whose sizes differ by one at most, so that none is a lone remainder."""
    return torch.tensor_split(order, max(1, -(-len(order) // batch)))
