"""Ruled lines taken out of a mask of ink: what is long, straight and thin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.reader.absorption import Mask

SLOPES = (-0.12, -0.06, 0.0, 0.06, 0.12)  # pixels down for each pixel to the right


def without_lines(mask: Mask, length: int, thickness: int) -> Mask:
    """The mask without nearly horizontal lines of at least `length` pixels.

    Ink that crosses a line stays whole: the line is taken out only where the column is marked for
    no more than `thickness` pixels.
    """
    lines = np.zeros_like(mask)
    for slope in SLOPES:
        lines |= sloped_runs(mask, slope, length)
    if not lines.any():
        return mask
    return mask & ~(lines & (column_runs(mask) <= thickness))


def sloped_runs(mask: Mask, slope: float, length: int) -> Mask:
    """The pixels in runs of at least `length` along a slope; a step of one pixel breaks none."""
    rows = np.arange(mask.shape[0])[:, None]
    columns = np.arange(mask.shape[1])
    shift = np.rint(slope * (columns - mask.shape[1] / 2)).astype(int)
    level = mask[np.clip(rows + shift, 0, len(mask) - 1), columns].astype(np.uint8)
    level = ndimage.maximum_filter1d(level, 3, 0, mode="constant")
    back = length // 2
    level = ndimage.minimum_filter1d(level, length, 1, mode="constant", origin=-back)
    level = ndimage.maximum_filter1d(level, length, 1, mode="constant", origin=(length - 1) // 2)
    runs: Mask = level[np.clip(rows - shift, 0, len(mask) - 1), columns] > 0
    return runs & mask


def column_runs(mask: Mask) -> NDArray[np.int32]:
    """For each marked pixel H,W the number of pixels marked above and below it without a gap."""
    starts = np.diff(mask.astype(np.int8), axis=0, prepend=0) > 0
    numbers = np.cumsum(starts, axis=0)
    runs = numbers + np.arange(mask.shape[1]) * (numbers.max() + 1)
    counts = np.bincount(runs[mask], minlength=1)
    lengths = np.zeros(mask.shape, np.int32)
    lengths[mask] = counts[runs[mask]]
    return lengths
