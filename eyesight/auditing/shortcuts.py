"""What gives a class away without showing it.

How well classes are told apart by thumbnails, borders, brightness or file facts alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing import labels
from eyesight.auditing.labels import Standardiser
from eyesight.data.images import Images
from eyesight.data.prepare import BadPicture, dimensions
from eyesight.data.source import Source, extension
from eyesight.data.store import Store

THUMBNAIL = 8
BORDER = 2  # pixels of 32
BINS = 8  # of a number about a file
MOST_IMAGES = 5000  # are looked at
ALARM = 0.3  # of the way from guessing to telling all apart
SILENT = ("thumbnails",)  # may rightly tell classes apart, so they are no alarm by themselves


@dataclass(frozen=True)
class Shortcut:
    """How often a classifier is right that sees `name` alone.

    `guessing` is how often the most frequent class is right.
    """

    name: str
    accuracy: float
    guessing: float
    images: int

    @property
    def alarm(self) -> bool:
        """Whether a network may learn it instead of what the images show."""
        if self.name in SILENT or self.images < 50:
            return False
        return self.accuracy - self.guessing > ALARM * (1 - self.guessing)

    def to_dict(self) -> dict[str, str | float]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "accuracy": round(self.accuracy, 4),
            "guessing": round(self.guessing, 4),
            "images": self.images,
            "alarm": self.alarm,
        }


def find(source: Source, store: Store, images: Images) -> tuple[Shortcut, ...]:
    """What each kind of shortcut is worth, leave-one-out, on at most MOST_IMAGES images."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[:MOST_IMAGES].sort().values
    pixels = images.take(chosen).float() / 255
    given = images.labels[chosen]
    classes = len(images.classes)
    evidence = {
        "thumbnails": functional.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(1),
        "borders": borders(pixels),
        "brightness": brightness(pixels),
    }
    ids = [images.ids[place] for place in chosen.tolist()]
    facts = file_facts(source, ids)
    if facts is not None:
        evidence["file facts"] = facts
    guessing = float(torch.bincount(given, minlength=classes).max()) / len(given)
    return tuple(
        Shortcut(name, accuracy(values, given, classes), guessing, len(given))
        for name, values in evidence.items()
    )


def accuracy(values: Tensor, given: Tensor, classes: int) -> float:
    """Leave-one-out accuracy of a ridge classifier on evidence n,D."""
    numbers = values.half()
    probabilities = labels.leave_one_out(numbers, Standardiser.of(numbers), given, classes)
    return float((probabilities.argmax(1) == given).float().mean())


def borders(pixels: Tensor) -> Tensor:
    """The outermost pixels of images n,C,H,W, seen at 32×32."""
    small = functional.adaptive_avg_pool2d(pixels, 32)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return small[:, :, ~inside].flatten(1)


def brightness(pixels: Tensor) -> Tensor:
    """Mean and deviation of each channel, in steps, n,2·C·BINS."""
    mean = pixels.mean((2, 3))
    deviation = pixels.std((2, 3))
    return torch.cat([in_steps(column) for column in torch.cat([mean, deviation], 1).T], 1)


def file_facts(source: Source, ids: list[str]) -> Tensor | None:
    """Size of the file, width, height, shape and ending in steps, n,D.

    None where the images are no files.
    """
    if source.pixels is not None:
        return None
    rows = {one: row for row, one in enumerate(source.ids)}
    numbers = []
    endings = []
    for one in ids:
        try:
            content = source.read(rows[one])
            if not isinstance(content, bytes):
                return None
            width, height = dimensions(content)
        except BadPicture:
            return None
        numbers.append([math.log(len(content)), width, height, width / height])
        endings.append(extension(one))
    kinds = sorted(set(endings))
    codes = torch.tensor([kinds.index(ending) for ending in endings])
    columns = torch.from_numpy(np.array(numbers, dtype=np.float32)).T
    steps = [in_steps(column) for column in columns]
    return torch.cat([*steps, functional.one_hot(codes, len(kinds)).float()], 1)


def in_steps(column: Tensor) -> Tensor:
    """Which of BINS quantiles each number lies in, n,BINS of 0 and 1."""
    edges = column.quantile(torch.linspace(0, 1, BINS + 1)[1:-1])
    return functional.one_hot(torch.bucketize(column.contiguous(), edges), BINS).float()
