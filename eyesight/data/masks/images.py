"""Pictures with a mask each: a class number for every pixel, 255 where it counts for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.data.images import Images
from eyesight.data.masks.legend import IGNORED, Colour
from eyesight.system import memory
from eyesight.system.array_file import ArrayFile

__all__ = ["IGNORED", "Masked"]


@dataclass(frozen=True, eq=False)
class Masked(Images):
    """As `Images`, but the classes are the pixels'.

    Row `rows[i]` of `masks` (uint8 M,H,W, in memory or mapped) belongs to picture i.
    """

    masks: Tensor | npt.NDArray[np.uint8] | ArrayFile
    colours: tuple[Colour, ...]

    @property
    def chunk(self) -> int:
        """As for pictures, but an answer holds a number for each class and pixel: 64 MB of them."""
        return max(
            1,
            min(
                super().chunk,
                (64 << 20) // (4 * len(self.classes) * int(np.prod(self.shape[1:]))),
            ),
        )

    @property
    def counts(self) -> Tensor:
        """Pixels of each class, K."""
        total = torch.zeros(256, dtype=torch.int64)
        for start in range(0, len(self), 64):
            masks = self.targets(torch.arange(start, min(start + 64, len(self))))
            total += torch.bincount(masks.flatten(), minlength=256).cpu()
        return total[: len(self.classes)]

    def targets(self, index: Tensor) -> Tensor:
        """The masks of these pictures, uint8 n,H,W."""
        rows = self.rows[index.to(self.rows.device)]
        if isinstance(self.masks, Tensor):
            return self.masks[rows.to(self.masks.device)]
        return torch.from_numpy(np.ascontiguousarray(self.masks[rows.numpy()]))

    def renamed(self, places: npt.NDArray[np.int64], classes: tuple[str, ...]) -> Masked:
        """With class v of the pixels called `places[v]` among `classes`."""
        return replace(self, masks=places.astype(np.uint8)[np.asarray(self.masks)], classes=classes)

    def resident(self, device: torch.device | str = "cpu", limit: int | None = None) -> Images:
        """With pixels and masks in the device's memory where they fit in `limit` bytes."""
        if len(self) * int(np.prod(self.shape)) > (memory.data_limit() if limit is None else limit):
            return self
        every = torch.arange(len(self))
        kept: dict[str, Any] = {
            "pixels": self.take(every).to(device),
            "masks": self.targets(every).to(device),
        }
        return replace(self, **kept, rows=every)
