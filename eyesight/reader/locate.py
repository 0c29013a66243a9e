"""Rows of writing on a photograph, at any size; which one is the code is decided later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyesight.reader.absorption import Grey, absorption, ink_level
from eyesight.reader.lines import without_lines
from eyesight.reader.marks import Mark, find_marks, without_frames
from eyesight.reader.mnist_digit import resample

LARGEST = 1000  # pixels; a larger photograph is shrunk to this before rows are looked for
LOWEST, HIGHEST = 12, 42  # pixels in height of the digits at one step of the pyramid
REACH = 31  # pixels; wider than any stroke of a digit that high
MOST_MARKS = 400  # at one step, the highest
GAP = 2.4  # heights between neighbours: an empty box may lie between
MOST_SLOPE = 0.3  # of a row


@dataclass(frozen=True)
class Row:
    """A row of marks in pixels of the photograph: its middle, its angle in radians and its size.

    `height` is that of a digit, `darkness` the share of light that its pens take.
    """

    x: float
    y: float
    angle: float
    length: float
    height: float
    count: int
    darkness: float

    def enlarged(self, factor: float) -> Row:
        """The same row on an image with `factor` times the pixels each way."""
        x, y = self.x * factor, self.y * factor
        length, height = self.length * factor, self.height * factor
        return Row(x, y, self.angle, length, height, self.count, self.darkness)

    def promise(self) -> float:
        """Larger for what looks more like a code: high, dark, and not as long as a sentence."""
        count = min(self.count, 6) / (1 + 0.25 * max(0, self.count - 7))
        return self.height * count * (0.4 + self.darkness)

    def resembles(self, other: Row) -> bool:
        """Whether both are the same writing, met at two steps of the pyramid."""
        near = abs(self.x - other.x) < 0.125 * (self.length + other.length)
        level = abs(self.y - other.y) < 0.3 * other.height
        height, length = self.height / other.height, self.length / other.length
        return near and level and 0.7 < height < 1.4 and 0.7 < length < 1.4


def locate_rows(values: Grey, most: int = 10) -> list[Row]:
    """Rows of marks on a photograph H,W, the most promising first, at most `most`."""
    rows = []
    factor = max(1.0, max(values.shape) / LARGEST)
    while min(values.shape) / factor > 1.2 * LOWEST:
        height, width = (round(side / factor) for side in values.shape)
        small = resample(values, height, width) if factor > 1 else values
        rows += [row.enlarged(factor) for row in rows_at(small)]
        factor *= 2
    different: list[Row] = []
    for row in sorted(rows, key=Row.promise, reverse=True):
        if not any(row.resembles(other) for other in different):
            different.append(row)
    return different[:most]


def rows_at(values: Grey) -> list[Row]:
    """Rows of digits between LOWEST and HIGHEST pixels high."""
    padded = np.pad(values, REACH, mode="edge")
    absorbed = absorption(padded, REACH)[REACH:-REACH, REACH:-REACH]
    mask = without_lines(absorbed > ink_level(absorbed), 2 * HIGHEST, 6)
    _, marks = find_marks(mask, absorbed, LOWEST // 2)
    marks = [mark for mark in marks if LOWEST <= mark.height <= 1.3 * HIGHEST]
    marks = [mark for mark in marks if mark.width <= 3.2 * mark.height]
    marks = sorted(marks, key=lambda mark: mark.height, reverse=True)[:MOST_MARKS]
    return [fitted_row(chain) for chain in chains(without_frames(marks))]


def chains(marks: list[Mark]) -> list[list[Mark]]:
    """Marks put together with their neighbours to the right, each in one chain."""
    marks = sorted(marks, key=lambda mark: mark.left)
    before: dict[int, Mark] = {}  # a mark's label to its neighbour on the left
    for place, mark in enumerate(marks):
        following = next_mark(mark, marks[place + 1 :])
        if following is None:
            continue
        rival = before.get(following.label)
        if rival is None or rival.x < mark.x:
            before[following.label] = mark
    after = {before[mark.label].label: mark for mark in marks if mark.label in before}
    rows = []
    for mark in marks:
        if mark.label in before:
            continue
        chain = [mark]
        while chain[-1].label in after:
            chain.append(after[chain[-1].label])
        rows.append(chain)
    return rows


def next_mark(mark: Mark, others: list[Mark]) -> Mark | None:
    """The nearest of the others to the right that may be the next digit of the same row."""
    nearest = None
    for other in others:
        if other.left - mark.right > GAP * 1.3 * HIGHEST:
            break
        if follows(mark, other) and (nearest is None or other.x < nearest.x):
            nearest = other
    return nearest


def follows(mark: Mark, other: Mark) -> bool:
    """Whether the other may stand to the right in the same row: as high and on its level."""
    height = max(mark.height, other.height)
    if other.x < mark.x or other.left - mark.right > GAP * height:
        return False
    if min(mark.height, other.height) < 0.45 * height:
        return False
    return abs(other.y - mark.y) <= 0.3 * height + 0.12 * (other.x - mark.x)


def fitted_row(chain: list[Mark]) -> Row:
    """The row on which a chain of marks lies."""
    xs = np.array([mark.x for mark in chain])
    ys = np.array([mark.y for mark in chain])
    height = float(np.median([mark.height for mark in chain]))
    slope = row_slope(xs, ys, height)
    left = min(mark.left for mark in chain)
    right = max(mark.right for mark in chain)
    x = (left + right) / 2
    y = float(np.median(ys + slope * (x - xs)))
    darkness = float(np.median([mark.darkness for mark in chain]))
    angle = float(np.arctan(slope))
    return Row(x, y, angle, right - left, height, len(chain), darkness)


def row_slope(xs: NDArray[np.float64], ys: NDArray[np.float64], height: float) -> float:
    """Pixels down for each pixel to the right; 0 where too few digits would tell."""
    if len(xs) < 3 or np.ptp(xs) <= 2 * height:
        return 0.0
    return float(np.clip(np.polyfit(xs, ys, 1)[0], -MOST_SLOPE, MOST_SLOPE))
