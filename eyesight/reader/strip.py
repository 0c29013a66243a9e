"""One row of a photograph straightened: upright, and its digits always about as high."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.reader.absorption import Grey, Mask, absorption, ink_level
from eyesight.reader.locate import Row

Corners = NDArray[np.float64]  # 4,2: x and y in pixels, clockwise from the upper left
DIGIT_HEIGHT = 60  # pixels
REACH = 47  # pixels; wider than any stroke
MARGIN = 2.2  # heights of a digit to the left and right of the row
BAND = 1.35  # heights above and below its middle
LONGEST = 60  # heights; a longer row is cut


@dataclass(frozen=True, eq=False)
class Strip:
    """A straightened row: absorption H,W, where it may be ink, and the way back."""

    absorbed: NDArray[np.float64]
    mask: Mask
    darkness: float  # of the row, as it was located
    turn: NDArray[np.float64]  # 2,2
    shift: NDArray[np.float64]  # 2

    def on_photograph(self, corners: Corners) -> Corners:
        """Corners in the strip as corners in the photograph."""
        return corners @ self.turn.T + self.shift


def straighten(photograph: Grey, row: Row) -> Strip:
    """Cut a row out of a photograph H,W, with a margin around it."""
    part, corner = surroundings(photograph, row)
    scale = row.height / DIGIT_HEIGHT
    length = min(row.length / row.height, LONGEST)
    width = round((length + 2 * MARGIN) * DIGIT_HEIGHT)
    height = round(2 * BAND * DIGIT_HEIGHT)
    cosine, sine = np.cos(row.angle) * scale, np.sin(row.angle) * scale
    turn = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.array([row.x, row.y]) - corner
    shift = centre - turn @ np.array([width / 2, height / 2])
    if scale > 1.3:
        part = ndimage.gaussian_filter(part, 0.35 * scale)
    # The filter counts rows first: the same matrix with both axes exchanged.
    values = ndimage.affine_transform(
        part, turn[::-1, ::-1], shift[::-1], (height, width), order=1, mode="nearest"
    )
    absorbed = absorption(values, REACH)
    inside = on_paper(turn, shift, part.shape, (height, width))
    level = ink_level(absorbed[inside] if inside.any() else absorbed)
    absorbed = np.where(inside, absorbed, 0.0)  # beyond the photograph its edge is repeated
    return Strip(absorbed, absorbed > level, row.darkness, turn, shift + corner)


def surroundings(photograph: Grey, row: Row) -> tuple[Grey, NDArray[np.float64]]:
    """The part of a photograph that a row needs, and the x and y of its upper left corner."""
    length = min(row.length, LONGEST * row.height)
    across = length / 2 + (MARGIN + 1) * row.height
    down = (BAND + 0.5) * row.height + abs(np.sin(row.angle)) * across
    left = int(np.clip(row.x - across, 0, photograph.shape[1] - 1))
    top = int(np.clip(row.y - down, 0, photograph.shape[0] - 1))
    part = photograph[top : int(row.y + down) + 1, left : int(row.x + across) + 1]
    return part, np.array([left, top], dtype=np.float64)


def on_paper(
    turn: NDArray[np.float64],
    shift: NDArray[np.float64],
    photograph: tuple[int, ...],
    strip: tuple[int, int],
) -> Mask:
    """Which pixels of a strip lie on the photograph; the others repeat its edge."""
    rows, columns = np.indices(strip)
    x = turn[0, 0] * columns + turn[0, 1] * rows + shift[0]
    y = turn[1, 0] * columns + turn[1, 1] * rows + shift[1]
    inside: Mask = (x >= 0) & (y >= 0) & (x < photograph[1]) & (y < photograph[0])
    return inside
