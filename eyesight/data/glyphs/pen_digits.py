"""Synthetic handwritten digits in styles that are rare in MNIST.

MNIST's writers were American. These digits include a 1 with a long upstroke, a crossed 7, an open 4
with a short leg, a 9 with a hooked tail, and 0, 6, 8 and 9 with open loops.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # P,2: x to the right, y downwards, in a box from 0 to 1
Strokes = list[Points]
Random = np.random.Generator
SIDE = 28
FITTED = 20  # pixels of the larger side, as in MNIST
PATH_POINTS = 96
BATCH = 400  # digits rendered at once


def pen_digits(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw `count` digits, cycling through the classes: pixels uint8 N,28,28 and labels N."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = []
    for first in range(0, count, BATCH):
        paths = np.stack([digit_path(label, random) for label in labels[first : first + BATCH]])
        images.append(render(paths, random.uniform(1.6, 4.6, len(paths))))
    return np.concatenate(images), labels


def digit_path(digit: int, random: Random) -> Points:
    """Points along the strokes of a digit, with random slant, width and rotation."""
    strokes = []
    for stroke in STYLES[digit](random):
        strokes.append(stroke + random.normal(0, 0.022, stroke.shape))
    lengths = np.array([np.hypot(*np.diff(stroke, axis=0).T).sum() for stroke in strokes])
    counts = np.maximum(4, PATH_POINTS * lengths / lengths.sum()).astype(int)
    counts[-1] = PATH_POINTS - counts[:-1].sum()
    path = np.concatenate([smooth(*pair) for pair in zip(strokes, counts, strict=True)])
    x = (path[:, 0] - 0.5) * random.uniform(0.45, 1.15)
    y = path[:, 1] - 0.5
    x = x - random.normal(0.08, 0.2) * y
    angle = random.normal(0, 0.07)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1)


def smooth(points: Points, count: int) -> Points:
    """`count` points of the Catmull-Rom curve through `points`."""
    path = np.concatenate([points[:1], points, points[-1:]])
    position = np.linspace(0, len(points) - 1 - 1e-9, count)
    first = position.astype(int)
    t = (position - first)[:, None]
    a, b, c, d = path[first], path[first + 1], path[first + 2], path[first + 3]
    square = (2 * a - 5 * b + 4 * c - d) * t**2
    cube = (3 * b - a - 3 * c + d) * t**3
    curve: Points = 0.5 * (2 * b + (c - a) * t + square + cube)
    return curve


def render(paths: Points, widths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Render paths N,P,2 with round pens of `widths` pixels, normalised as in MNIST.

    The larger side is scaled to 20 pixels and the centre of mass is centred in 28.
    """
    low = paths.min(axis=1, keepdims=True)
    high = paths.max(axis=1, keepdims=True)
    scale = (FITTED - widths[:, None, None]) / (high - low).max(axis=2, keepdims=True)
    paths = (paths - (low + high) / 2) * scale
    coverage = pen_coverage(paths, widths)
    mass = coverage.sum(axis=(1, 2))
    grid = pixel_centres()
    across = (coverage.sum(axis=1) @ grid) / mass
    down = (coverage.sum(axis=2) @ grid) / mass
    shift = np.rint(np.stack([across, down], axis=1) - 0.25)
    return np.rint(255 * pen_coverage(paths - shift[:, None], widths)).astype(np.uint8)


def pixel_centres() -> NDArray[np.float32]:
    """The pixel centres of a row, relative to the middle."""
    return (np.arange(SIDE) + 0.5 - SIDE / 2).astype(np.float32)


def pen_coverage(paths: Points, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coverage of each pixel N,28,28 by a round pen along paths N,P,2."""
    grid = pixel_centres()
    across = (grid - paths[..., :1].astype(np.float32)) ** 2
    down = (grid - paths[..., 1:].astype(np.float32)) ** 2
    nearest = np.full((len(paths), SIDE, SIDE), np.inf, np.float32)
    for point in range(paths.shape[1]):
        distance = down[:, point, :, None] + across[:, point, None, :]
        np.minimum(nearest, distance, out=nearest)
    edge: NDArray[np.float64] = widths[:, None, None] / 2 + 0.5 - np.sqrt(nearest)
    return np.clip(edge, 0, 1)


def arc(
    centre: tuple[float, float],
    radii: tuple[float, float],
    degrees: tuple[float, float],
    count: int = 9,
) -> Points:
    """Points on an ellipse; the angle is 0 at the right and grows downwards."""
    angles = np.radians(np.linspace(*degrees, count))
    x = centre[0] + radii[0] * np.cos(angles)
    y = centre[1] + radii[1] * np.sin(angles)
    return np.stack([x, y], axis=1)


def line(*points: tuple[float, float]) -> Points:
    """A stroke through these points."""
    return np.array(points, dtype=np.float64)


def joined(*parts: Points) -> Points:
    """Several parts as one stroke."""
    return np.concatenate(parts)


def zero(random: Random) -> Strokes:
    """An oval, closed, overlapping or left open at the top."""
    start = random.uniform(-130, -40)
    turn = random.choice([360, 380, random.uniform(295, 345)])
    return [arc((0.5, 0.5), (random.uniform(0.2, 0.38), 0.45), (start, start - turn), 14)]


def one(random: Random) -> Strokes:
    """A stem, alone, with a flag of any length, or with a foot."""
    style = random.integers(4)
    top = random.uniform(0.45, 0.6)
    middle = (top - random.uniform(-0.02, 0.06), 0.5)
    stem = line((top, 0.05), middle, (top - random.uniform(-0.02, 0.1), 0.95))
    if style == 0:
        return [stem]
    if style == 1:
        start = (top - random.uniform(0.1, 0.2), random.uniform(0.15, 0.3))
        return [line(start, (top, 0.05)), stem]
    start = (top - random.uniform(0.15, 0.42), random.uniform(0.25, 0.5))
    flag = line(start, (top - 0.1, random.uniform(0.12, 0.2)), (top, 0.05))
    if style == 3 and random.random() < 0.6:
        return [flag, stem, line((top - 0.28, 0.95), (top, 0.95), (top + 0.22, 0.94))]
    return [flag, stem]


def two(random: Random) -> Strokes:
    """With a loop at the lower left, or with a corner."""
    start = random.uniform(-200, -150)
    end = random.uniform(25, 50)
    head = arc((0.45, 0.28), (random.uniform(0.2, 0.32), 0.23), (start, end), 8)
    if random.random() < 0.35:
        loop = arc((0.28, 0.82), (0.1, 0.09), (60, -260), 8)
        return [joined(head, line((0.4, 0.72)), loop, line((0.45, 0.85), (0.8, 0.9)))]
    corner = (random.uniform(0.15, 0.25), random.uniform(0.86, 0.95))
    middle = (0.5, random.uniform(0.84, 0.95))
    foot = line(corner, middle, (0.85, random.uniform(0.82, 0.95)))
    return [joined(head, line((0.45, 0.65), corner)), foot]


def three(random: Random) -> Strokes:
    """Round, or with a flat top."""
    end = random.uniform(120, 170)
    lower = arc((0.42, 0.7), (random.uniform(0.22, 0.34), 0.25), (-85, end), 9)
    if random.random() < 0.35:
        neck = (random.uniform(0.38, 0.5), random.uniform(0.36, 0.46))
        bar = line((0.18, 0.08), (0.45, 0.07), (0.74, 0.06))
        return [bar, line((0.74, 0.06), neck), joined(line(neck), lower)]
    start = random.uniform(-170, -130)
    upper = arc((0.42, 0.26), (random.uniform(0.18, 0.28), 0.21), (start, 80), 8)
    waist = line((random.uniform(0.3, 0.45), 0.46))
    return [joined(upper, waist), joined(waist, lower)]


def four(random: Random) -> Strokes:
    """Closed, open with a knee, or open with a round knee."""
    style = random.choice([0, 1, 1, 1, 2])
    knee = (random.uniform(0.1, 0.25), random.uniform(0.5, 0.8))
    rise = random.uniform(-0.08, 0.05)
    if style == 0:
        top = random.uniform(0.6, 0.72)
        height = min(knee[1], 0.68)
        bar = line((knee[0], height), (0.9, height + rise))
        return [line((top, 0.05), (knee[0], height)), bar, line((top, 0.05), (top - 0.02, 0.95))]
    top_left = (random.uniform(0.2, 0.6), random.uniform(0.03, 0.15))
    leg = random.uniform(0.5, 0.8)
    foot = (leg - random.uniform(0.0, 0.25), random.uniform(0.87, 0.97))
    high = random.uniform(0.15, 0.55)
    if style == 1:
        middle = ((top_left[0] + knee[0]) / 2, (top_left[1] + knee[1]) / 2 + 0.02)
        bar = line(knee, (random.uniform(0.75, 0.95), knee[1] + rise))
        return [line(top_left, middle, knee), bar, line((leg, high), foot)]
    turn = arc((knee[0] + 0.18, knee[1] - 0.1), (0.18, 0.14), (180, 60), 5)
    start = (leg + random.uniform(0.0, 0.15), high)
    return [joined(line(top_left), turn, line((leg, knee[1] - 0.05))), line(start, foot)]


def five(random: Random) -> Strokes:
    """A hook with a bowl, and a bar that may stand apart."""
    corner = (random.uniform(0.25, 0.35), random.uniform(0.38, 0.46))
    degrees = (random.uniform(-130, -100), random.uniform(120, 160))
    bowl = arc((0.45, 0.67), (random.uniform(0.22, 0.34), random.uniform(0.22, 0.27)), degrees)
    hook = line((corner[0] + random.uniform(0, 0.08), 0.08), corner)
    end = (random.uniform(0.65, 0.88), random.uniform(0.02, 0.12))
    bar = line((corner[0] + 0.02, random.uniform(0.04, 0.12)), end)
    if random.random() < 0.3:
        bar = bar + (random.uniform(0.0, 0.1), -0.02)
    return [joined(hook, bowl), bar]


def six(random: Random) -> Strokes:
    """A stem and a loop, which stays open in some."""
    radii = (random.uniform(0.17, 0.28), random.uniform(0.15, 0.24))
    end = random.choice([-200, -180, -150, random.uniform(-140, -80)])
    loop = arc((0.28 + radii[0], 0.93 - radii[1]), radii, (180, end), 12)
    start = (random.uniform(0.5, 0.8), random.uniform(0.03, 0.12))
    return [joined(line(start, (random.uniform(0.34, 0.48), 0.28), (0.29, 0.52)), loop)]


def seven(random: Random) -> Strokes:
    """Plain or crossed, with or without a serif."""
    left = random.uniform(0.1, 0.25)
    corner = (random.uniform(0.7, 0.88), random.uniform(0.05, 0.14))
    foot = (random.uniform(0.25, 0.5), 0.95)
    strokes = [line((left, random.uniform(0.06, 0.16)), corner)]
    strokes.append(line(corner, (random.uniform(0.45, 0.6), 0.5), foot))
    if random.random() < 0.5:
        height = random.uniform(0.42, 0.58)
        start = (random.uniform(0.2, 0.38), height + random.uniform(-0.03, 0.06))
        strokes.append(line(start, (random.uniform(0.68, 0.85), height)))
    if random.random() < 0.3:
        strokes.append(line((left, 0.1), (left - 0.02, random.uniform(0.17, 0.26))))
    return strokes


def eight(random: Random) -> Strokes:
    """Two rings, or one line that may not close."""
    upper = (random.uniform(0.14, 0.24), 0.21)
    lower = (random.uniform(0.17, 0.28), 0.24)
    if random.random() < 0.4:
        return [
            arc((0.5, 0.26), upper, (90, -280), 11),
            arc((0.5, 0.71), lower, (-95, 275), 11),
        ]
    start = random.uniform(-60, -10)
    gap = random.choice([0, random.uniform(10, 60)])
    first = arc((0.5, 0.26), upper, (start, -260), 8)
    last = arc((0.5, 0.26), upper, (70, start + gap), 5)
    return [joined(first, arc((0.5, 0.71), lower, (-70, 250), 11), last)]


def nine(random: Random) -> Strokes:
    """A ring, which may stay open, with a straight, curved or hooked tail."""
    radii = (random.uniform(0.14, 0.28), random.uniform(0.13, 0.24))
    start = random.choice([-10, -30, random.uniform(-85, -40)])
    loop = arc((0.72 - radii[0], 0.05 + radii[1]), radii, (start, -350), 11)
    style = random.integers(4)
    if style == 0:
        middle = (random.uniform(0.65, 0.75), 0.6)
        return [joined(loop, line((0.72, 0.25), middle, (random.uniform(0.5, 0.72), 0.95)))]
    if style == 1:
        hook = arc((0.48, 0.7), (0.24, 0.24), (0, random.uniform(90, 165)), 6)
        return [joined(loop, line((0.72, 0.3), (0.72, 0.6)), hook)]
    centre = (random.uniform(0.36, 0.46), random.uniform(0.6, 0.66))
    hook = arc(centre, (0.32, 0.3), (-30, random.uniform(70, 150)), 7)
    return [joined(loop, line((0.72, 0.25)), hook)]


STYLES: tuple[Callable[[Random], Strokes], ...] = (
    zero,
    one,
    two,
    three,
    four,
    five,
    six,
    seven,
    eight,
    nine,
)
