"""Connected ink and where it lies; each mark is cut out at half of its own darkness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.reader.absorption import Mask

Labels = NDArray[np.int32]  # H,W: 0, or the number of a mark
EVERYWHERE = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are joined
OWN_LEVEL = 0.45  # of a mark's darkness; its edge lies there, whether the pen was pale or dark


@dataclass(frozen=True)
class Box:
    """An upright rectangle in pixels; `right` and `bottom` lie outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def x(self) -> float:
        """The middle, from the left of the image."""
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        """The middle, from the top of the image."""
        return (self.top + self.bottom) / 2

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        left = min(self.left, other.left)
        top = min(self.top, other.top)
        return Box(left, top, max(self.right, other.right), max(self.bottom, other.bottom))

    def contains(self, other: Box) -> bool:
        """Whether the other lies inside and touches no side."""
        across = self.left < other.left and other.right < self.right
        return across and self.top < other.top and other.bottom < self.bottom

    def corners(self) -> NDArray[np.float64]:
        """The corners 4,2 as x and y, clockwise from the upper left."""
        return np.array(
            [
                (self.left, self.top),
                (self.right, self.top),
                (self.right, self.bottom),
                (self.left, self.bottom),
            ],
            dtype=np.float64,
        )


@dataclass(frozen=True)
class Mark(Box):
    """Connected ink: its number among the labels, and the share of light that its pen takes."""

    label: int
    darkness: float


def find_marks(
    mask: Mask, absorbed: NDArray[np.float64], smallest: int
) -> tuple[Labels, list[Mark]]:
    """Labels H,W and the marks of at least `smallest` pixels in height or width."""
    coarse, count = ndimage.label(mask, EVERYWHERE)
    levels = np.ones(count + 1)
    for number, place in enumerate(ndimage.find_objects(coarse), start=1):
        inside = absorbed[place][coarse[place] == number]
        if len(inside) > 5:
            levels[number] = np.quantile(inside, 0.9)
    labels, _ = ndimage.label(mask & (absorbed >= OWN_LEVEL * levels[coarse]), EVERYWHERE)
    marks = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if max(rows.stop - rows.start, columns.stop - columns.start) < smallest:
            continue
        inside = labels[rows, columns] == number
        darkness = float(levels[coarse[rows, columns][inside][0]])
        box = (columns.start, rows.start, columns.stop, rows.stop)
        marks.append(Mark(*box, label=number, darkness=darkness))
    return labels, marks


def without_frames(marks: list[Mark]) -> list[Mark]:
    """The marks that do not surround another one of a third of their height."""
    kept = []
    for mark in marks:
        inside = [other for other in marks if mark.contains(other)]
        if not any(other.height > 0.35 * mark.height for other in inside):
            kept.append(mark)
    return kept
