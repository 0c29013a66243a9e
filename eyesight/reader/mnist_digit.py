"""A digit prepared as MNIST was made: its ink fitted into 20×20 and centred by mass in 28×28.

MNIST's strokes are two to four pixels wide after fitting, so a fine pen is thickened first: shrunk
as it is, it would be a grey shadow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.data.prepare import BadPicture, Pixels, Preparation, prepare

Strength = NDArray[np.float64]  # 0 paper to 1 ink, H,W
SIDE, FITTED = 28, 20
CONTRAST = 40.0  # grey levels between paper and pen; less is shading or noise
LEAST = 0.12  # of the picture's side; a smaller mark is a speck
WORKING = 5 * FITTED  # pixels; larger ink is shrunk to this before its strokes are measured
BLOCK = 128  # new pixels of a side that are computed together
THIN, THICK = 2.0, 4.5  # pixels of a stroke after fitting: nine tenths of MNIST lie between
FAINT = 0.1  # strength of what a scanner adds to white paper
EVERYWHERE = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are joined


def digit(picture: bytes | Pixels) -> Pixels:
    """One digit, encoded or uint8 H,W or H,W,C, as uint8 28,28, light on dark.

    Raises BadPicture, of the kind "empty" when nothing is written.
    """
    strength = ink(grey(picture))
    if strength is None:
        raise BadPicture("empty", "nothing is written here")
    return fitted(strength)


def grey(picture: bytes | Pixels) -> Pixels:
    """The upright picture without its colours, uint8 H,W; raises BadPicture."""
    pixels: Pixels = prepare(picture, Preparation(channels=1, resize="none"))[0]
    return pixels


def ink(pixels: Pixels) -> Strength | None:
    """How strongly each pixel of uint8 H,W is inked, 0 to 1; None when nothing is written.

    Pen or paper may be lighter.
    """
    values = pixels.astype(np.float64)
    if np.ptp(values) < CONTRAST:
        return None
    if not is_dark(pixels):
        values = 255.0 - values
    strength = scaled(values, values > otsu(values))
    if strength is None:
        return None
    return without_specks(strength, LEAST * max(pixels.shape))


def is_dark(pixels: Pixels) -> bool:
    """Whether the paper is darker than the pen, judged along the border: digits lie inside."""
    light = pixels > otsu(pixels)
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return bool(border.mean() + 0.2 * light.mean() < 0.6)


def otsu(values: NDArray[np.generic]) -> float:
    """The level that splits values from 0 to 255 into two groups that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 256, (0, 256))
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    best = np.nan_to_num(between)
    highest = np.flatnonzero(best == best.max())
    return float(edges[highest].mean()) + 0.5  # the middle of a gap, not its edge


def scaled(values: Strength, pen: NDArray[np.bool_]) -> Strength | None:
    """Values as 0 at the paper's level to 1 at the pen's; None where the two hardly differ."""
    if pen.all() or not pen.any():
        return None
    low = float(np.median(values[~pen]))
    high = float(np.quantile(values[pen], 0.7))
    if high - low < CONTRAST:
        return None
    strength = (values - low) / (high - low)
    clean: Strength = np.clip((strength - FAINT) / (1 - 2 * FAINT), 0.0, 1.0)
    return clean


def without_specks(strength: Strength, least: float) -> Strength | None:
    """Only the marks that are part of a digit; None when all are smaller than `least` pixels."""
    parts, count = ndimage.label(strength > 0.3, EVERYWHERE)
    if not count:
        return None
    masses = ndimage.sum_labels(strength, parts, np.arange(1, count + 1))
    large = np.flatnonzero(masses >= 0.04 * masses.max()) + 1
    kept = np.isin(parts, large)
    if max(extent(kept)) < least:
        return None
    return np.where(ndimage.binary_dilation(kept, EVERYWHERE, 2), strength, 0.0)


def extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Height and width of what is set."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def fitted(strength: Strength) -> Pixels:
    """Ink of any size, H,W from 0 to 1, in MNIST's normalisation as uint8 28,28.

    It is at most twenty pixels long each way, and its centre of mass lies in the middle.
    """
    small = peaked(fit(even(cropped(strength))))
    height, width = small.shape
    rows, columns = ndimage.center_of_mass(small)
    top = round(SIDE / 2 - rows)  # MNIST's mean is at 14.0, not between the pixels
    left = round(SIDE / 2 - columns)
    top = min(max(top, 0), SIDE - height)
    left = min(max(left, 0), SIDE - width)
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    pixels[top : top + height, left : left + width] = np.rint(255 * small)
    return pixels


def peaked(strength: Strength) -> Strength:
    """Full strength where it is most inked: a line finer than a pixel is grey after shrinking."""
    inked = strength[strength > 0.2 * strength.max()]
    peaks: Strength = np.clip(strength / np.quantile(inked, 0.7), 0.0, 1.0)
    return peaks


def cropped(strength: Strength) -> Strength:
    """Without the empty rows and columns around it."""
    mask = strength > 0.2
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    return strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit(strength: Strength, side: int = FITTED) -> Strength:
    """The larger side brought to `side` pixels, the other in proportion."""
    scale = side / max(strength.shape)
    height, width = (max(1, round(length * scale)) for length in strength.shape)
    return resample(strength, height, width)


def resample(strength: Strength, height: int, width: int) -> Strength:
    """By area where it shrinks, linearly where it grows."""
    return rows(rows(strength, height).T, width).T


def rows(values: Strength, new: int) -> Strength:
    """The rows of values brought to `new`, a block at a time so that memory stays small."""
    blocks = []
    for first in range(0, new, BLOCK):
        low, weights = overlaps(len(values), new, first)
        blocks.append(weights @ values[low : low + weights.shape[1]])
    return np.concatenate(blocks)


def overlaps(old: int, new: int, first: int = 0) -> tuple[int, Strength]:
    """The shares of old pixels in each of BLOCK new ones from `first` on.

    Returns the first old pixel that counts, and shares new,old. Where it grows, each new pixel
    looks through a window of one old pixel.
    """
    scale = old / new
    middles = (np.arange(first, min(first + BLOCK, new)) + 0.5) * scale
    window = max(scale, 1.0)
    starts = np.clip(middles - window / 2, 0, old)
    ends = np.clip(middles + window / 2, 0, old)
    low = int(starts[0])
    edges = np.arange(low, int(np.ceil(ends[-1])))
    covered = np.minimum(ends[:, None], edges + 1) - np.maximum(starts[:, None], edges)
    shares = np.clip(covered, 0, None)
    weights: Strength = shares / shares.sum(1, keepdims=True)
    return low, weights


def even(strength: Strength) -> Strength:
    """With strokes as wide as MNIST's after fitting; what is smaller than that is left alone."""
    if max(strength.shape) <= FITTED:
        return strength
    if max(strength.shape) > WORKING:
        strength = peaked(fit(strength, WORKING))
    scale = FITTED / max(strength.shape)
    inside = depths(strength > 0.5)
    # In a stroke of width w, pixels lie w / 4 from its edge on average.
    wide = 4 * float(inside[inside > 0].mean() - 0.5)
    if wide * scale < THIN:
        reach = (THIN / scale - wide) / 2
        padded = np.pad(strength, int(np.ceil(reach)))
        outside: Strength = ndimage.distance_transform_edt(padded <= 0.5)
        strength = np.maximum(padded, np.clip(reach + 1 - outside, 0.0, 1.0))
    elif wide * scale > THICK:
        strength = strength * np.clip(inside - (wide - THICK / scale) / 2 + 0.5, 0.0, 1.0)
    return strength


def depths(mask: NDArray[np.bool_]) -> Strength:
    """Distance of each pixel of a mark from its surroundings; a mark may fill its whole box."""
    if mask.all():
        return depths(np.pad(mask, 1))[1:-1, 1:-1]
    depth: Strength = ndimage.distance_transform_edt(mask)
    return depth
