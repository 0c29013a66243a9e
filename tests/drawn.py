"""Pictures drawn for tests: shapes that a tiny network can learn in seconds."""

import io

import numpy as np
from PIL import Image, ImageDraw

from eyesight.data.images import Images

SHAPES = ("bar", "cross", "ring")


def shape(name, size, random):
    """One white shape on black with a random place and thickness, uint8 size,size."""
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    x, y = random.integers(size // 4, size - size // 4, 2).tolist()
    reach = int(random.integers(size // 5, size // 4 + 2))
    if name != "ring":
        draw.line((x, y - reach, x, y + reach), fill=255, width=2)
    if name == "cross":
        draw.line((x - reach, y, x + reach, y), fill=255, width=2)
    if name == "ring":
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=255, width=2)
    noise = random.integers(0, 60, (size, size))
    return np.clip(np.asarray(picture, dtype=np.int64) + noise, 0, 255).astype(np.uint8)


def pictures(count, size=16, seed=0, channels=1):
    """(pixels uint8 N,C,H,W, labels N) of the three shapes in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(SHAPES)
    pixels = np.stack([shape(SHAPES[label], size, random) for label in labels])
    return np.repeat(pixels[:, None], channels, axis=1), labels.astype(np.int64)


def images(count, size=16, seed=0, channels=1):
    """The same as an `Images`."""
    pixels, labels = pictures(count, size, seed, channels)
    return Images.of(pixels, labels, SHAPES, tuple(f"{number:05d}" for number in range(count)))


def png(pixels):
    """uint8 H,W or H,W,3 as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def folder(root, count, size=16, seed=0, parts=("",)):
    """Class folders of PNG files under `root`, or under each of `parts` within it."""
    for number, part in enumerate(parts):
        pixels, labels = pictures(count, size, seed + number)
        for place, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            file = root / part / SHAPES[label] / f"{place:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(picture[0]))
    return root
