"""The printed boxes of a postal code, found as the holes that their lines enclose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.reader.absorption import NOISE, Mask, deviation
from eyesight.reader.lines import sloped_runs
from eyesight.reader.marks import EVERYWHERE, Box
from eyesight.reader.strip import DIGIT_HEIGHT

HEIGHTS = (0.8, 2.3)  # of a box, in heights of a digit
WIDTHS = (0.45, 2.5)
FILLED = 0.65  # of its outline; a digit that touches the lines cuts a corner off
MOST = 12  # boxes of a row
DRAWN, DRAWN_REACH = 0.9, 0.06  # of each side of a box that a line covers, and how near to it
LINED, LINED_REACH = 0.6, 0.12  # the same where a box was missed
PALE = 0.015  # of the paper's light: less is the paper's texture, even along a line
ALONG = 25  # pixels of a line that are averaged
STEP = 5  # columns that share a median: averaged along the line they hardly differ
SHORTEST = int(0.75 * DIGIT_HEIGHT)  # pixels of a line; strokes of digits are seldom as straight


def find_boxes(mask: Mask) -> list[Box]:
    """Boxes of one row from left to right, those that were missed between and beside them too."""
    closed = ndimage.binary_closing(np.pad(mask, 3), EVERYWHERE, 2)[3:-3, 3:-3] | mask
    holes, _ = ndimage.label(~closed)
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(holes), start=1):
        box = Box(columns.start, rows.start, columns.stop, rows.stop)
        if not has_size_of_box(box) or touches_edge(box, mask.shape):
            continue
        outline = ndimage.binary_fill_holes(holes[rows, columns] == number)
        if outline.mean() > FILLED and is_drawn(box, mask):
            boxes.append(box)
    return completed(alike(boxes), mask)


def with_pale_lines(mask: Mask, absorbed: NDArray[np.float64]) -> Mask:
    """The mask with straight lines too pale to be ink by themselves, level and upright ones.

    Averaging along a line lowers the noise five times, so that pale print shows.
    """
    level = long_lines(absorbed, SHORTEST)
    upright = long_lines(np.ascontiguousarray(absorbed.T), SHORTEST).T
    lined: Mask = mask | level | upright
    return lined


def long_lines(absorbed: NDArray[np.float64], length: int) -> Mask:
    """Pixels H,W on level lines of at least `length` pixels, however pale."""
    average = ndimage.uniform_filter1d(absorbed, ALONG, axis=1)
    around = ndimage.median_filter(average[:, ::STEP], (15, 1))
    thin = average - np.repeat(around, STEP, axis=1)[:, : average.shape[1]]
    return sloped_runs(thin > max(PALE, NOISE * deviation(thin)), 0.0, length)


def has_size_of_box(box: Box) -> bool:
    """Whether a digit would be written into a box of this size."""
    height, width = box.height / DIGIT_HEIGHT, box.width / DIGIT_HEIGHT
    return HEIGHTS[0] < height < HEIGHTS[1] and WIDTHS[0] < width < WIDTHS[1]


def touches_edge(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether it reaches the edge of the strip."""
    return box.left == 0 or box.top == 0 or box.right == shape[1] or box.bottom == shape[0]


def alike(boxes: list[Box]) -> list[Box]:
    """Those of the usual size and level, from left to right."""
    if not boxes:
        return []
    height = np.median([box.height for box in boxes])
    width = np.median([box.width for box in boxes])
    boxes = [box for box in boxes if 0.8 < box.height / height < 1.25]
    boxes = [box for box in boxes if 0.75 < box.width / width < 1.33]
    if not boxes:
        return []
    level = np.median([box.y for box in boxes])
    boxes = [box for box in boxes if abs(box.y - level) < 0.4 * height]
    row: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.left):
        if not row or box.x - row[-1].x > 0.5 * width:
            row.append(box)
    return row


def completed(boxes: list[Box], mask: Mask) -> list[Box]:
    """With the boxes that must lie between and beside at least two of them."""
    if len(boxes) < 2:
        return boxes
    row = with_gaps_filled(boxes)
    while len(row) < MOST:
        box = interpolated(row[1], row[0], 2.0)
        if not belongs(box, mask):
            break
        row = [box, *row]
    while len(row) < MOST:
        box = interpolated(row[-2], row[-1], 2.0)
        if not belongs(box, mask):
            break
        row = [*row, box]
    return row


def with_gaps_filled(boxes: list[Box]) -> list[Box]:
    """A box wherever two neighbours are two or more steps apart."""
    steps = np.diff([box.x for box in boxes])
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    row = [boxes[0]]
    for box in boxes[1:]:
        before = row[-1]
        count = max(1, min(round((box.x - before.x) / step), MOST))
        for place in range(1, count):
            row.append(interpolated(before, box, place / count))
        row.append(box)
    return row


def interpolated(one: Box, other: Box, part: float) -> Box:
    """The box `part` of the way from one to the other; beyond the other from 1 on."""
    return Box(
        one.left + part * (other.left - one.left),
        one.top + part * (other.top - one.top),
        one.right + part * (other.right - one.right),
        one.bottom + part * (other.bottom - one.bottom),
    )


def belongs(box: Box, mask: Mask) -> bool:
    """Whether a place beside a row of boxes is one more, with broken lines or cut off."""
    if box.left < 0 or box.top < 0 or box.right > mask.shape[1] or box.bottom > mask.shape[0]:
        return False
    return is_lined(box, mask, LINED, LINED_REACH) or holds_digit(box, mask)


def is_drawn(box: Box, mask: Mask) -> bool:
    """Whether straight lines run along all four sides; digits between ruled lines have none."""
    upright = is_lined(transposed(box), mask.T, DRAWN, DRAWN_REACH)
    return upright and is_lined(box, mask, DRAWN, DRAWN_REACH)


def transposed(box: Box) -> Box:
    """The box in a mask whose rows and columns are exchanged."""
    return Box(box.top, box.left, box.bottom, box.right)


def is_lined(box: Box, mask: Mask, share: float, distance: float) -> bool:
    """Whether lines run along this share of its top and bottom, at most `distance` heights away."""
    reach = max(4, int(distance * box.height))
    for edge in (int(box.top), int(box.bottom)):
        beside = mask[max(0, edge - reach) : edge + reach, int(box.left) : int(box.right)]
        if beside.any(axis=0).mean() < share:
            return False
    return True


def holds_digit(box: Box, mask: Mask) -> bool:
    """Whether ink as high as a digit lies inside."""
    edge = 0.12 * box.height
    rows = slice(int(box.top + edge), int(box.bottom - edge))
    columns = slice(int(box.left + edge), int(box.right - edge))
    part = mask[rows, columns]
    return bool(part.any(axis=1).mean() > 0.45 and part.mean() < 0.6)
