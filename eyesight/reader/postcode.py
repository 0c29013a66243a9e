"""The digits of a photographed or scanned code: found, cut out one by one from left to right, and prepared as MNIST was made.

Everything is measured in heights of the digits found, so neither the size of the picture nor that of the writing has to be known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.data.prepare import Pixels
from eyesight.reader import mnist_digit
from eyesight.reader.mnist_digit import Strength

WORKING = 1000  # pixels; a larger picture is shrunk to this
SMALL = 12  # pixels; lower marks cannot be told apart
MOST = 40  # digits of one row
MARKS = 500  # looked at, the highest; every pair of them is compared
FULL = 0.8  # of a side covered by ink: the line of a box
FINE = 0.6  # of the usual stroke's width; finer lines were printed
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Found:
    """One digit: where it is in the picture as it was given, in pixels, and how it was prepared, uint8 28,28."""

    left: int
    top: int
    width: int
    height: int
    pixels: Pixels


@dataclass(frozen=True)
class Mark:
    """Connected ink: its box, and the numbers of the parts it is made of."""

    top: int
    left: int
    bottom: int
    right: int
    parts: tuple[int, ...]

    @property
    def height(self) -> int:
        """In pixels, as is `width`."""
        return self.bottom - self.top

    @property
    def width(self) -> int:  # noqa: D102
        return self.right - self.left

    @property
    def middle(self) -> float:
        """Of its height, from the top of the picture."""
        return (self.top + self.bottom) / 2

    def around(self, other: Mark) -> bool:
        """Whether the other lies inside."""
        return (
            self.top < other.top
            and self.left < other.left
            and self.bottom > other.bottom
            and self.right > other.right
        )

    def joined(self, other: Mark) -> Mark:
        """Both as one."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Mark(
            top,
            left,
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            self.parts + other.parts,
        )


def read_row(pixels: Pixels) -> list[Found]:
    """The digits on a picture, uint8 H,W, from left to right; none where there is no row of writing."""
    factor = max(1.0, max(pixels.shape) / WORKING)
    sides = [max(1, round(side / factor)) for side in pixels.shape]
    values = (
        mnist_digit.resample(pixels.astype(np.float64), *sides)
        if factor > 1
        else pixels.astype(np.float64)
    )
    strength = darkness(values)
    if strength is None:
        return []
    mask = strength > 0.4
    labels, marks = written(mask)
    row = apart(one_row(merged(by_pen(marks, labels))), labels)[:MOST]
    return [cut(mark, labels, strength, factor) for mark in row]


def darkness(values: Strength) -> Strength | None:
    """How strongly each pixel is inked, 0 to 1, against the paper around it; shadows across the paper do not count."""
    eight = values.astype(np.uint8)
    if np.ptp(values) < mnist_digit.CONTRAST:
        return None
    values = 255.0 - values if mnist_digit.is_dark(eight) else values
    difference = np.clip(paper(values) - ndimage.gaussian_filter(values, 0.7), 0.0, 255.0)
    level = max(mnist_digit.otsu(difference), mnist_digit.CONTRAST / 2)
    return mnist_digit.scaled(difference, difference > level)


def paper(values: Strength) -> Strength:
    """The brightness of the paper at each pixel: what is bright nearby, smoothed; on a small copy, for it is slow."""
    small = mnist_digit.fit(values, min(100, max(values.shape)))
    size = max(3, max(small.shape) // 8)
    bright = ndimage.percentile_filter(small, 85, size)
    return mnist_digit.resample(ndimage.gaussian_filter(bright, size / 4), *values.shape)


def written(mask: NDArray[np.bool_]) -> tuple[Labels, list[Mark]]:
    """The marks that may be parts of digits, with the labels they point to: box lines, the picture's dark margins and specks are gone."""
    labels, marks = connected(mask)
    lines = [
        mark
        for mark in marks
        if is_frame(labels[mark.top : mark.bottom, mark.left : mark.right] == mark.parts[0])
    ]
    if lines:
        for mark in lines:
            inside = labels[mark.top : mark.bottom, mark.left : mark.right]
            inside[framing(inside == mark.parts[0])] = 0
        labels, marks = connected(labels > 0)
    marks = [mark for mark in marks if not on_margin(mark, mask.shape)]
    if len(marks) > MARKS:
        marks = sorted(marks, key=lambda mark: mark.height, reverse=True)[:MARKS]
    around = [
        mark
        for mark in marks
        if sum(mark.around(other) and other.height > 0.3 * mark.height for other in marks)
    ]
    return labels, [mark for mark in marks if mark not in around]


def connected(mask: NDArray[np.bool_]) -> tuple[Labels, list[Mark]]:
    """Connected ink of more than a few pixels."""
    labels, _ = ndimage.label(mask, mnist_digit.EVERYWHERE)
    boxes = ndimage.find_objects(labels)
    marks = [
        Mark(high.start, wide.start, high.stop, wide.stop, (number,))
        for number, (high, wide) in enumerate(boxes, start=1)
    ]
    return labels, [mark for mark in marks if max(mark.height, mark.width) >= 4]


def is_frame(mark: NDArray[np.bool_]) -> bool:
    """Whether ink runs along all four sides of its box, as no digit's does; a picture taken a little askew is allowed for."""
    height, width = mark.shape
    if min(height, width) < SMALL:
        return False
    high, wide = max(2, height // 10), max(2, width // 10)
    sides = (mark[:high].any(0), mark[-high:].any(0), mark[:, :wide].any(1), mark[:, -wide:].any(1))
    return min(float(side.mean()) for side in sides) >= FULL and float(mark.mean()) < 0.5


def framing(mark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a frame's lines: runs of ink far longer than a pen makes them inside."""
    height, width = mark.shape
    across = runs(mark, max(3, round(0.3 * min(width, 2 * height))), 1)
    slanting = ndimage.maximum_filter1d(
        mark.astype(np.uint8), 1 + 2 * (height // 30), 1, mode="constant"
    )  # upright, if a little askew
    down = runs(slanting > 0, max(3, round(FULL * height)), 0) & mark
    high, wide = max(2, height // 10), max(2, width // 10)
    edges = np.ones_like(mark)
    edges[high:-high, wide:-wide] = False
    across[high:-high] = False  # a seven's bar is as long
    lines: NDArray[np.bool_] = (
        ndimage.binary_dilation(across | down, mnist_digit.EVERYWHERE) | edges
    ) & mark
    return lines


def runs(mask: NDArray[np.bool_], length: int, axis: int) -> NDArray[np.bool_]:
    """Only what lies in runs of at least `length` pixels along an axis; binary_opening does that in time that grows with the length."""
    whole = ndimage.minimum_filter1d(
        mask.astype(np.uint8), length, axis, mode="constant", origin=-(length // 2)
    )
    found: NDArray[np.bool_] = (
        ndimage.maximum_filter1d(whole, length, axis, mode="constant", origin=(length - 1) // 2) > 0
    )
    return found


def on_margin(mark: Mark, shape: tuple[int, ...]) -> bool:
    """Whether it comes in from outside: a table's edge, a shadow, the frame of the next box."""
    outside = (
        (mark.top == 0) + (mark.left == 0) + (mark.bottom == shape[0]) + (mark.right == shape[1])
    )
    large = mark.width > 0.5 * shape[1] or mark.height > 0.95 * shape[0]
    return outside >= 2 or (outside == 1 and large)


def by_pen(marks: list[Mark], labels: Labels) -> list[Mark]:
    """Without lines much finer than the pen: what is left of a printed box that a shadow has broken."""
    if not marks:
        return []
    numbers = [mark.parts[0] for mark in marks]
    widths = ndimage.mean(
        ndimage.distance_transform_edt(labels > 0), labels, numbers
    )  # a quarter of each pen, see `ink.even`
    areas = ndimage.sum_labels(labels > 0, labels, numbers).astype(int)
    pen = np.quantile(np.repeat(widths, areas), 0.75) - 0.5
    return [mark for mark, width in zip(marks, widths, strict=True) if width - 0.5 >= FINE * pen]


def merged(marks: list[Mark]) -> list[Mark]:
    """Parts of one digit together: one above the other, or close beside a whole one; what is too small for any is dropped."""
    usual = height_of(marks)
    marks = sorted(
        (mark for mark in marks if max(mark.height, mark.width) >= max(0.12 * usual, 4)),
        key=lambda mark: mark.left,
    )
    done: list[Mark] = []
    for mark in marks:
        partner = next((other for other in done if belong(other, mark, usual)), None)
        if partner is not None:
            done.remove(partner)
            mark = partner.joined(mark)
        done.append(mark)
    return [mark for mark in done if mark.height >= max(0.5 * usual, SMALL)]


def height_of(marks: list[Mark]) -> float:
    """The usual height of the digits: the median of those at least half as high as the highest but one."""
    heights = np.array(sorted((mark.height for mark in marks), reverse=True) or [0])
    return float(np.median(heights[heights >= heights[min(1, len(heights) - 1)] / 2]))


def belong(one: Mark, other: Mark, usual: float) -> bool:
    """Whether two marks are parts of one digit."""
    overlap = min(one.right, other.right) - max(one.left, other.left)
    if overlap < -0.08 * usual:  # most pairs, so this comes first
        return False
    both = one.joined(other)
    if both.height > 1.35 * usual or both.width > 1.1 * usual:
        return False
    above = overlap >= 0.5 * min(one.width, other.width)
    fragment = min(one.height, other.height) < 0.6 * usual
    return above or fragment


def one_row(marks: list[Mark]) -> list[Mark]:
    """The marks of the row with the most ink, from left to right; each next one may lie a little higher or lower."""
    rows: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.left):
        fitting = [
            row
            for row in rows
            if abs(row[-1].middle - mark.middle) < 0.5 * max(row[-1].height, mark.height)
        ]
        if fitting:
            max(fitting, key=lambda row: row[-1].right).append(mark)
        else:
            rows.append([mark])
    return max(rows, key=lambda row: sum(mark.height for mark in row), default=[])


def apart(row: list[Mark], labels: Labels) -> list[Mark]:
    """Digits that touch cut where the ink between them is thinnest."""
    usual = float(np.median([mark.height for mark in row])) if row else 0.0
    return [
        piece
        for mark in row
        for piece in pieces(mark, labels, max(1, round(mark.width / (0.75 * usual))))
    ]


def pieces(mark: Mark, labels: Labels, count: int) -> list[Mark]:
    """One mark as `count` neighbours."""
    if count == 1 or mark.width < 1.25 * mark.height:
        return [mark]
    profile = np.isin(labels[mark.top : mark.bottom, mark.left : mark.right], mark.parts).sum(0)
    reach = mark.width // (3 * count)
    ends = [0]
    for number in range(1, count):
        middle = mark.width * number // count
        ends.append(middle - reach + int(np.argmin(profile[middle - reach : middle + reach + 1])))
    ends.append(mark.width)
    return [
        replace(mark, left=mark.left + start, right=mark.left + end)
        for start, end in pairwise(ends)
    ]


def cut(mark: Mark, labels: Labels, strength: Strength, factor: float) -> Found:
    """The digit by itself, without what else is in its box."""
    around = (
        slice(max(0, mark.top - 2), mark.bottom + 2),
        slice(max(0, mark.left - 2), mark.right + 2),
    )
    own = np.isin(labels[around], mark.parts)
    own[:, : max(0, mark.left - around[1].start - 1)] = False
    alone = np.where(ndimage.binary_dilation(own, mnist_digit.EVERYWHERE), strength[around], 0.0)
    left, top, width, height = (
        round(value * factor) for value in (mark.left, mark.top, mark.width, mark.height)
    )
    return Found(left, top, width, height, mnist_digit.fitted(alone))
