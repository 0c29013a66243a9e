"""Read the postal code on a photograph: rows are located, straightened, segmented and judged.

READ THIS FIRST. `locate` finds rows of marks at every size, `strip` straightens one of them,
`printed_boxes` and `segmentation` are two ways to say which ink makes which digit. The network that
is passed in judges all of them; the reading that it believes most is returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eyesight.data.prepare import Pixels
from eyesight.reader.absorption import Grey
from eyesight.reader.lines import without_lines
from eyesight.reader.locate import Row, locate_rows, row_slope
from eyesight.reader.marks import Box, Mark, find_marks
from eyesight.reader.mnist_digit import Strength
from eyesight.reader.printed_boxes import find_boxes, with_pale_lines
from eyesight.reader.segmentation import Classify, Probabilities, pen_strength, prepared, segment
from eyesight.reader.strip import DIGIT_HEIGHT, Corners, Strip, straighten

SURE = 0.82  # a digit of a lower probability is marked; `benchmarks/envelopes.py` measures it
EMPTY = "_"  # an empty box keeps its place
SMALLEST = DIGIT_HEIGHT // 10  # pixels of the strip; a smaller mark is a speck
WORSE_IN_BOXES = 1.0  # of the score: so much printed boxes tell by themselves
LEANING = 0.2  # of a box: so far its own line may reach into it where the box is not upright
CONTRAST = 20.0  # grey levels; a photograph with less shows nothing


@dataclass(frozen=True, eq=False)
class CodeDigit:
    """One place of a code: where it is on the photograph, and what the network sees and says there.

    `pixels` is uint8 28,28 and `probabilities` 10; both are None where a box is empty.
    """

    corners: Corners
    strength: Strength | None = None
    pixels: Pixels | None = None
    probabilities: Probabilities | None = None
    darkness: float = 0.0

    @property
    def digit(self) -> str:
        """The most probable digit, "_" for an empty box."""
        if self.probabilities is None:
            return EMPTY
        return str(int(self.probabilities.argmax()))

    @property
    def probability(self) -> float:
        """Of that digit; 0 for an empty box."""
        if self.probabilities is None:
            return 0.0
        return float(self.probabilities.max())


@dataclass(frozen=True, eq=False)
class PostalCode:
    """A code from left to right, with the corners of the marks beside it that are no part of it."""

    digits: list[CodeDigit] = field(default_factory=list)
    left_out: list[Corners] = field(default_factory=list)
    boxed: bool = False
    score: float = 0.0
    row: Row | None = None

    @property
    def text(self) -> str:
        """As it is read, "_" for each empty box."""
        return "".join(digit.digit for digit in self.digits)

    def is_doubtful(self, digits: int | None = None, sure: float = SURE) -> bool:
        """Whether somebody should look at it."""
        return self.certainty(digits) < sure

    def certainty(self, digits: int | None = None) -> float:
        """The probability of the least sure digit.

        0 where a box is empty, a mark as high is left out, or another number was expected.
        """
        if not self.digits or (digits is not None and len(self.digits) != digits):
            return 0.0
        height = np.median([corners_height(digit.corners) for digit in self.digits])
        if any(corners_height(corners) > 0.7 * height for corners in self.left_out):
            return 0.0
        return min(digit.probability for digit in self.digits)


def read_code(photograph: Pixels, classify: Classify, digits: int | None = None) -> PostalCode:
    """Read the code on a photograph, uint8 H,W; without digits where there is none.

    Parameters
    ----------
    photograph
        Upright and grey; paper and pen may be light or dark.
    classify
        The network: uint8 N,28,28 in MNIST's normalisation to the probabilities N,10 of 0 to 9.
    digits
        How many digits the code has, if that is known.
    """
    values = photograph.astype(np.float64)
    if np.ptp(values) < CONTRAST:
        return PostalCode()
    code = best_reading(values, classify, digits)
    if is_believable(code, 0.93):
        return code
    negative = best_reading(255.0 - values, classify, digits)
    if len(negative.digits) > 2 and worth(negative, negative, digits) > worth(code, code, digits):
        return negative
    return code if is_believable(code, 0.5) else PostalCode()


def is_believable(code: PostalCode, least: float) -> bool:
    """Whether the written digits have this probability in the mean."""
    written = [digit.probability for digit in code.digits if digit.pixels is not None]
    return bool(written) and float(np.mean(written)) >= least


def best_reading(values: Grey, classify: Classify, digits: int | None) -> PostalCode:
    """The reading that is worth most, of dark ink on lighter paper."""
    rows = locate_rows(values)
    likely = [row.height for row in rows if row.count >= 3 and row.darkness > 0.2]
    tallest = max(likely, default=0.0)
    readings: list[PostalCode] = []
    for row in rows:
        code = read_row(values, row, classify, digits)
        if not code.digits:
            continue
        readings.append(code)
        if row.height > 0.75 * tallest and is_convincing(code, digits):
            break
    if not readings:
        return PostalCode()
    highest = max(readings, key=row_height)
    return max(readings, key=lambda code: worth(code, highest, digits))


def is_convincing(code: PostalCode, digits: int | None) -> bool:
    """Whether no other row need be read: just as many digits as expected, all of them sure."""
    if digits is None or len(code.digits) != digits or code.left_out:
        return False
    sure = [digit.probability for digit in code.digits if digit.pixels is not None]
    return bool(np.mean(sure) > 0.97 and min(sure) > 0.8)


def row_height(code: PostalCode) -> float:
    """The height of its digits on the photograph, in pixels."""
    return code.row.height if code.row is not None else 0.0


def worth(code: PostalCode, highest: PostalCode, digits: int | None) -> float:
    """How much speaks for a reading: sure digits, high, dark, in boxes, as many as expected."""
    written = [digit for digit in code.digits if digit.pixels is not None]
    if not written:
        return -10.0
    sure = float(np.mean([2 * digit.probability - 1 for digit in written]))
    darkness = float(np.median([digit.darkness for digit in written]))
    height = row_height(code) / max(row_height(highest), 1.0)
    total: float = sure * min(len(written), digits or 8) * height**0.7
    total *= darkness / (darkness + 0.15)
    if code.boxed:
        total += 0.075 * len(code.digits)
        if len(code.digits) > 2:
            total += 0.8
    else:
        total += 0.15 * code.score
    if digits is not None:
        total -= abs(len(code.digits) - digits)
    return total


def read_row(values: Grey, row: Row, classify: Classify, digits: int | None) -> PostalCode:
    """Read one row, and again where the reading shows that it lies a little differently."""
    code = read_strip(values, row, classify, digits)
    for _ in range(2):
        if not code.digits:
            return code
        better = row_of_reading(row, code)
        if not has_moved(better, row):
            break
        again = read_strip(values, better, classify, digits)
        row = better
        if not again.digits or again.score < code.score - 1:
            break
        code = again
    return code


def read_strip(values: Grey, row: Row, classify: Classify, digits: int | None) -> PostalCode:
    """Read one row as it was located."""
    strip = straighten(values, row)
    code = read_free(strip, classify, digits)
    boxes = find_boxes(strip.mask)
    if len(boxes) < (digits or 2):
        pale = find_boxes(with_pale_lines(strip.mask, strip.absorbed))
        boxes = max(boxes, pale, key=len)
    if len(boxes) >= 2:
        boxed = read_boxes(strip, boxes, classify, digits)
        if not boxed.digits or not code.digits or boxed.score > code.score - WORSE_IN_BOXES:
            code = boxed
    return replace(code, row=row)


def read_free(strip: Strip, classify: Classify, digits: int | None) -> PostalCode:
    """Read a row without regard to printed boxes."""
    mask = without_lines(strip.mask, int(1.8 * DIGIT_HEIGHT), int(0.12 * DIGIT_HEIGHT))
    labels, marks = find_marks(mask, strip.absorbed, SMALLEST)
    marks = [mark for mark in marks if may_be_written(mark, strip)]
    if not marks:
        return PostalCode()
    segmentation = segment(marks, labels, strip, classify, digits)
    if segmentation is None:
        return PostalCode()
    read = []
    for span in segmentation.spans:
        corners = strip.on_photograph(span.box.corners())
        seen = span.strength, span.pixels, span.probabilities
        read.append(CodeDigit(corners, *seen, darkness=span.darkness))
    left_out = []
    for atom in segmentation.left_out:
        if max(atom.width, atom.height) > 0.25 * DIGIT_HEIGHT:
            left_out.append(strip.on_photograph(atom.corners()))
    return PostalCode(read, left_out, score=segmentation.score)


def may_be_written(mark: Mark, strip: Strip) -> bool:
    """Whether a mark may be part of this row's digits, from its size, place and darkness."""
    if mark.height > 1.8 * DIGIT_HEIGHT or mark.width > 3.5 * DIGIT_HEIGHT:
        return False
    if mark.top <= 0 or mark.bottom >= strip.mask.shape[0]:
        return False
    if abs(mark.y - strip.mask.shape[0] / 2) > 0.75 * DIGIT_HEIGHT:
        return False
    palest = 0.25 if mark.height > 0.5 * DIGIT_HEIGHT else 0.4
    return mark.darkness > palest * strip.darkness


def read_boxes(
    strip: Strip, boxes: list[Box], classify: Classify, digits: int | None
) -> PostalCode:
    """Read one digit from each printed box."""
    read = [read_box(strip, box) for box in boxes]
    if digits is not None and len(read) > digits:
        firsts = range(len(read) - digits + 1)
        first = max(firsts, key=lambda place: written_in(read[place : place + digits]))
        read = read[first : first + digits]
    pixels = [digit.pixels for digit in read if digit.pixels is not None]
    if not pixels:
        return PostalCode()
    rows = iter(classify(np.array(pixels)))
    score = 0.0
    places = []
    for digit in read:
        if digit.pixels is not None:
            digit = replace(digit, probabilities=next(rows))
            score += float(np.log(max(digit.probability, 1e-3)))
        places.append(digit)
    if digits is not None:
        score -= 3.0 * abs(len(places) - digits)
    return PostalCode(places, boxed=True, score=score)


def written_in(read: list[CodeDigit]) -> int:
    """The number of boxes that are not empty."""
    return sum(digit.pixels is not None for digit in read)


def read_box(strip: Strip, box: Box) -> CodeDigit:
    """The ink in a printed box, its lines aside; the network has not judged it yet."""
    inner = max(2, 0.04 * box.height)
    rows = slice(int(box.top + inner), int(box.bottom - inner))
    columns = slice(int(box.left + inner), int(box.right - inner))
    absorbed = strip.absorbed[rows, columns]
    labels, marks = find_marks(strip.mask[rows, columns], absorbed, int(0.15 * DIGIT_HEIGHT))
    marks = [mark for mark in marks if mark.darkness > 0.35 * strip.darkness]
    marks = [mark for mark in marks if not is_rest_of_line(mark, labels.shape)]
    largest = max((max(mark.height, mark.width) for mark in marks), default=0.0)
    if largest < 0.3 * box.height:
        return CodeDigit(strip.on_photograph(box.corners()))
    around: Box = marks[0]
    for mark in marks[1:]:
        around = around.union(mark)
    darkness = max(mark.darkness for mark in marks)
    own = np.isin(labels, [mark.label for mark in marks])
    strength = pen_strength(own, absorbed, darkness)
    corners = strip.on_photograph(around.corners() + (columns.start, rows.start))
    return CodeDigit(corners, strength, prepared(strength), darkness=darkness)


def is_rest_of_line(mark: Mark, shape: tuple[int, ...]) -> bool:
    """Whether a mark along the edge is what is left of the box's own line, level or leaning."""
    height, width = shape
    if min(mark.width, mark.height) < 0.12 * DIGIT_HEIGHT:
        sides = mark.left == 0 or mark.right == width
        return sides or mark.top == 0 or mark.bottom == height
    across = (mark.left == 0 and mark.right < LEANING * width) or (
        mark.right == width and mark.left > (1 - LEANING) * width
    )
    down = (mark.top == 0 and mark.bottom < LEANING * height) or (
        mark.bottom == height and mark.top > (1 - LEANING) * height
    )
    return across or down


def row_of_reading(row: Row, code: PostalCode) -> Row:
    """The row as its digits show it, with the marks of their height that were left out."""
    cosine, sine = np.cos(row.angle), np.sin(row.angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])  # from the photograph to the row
    middle = np.array([row.x, row.y])
    written = [digit.corners for digit in code.digits if digit.pixels is not None]
    boxes = [(corners - middle) @ turn.T for corners in written]
    if not boxes:
        return row
    height = float(np.median([corners_height(box) for box in boxes]))
    for corners in code.left_out:
        box = (corners - middle) @ turn.T
        if 0.6 * height < corners_height(box) < 1.6 * height and abs(box[:, 1].mean()) < height:
            boxes.append(box)
    xs = np.array([box[:, 0].mean() for box in boxes])
    ys = np.array([box[:, 1].mean() for box in boxes])
    slope = row_slope(xs, ys, height)
    if code.boxed:  # an empty box at an end is a part of the row, and more may follow it
        boxes += [(digit.corners - middle) @ turn.T for digit in code.digits]
    left = min(box[:, 0].min() for box in boxes)
    right = max(box[:, 0].max() for box in boxes)
    x = (left + right) / 2
    place = middle + np.array([x, float(np.median(ys + slope * (x - xs)))]) @ turn
    angle = row.angle + float(np.arctan(slope))
    x, y = (float(value) for value in place)
    return Row(x, y, angle, float(right - left), height, len(xs), row.darkness)


def corners_height(corners: NDArray[np.float64]) -> float:
    """How high a digit is, in pixels."""
    return float(np.hypot(*(corners[3] - corners[0])))


def has_moved(row: Row, before: Row) -> bool:
    """Whether a row lies so differently that it should be cut out again."""
    if abs(row.angle - before.angle) > 0.03:
        return True
    if abs(row.length - before.length) > 0.6 * before.height:
        return True
    if not 0.85 < row.height / before.height < 1.18:
        return True
    return bool(np.hypot(row.x - before.x, row.y - before.y) > 0.5 * before.height)
