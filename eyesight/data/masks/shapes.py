"""Circles, squares and triangles on clutter with their masks, drawn from numbers.

A set for trying segmentation that needs no download.

Every picture is drawn from a seed of its own, so that one picture never depends on how many there
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eyesight.data.masks.legend import Legend
from eyesight.data.source import Source

SIDE = 64
CONTRAST = 0.4  # distance of two colours, of at most 1.73
COUNTS = {"train": 8000, "validation": 300, "test": 500}
CLASSES = {
    "background": (60, 64, 72),
    "circle": (230, 80, 40),
    "square": (60, 180, 75),
    "triangle": (240, 190, 30),
}  # and their colours
Grid = npt.NDArray[np.float64]


def drawn_shapes() -> tuple[
    Callable[[int], npt.NDArray[np.uint8]], Callable[[int], npt.NDArray[np.uint8]], Source, Legend
]:
    """Functions from a row to its image uint8 H,W,3 and its mask uint8 H,W; the source.

    The legend.
    """
    splits = [split for split, count in COUNTS.items() for _ in range(count)]
    ids = tuple(f"{split}/{place:05d}" for split, count in COUNTS.items() for place in range(count))
    source = Source(
        name="shapes",
        classes=("picture",),
        ids=ids,
        labels=np.zeros(len(ids), dtype=np.int64),
        splits=np.array(splits),
        read=lambda row: draw(row)[0],
        pixels=None,
        fingerprint=f"drawn shapes 2 {SIDE} {COUNTS}",
    )
    return (
        lambda row: draw(row)[0],
        lambda row: draw(row)[1],
        source,
        Legend(tuple(CLASSES), tuple(CLASSES.values())),
    )


@lru_cache(maxsize=sum(COUNTS.values()))
def draw(seed: int, side: int = SIDE) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """An image uint8 side,side,3 of one to three shapes, and its mask uint8 side,side."""
    random = np.random.default_rng((20_260, seed))
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    picture, mask = clutter(random, rows, columns), np.zeros((side, side), dtype=np.uint8)
    for _ in range(random.integers(1, 4)):
        kind = int(random.integers(1, len(CLASSES)))
        x, y = random.uniform(0.2, 0.8, 2) * side
        inside = distance(
            kind,
            columns - x,
            rows - y,
            random.uniform(0.12, 0.24) * side,
            random.uniform(0, 2 * math.pi),
        )
        cover = np.clip(0.5 - inside, 0, 1)[:, :, None]  # smooth edges, as a lens draws them
        shade = 1 + random.uniform(-0.25, 0.25) * (rows - y)[:, :, None] / side
        picture = picture * (1 - cover) + contrasting(random, picture[inside < 0]) * shade * cover
        mask[inside < 0] = kind
    noisy = picture + random.normal(0, 0.03, picture.shape)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8), mask


def contrasting(random: np.random.Generator, ground: Grid) -> Grid:
    """A colour that can be told from the mean of what lies below it, n,3.

    What nobody can see cannot be learnt either.
    """
    while (
        np.linalg.norm(
            (colour := random.uniform(0, 1, 3)) - (ground.mean(axis=0) if len(ground) else 0.5)
        )
        < CONTRAST
    ):
        pass
    return np.asarray(colour)


def clutter(random: np.random.Generator, rows: Grid, columns: Grid) -> Grid:
    """A background of two colours with thin lines and stripes across, H,W,3 from 0 to 1."""
    side = len(rows)
    turn = random.uniform(0, 2 * math.pi)
    slope = ((rows * math.sin(turn) + columns * math.cos(turn)) / side)[:, :, None]
    ground = random.uniform(0.2, 0.8, 3) + slope * random.uniform(-0.3, 0.3, 3)
    for _ in range(random.integers(4, 10)):
        turn, far, wide = (
            random.uniform(0, math.pi),
            random.uniform(-0.5, 1.4) * side,
            random.uniform(0.4, 1.4),
        )
        line = np.abs(rows * math.sin(turn) + columns * math.cos(turn) - far) < wide
        ground[line] = random.uniform(0, 1, 3)
    waves = np.sin((rows * math.cos(turn) - columns * math.sin(turn)) * random.uniform(0.3, 1.5))
    return np.asarray(ground + random.uniform(0, 0.08) * waves[:, :, None])


def distance(kind: int, x: Grid, y: Grid, reach: float, turn: float) -> Grid:
    """Distance of each pixel from a circle (1), square (2) or triangle (3), negative inside.

    In pixels and approximate; `reach` is the radius of the shape."""
    if kind == 1:
        return np.asarray(np.hypot(x, y) - reach)
    corners = {2: 4, 3: 3}[kind]
    flat = reach * (0.85 if kind == 2 else 0.65)  # from the centre to the middle of an edge
    edges = [
        x * math.cos(turn + 2 * math.pi * k / corners)
        + y * math.sin(turn + 2 * math.pi * k / corners)
        for k in range(corners)
    ]
    return np.asarray(np.max(edges, axis=0) - flat)
