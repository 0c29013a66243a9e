"""Digits written for tests as a pen goes: strokes of points in a box from 0 to 1, drawn here by
Pillow and in a browser by its pointer.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def arc(x, y, wide, high, start, end, points=14):
    """Points on an ellipse; angles in degrees, 0 at the right, growing downwards as the picture's
    rows do.
    """
    angles = [math.radians(start + (end - start) * step / (points - 1)) for step in range(points)]
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


STROKES = {
    "0": [arc(0.5, 0.5, 0.24, 0.38, -90, 275, 28)],
    "1": [[(0.42, 0.25), (0.54, 0.12), (0.52, 0.5), (0.5, 0.88)]],
    "2": [
        arc(0.48, 0.32, 0.22, 0.19, -170, 40)
        + [(0.5, 0.62), (0.27, 0.86), (0.5, 0.85), (0.76, 0.86)]
    ],
    "3": [arc(0.46, 0.31, 0.21, 0.18, -160, 90) + arc(0.46, 0.68, 0.25, 0.2, -90, 150)],
    "4": [
        [(0.34, 0.14), (0.3, 0.36), (0.26, 0.56), (0.5, 0.55), (0.78, 0.53)],
        [(0.64, 0.3), (0.62, 0.6), (0.6, 0.9)],
    ],
    "5": [[(0.72, 0.14), (0.34, 0.15), (0.31, 0.42)] + arc(0.47, 0.64, 0.23, 0.24, -120, 140)],
    "6": [[(0.62, 0.12), (0.42, 0.32), (0.31, 0.55)] + arc(0.49, 0.68, 0.19, 0.19, 180, -185, 20)],
    "7": [[(0.25, 0.17), (0.5, 0.16), (0.74, 0.15), (0.6, 0.45), (0.46, 0.88)]],
    "8": [arc(0.5, 0.31, 0.18, 0.18, 80, -270, 18) + arc(0.5, 0.68, 0.22, 0.2, -100, 260, 22)],
    "9": [arc(0.5, 0.33, 0.2, 0.2, -10, -365, 20) + [(0.68, 0.55), (0.62, 0.9)]],
}


def smooth(points, between=6):
    """A curve through the points (Catmull-Rom), as a hand would draw it."""
    path = np.array([points[0], *points, points[-1]])
    curve = []
    for a, b, c, d in zip(path, path[1:], path[2:], path[3:], strict=False):
        for t in np.arange(between) / between:
            curve.append(
                tuple(
                    0.5
                    * (
                        2 * b
                        + (c - a) * t
                        + (2 * a - 5 * b + 4 * c - d) * t**2
                        + (3 * b - a - 3 * c + d) * t**3
                    )
                )
            )
    return [*curve, points[-1]]


def write(draw, digit, left, top, side, width, colour=0):
    """One digit with a round pen of `width` pixels in a box of `side` pixels."""
    for stroke in STROKES.get(digit, ()):
        points = [(left + side * x, top + side * y) for x, y in smooth(stroke)]
        draw.line(points, fill=colour, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)


def box(digit, side=100, width=8):
    """One digit, black on white as the page's boxes give it, uint8 side,side; none for " "."""
    picture = Image.new("L", (side, side), 255)
    write(ImageDraw.Draw(picture), digit, 0, 0, side, width)
    return np.asarray(picture)


def photo(
    code,
    side=90,
    width=6,
    gap=10,
    frames=False,
    shadow=0.0,
    noise=0.0,
    tilt=0.0,
    light_on_dark=False,
    seed=0,
    outline=110,
):
    """A written code as somebody would photograph it: perhaps in boxes, shaded, noisy, blurred and
    askew; uint8 H,W.
    """
    random = np.random.default_rng(seed)
    picture = Image.new("L", (len(code) * (side + gap) + 120, side + 140), 225)
    draw = ImageDraw.Draw(picture)
    for place, digit in enumerate(code):
        left, top = 60 + place * (side + gap), 70 + int(random.integers(-4, 5))
        if frames:
            draw.rectangle((left - 3, 64, left + side + 3, 76 + side), outline=outline, width=2)
        write(draw, digit, left, top, side, width, 45)
    picture = picture.rotate(tilt, Image.Resampling.BICUBIC, fillcolor=225).filter(
        ImageFilter.GaussianBlur(0.8)
    )
    values = np.asarray(picture, dtype=np.float64)
    values = values * (1 - shadow * np.linspace(0, 1, values.shape[1])) + random.normal(
        0, noise, values.shape
    )
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return 255 - pixels if light_on_dark else pixels
