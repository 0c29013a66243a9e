"""Images with masks: a class number for every pixel, 255 for ignored pixels."""

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
    """`Images` with masks instead of labels.

    Row `rows[i]` of `masks` (uint8 M,H,W, in memory or on disk) belongs to image i.
    """

    masks: Tensor | npt.NDArray[np.uint8] | ArrayFile
    colours: tuple[Colour, ...]

    @property
    def chunk(self) -> int:
        """The batch size for inference, such that the outputs per class and pixel take 64 MB."""
        return max(
            1,
            min(
                super().chunk,
                (64 << 20) // (4 * len(self.classes) * int(np.prod(self.shape[1:]))),
            ),
        )

    @property
    def counts(self) -> Tensor:
        """Number of pixels per class, K."""
        total = torch.zeros(256, dtype=torch.int64)
        for start in range(0, len(self), 64):
            masks = self.targets(torch.arange(start, min(start + 64, len(self))))
            total += torch.bincount(masks.flatten(), minlength=256).cpu()
        return total[: len(self.classes)]

    def targets(self, index: Tensor) -> Tensor:
        """The masks of these images, uint8 n,H,W."""
        rows = self.rows[index.to(self.rows.device)]
        if isinstance(self.masks, Tensor):
            return self.masks[rows.to(self.masks.device)]
        return torch.from_numpy(np.ascontiguousarray(self.masks[rows.numpy()]))

    def renamed(self, places: npt.NDArray[np.int64], classes: tuple[str, ...]) -> Masked:
        """A copy in which class v of the masks becomes class `places[v]` of `classes`."""
        return replace(self, masks=places.astype(np.uint8)[np.asarray(self.masks)], classes=classes)

    def resident(self, device: torch.device | str = "cpu", limit: int | None = None) -> Images:
        """Move pixels and masks to the device if they fit into `limit` bytes."""
        if len(self) * int(np.prod(self.shape)) > (memory.data_limit() if limit is None else limit):
            return self
        every = torch.arange(len(self))
        kept: dict[str, Any] = {
            "pixels": self.take(every).to(device),
            "masks": self.targets(every).to(device),
        }
        return replace(self, **kept, rows=every)
