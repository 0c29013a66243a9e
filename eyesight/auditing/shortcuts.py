"""Shortcuts: information besides the content that predicts the class.

The accuracy with thumbnails, borders, overlays, brightness, camera, compression or file properties
alone.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing import labels
from eyesight.auditing.labels import Standardiser
from eyesight.auditing.record import ShortcutValues
from eyesight.data.images import Images
from eyesight.data.origin import origin
from eyesight.data.prepare import BadPicture, dimensions
from eyesight.data.source import Source, extension

THUMBNAIL = 8
BORDER = 2  # pixels of 32
EDGE = 64  # side at which overlays are looked for
BAND = 8  # pixels of EDGE from each side, where text and logos are laid over images
CELL = 4  # pixels of EDGE
BINS = 8  # of a number about a file
MOST_KINDS = 20  # of cameras or encodings that are told apart; the others count as one
MOST_IMAGES = 5000  # are looked at
CHUNK = 128  # images at a time
# Of the way from guessing to telling all apart. Ships and cars, on unlike backgrounds, reach .46.
ALARM = 0.5
SINGLE = 0.9  # F-score of a class that is given away where the others are not
NAMED = 2  # classes that are predicted best
EXAMPLES = 3  # images of each
SILENT = ("thumbnails",)  # may rightly tell classes apart, so they are no alarm by themselves


@dataclass(frozen=True)
class Shortcut:
    """The accuracy of a classifier that uses only `name`.

    `guessing` is the share of the most frequent class, and `middle` the accuracy of the same
    evidence from the middle of the images, where that can be compared. `classes` are those
    predicted best, and `examples` the ids of the most confidently predicted images. `single` is the
    F-score of the best class, and `single_middle` that of the same class from the middle.
    """

    name: str
    accuracy: float
    guessing: float
    images: int
    classes: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    middle: float = 0.0
    single: float = 0.0
    single_middle: float = 0.0

    @property
    def alarm(self) -> bool:
        """Whether a network may learn it instead of the content."""
        if self.name in SILENT or self.images < 50:
            return False
        if self.single > SINGLE and self.single > self.single_middle:
            return True
        gain = self.accuracy - self.guessing
        return self.accuracy > self.middle and gain > ALARM * (1 - self.guessing)

    def to_dict(self) -> ShortcutValues:
        """Plain JSON values."""
        return {
            "name": self.name,
            "accuracy": round(self.accuracy, 4),
            "guessing": round(self.guessing, 4),
            "images": self.images,
            "alarm": self.alarm,
            "classes": list(self.classes),
            "examples": list(self.examples),
        }


def find(source: Source, images: Images) -> tuple[Shortcut, ...]:
    """The leave-one-out accuracy of each kind of shortcut, on at most MOST_IMAGES images."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[:MOST_IMAGES].sort().values
    pixels = torch.cat([at_most_edge(images.take(rows)) for rows in torch.split(chosen, CHUNK)])
    given = images.labels[chosen]
    classes = len(images.classes)
    outer, inner = borders(pixels)
    edges, centre = overlays(pixels)
    evidence = {
        "thumbnails": functional.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(1),
        "borders": outer,
        "overlays": edges,
        "brightness": brightness(pixels),
    }
    elsewhere = {"borders": inner, "overlays": centre}
    ids = [images.ids[place] for place in chosen.tolist()]
    evidence |= of_files(source, ids)
    guessing = float(torch.bincount(given, minlength=classes).max()) / len(given)
    shortcuts = []
    for name, values in evidence.items():
        sure = leave_one_out(values, given, classes)
        right = sure.argmax(1) == given
        accuracy = float(right.float().mean())
        scores = f_scores(sure, given)
        best, rows = best_classes(sure, right, given, scores)
        middle, single_middle = 0.0, 0.0
        if name in elsewhere:
            inside = leave_one_out(elsewhere[name], given, classes)
            middle = float((inside.argmax(1) == given).float().mean())
            single_middle = float(f_scores(inside, given)[best[0]])
        shortcuts.append(
            Shortcut(
                name,
                accuracy,
                guessing,
                len(given),
                tuple(images.classes[place] for place in best),
                tuple(ids[row] for row in rows),
                middle,
                float(scores[best[0]]),
                single_middle,
            )
        )
    return tuple(shortcuts)


def at_most_edge(pixels: Tensor) -> Tensor:
    """Images uint8 n,C,H,W as floats from 0 to 1 with sides of at most EDGE.

    The rest takes a tenth of the time and memory then.
    """
    values = pixels.float() / 255
    if values.shape[-1] > EDGE:
        values = functional.interpolate(values, (EDGE, EDGE), mode="bilinear", antialias=True)
    return values


def leave_one_out(values: Tensor, given: Tensor, classes: int) -> Tensor:
    """Leave-one-out probabilities n,K of a ridge classifier on evidence n,D."""
    numbers = values.half()
    return labels.leave_one_out(numbers, Standardiser.of(numbers), given, classes)


def f_scores(sure: Tensor, given: Tensor) -> Tensor:
    """The F-score K of each class, from probabilities n,K."""
    classes = sure.shape[1]
    guessed = sure.argmax(1)
    hits = torch.bincount(given[guessed == given], minlength=classes)
    named = torch.bincount(guessed, minlength=classes)
    return 2 * hits / (torch.bincount(given, minlength=classes) + named).clamp_min(1)


def best_classes(
    sure: Tensor, right: Tensor, given: Tensor, scores: Tensor
) -> tuple[list[int], list[int]]:
    """The classes with the highest F-score, and the rows of their most confident images."""
    hits = torch.bincount(given[right], minlength=len(scores))
    best = scores.argsort(descending=True, stable=True)[:NAMED]
    own = sure.gather(1, given[:, None])[:, 0]
    examples: list[int] = []
    for place in best.tolist():
        order = torch.where(right & (given == place), own, -1.0).argsort(
            descending=True, stable=True
        )
        examples += order[: min(EXAMPLES, int(hits[place]))].tolist()
    return best.tolist(), examples


def borders(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The outermost pixels of images n,C,H,W at 32×32, and about as many from the middle."""
    small = functional.adaptive_avg_pool2d(pixels, 32)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return small[:, :, ~inside].flatten(1), small[:, :, 8:-8, 8:-8].flatten(1)


def brightness(pixels: Tensor) -> Tensor:
    """Mean and deviation of each channel, in steps, n,2·C·BINS."""
    mean = pixels.mean((2, 3))
    deviation = pixels.std((2, 3))
    return torch.cat([in_steps(column) for column in torch.cat([mean, deviation], 1).T], 1)


def overlays(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """How much detail the cells near the sides of images n,C,H,W have, and those in the middle.

    Text, logos and time stamps leave sharp edges near a side. Where the middle tells more, it is
    what the images show that reaches so far.
    """
    size = (EDGE, EDGE)
    grey = pixels.mean(1, keepdim=True)
    grey = functional.interpolate(grey, size, mode="bilinear", antialias=True)
    across = functional.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1))
    down = functional.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    maps = torch.cat([(across + 1e-3).log(), (down + 1e-3).log()], 1)
    cells = functional.avg_pool2d(maps, CELL)
    side = EDGE // CELL
    inside = torch.zeros(side, side, dtype=torch.bool)
    margin = BAND // CELL
    inside[margin:-margin, margin:-margin] = True
    return cells[:, :, ~inside].flatten(1), cells[:, :, inside].flatten(1)


def of_files(source: Source, ids: list[str]) -> dict[str, Tensor]:
    """File properties besides pixels, n,D by name; empty if images are not files.

    Cameras are left out if no file names one or all name the same.
    """
    if source.pixels is not None:
        return {}
    rows = {one: row for row, one in enumerate(source.ids)}
    numbers = []
    endings, cameras, encodings = [], [], []
    for one in ids:
        try:
            content = source.read(rows[one])
            if not isinstance(content, bytes):
                return {}
            width, height = dimensions(content)
        except BadPicture:
            return {}
        size = len(content)
        numbers.append([math.log(size), width, height, width / height, size / (width * height)])
        endings.append(extension(one))
        file = origin(content)
        cameras.append(file.camera)
        encodings.append(file.encoding)
    columns = torch.from_numpy(np.array(numbers, dtype=np.float32)).T
    steps = [in_steps(column) for column in columns]
    evidence = {
        "file facts": torch.cat([*steps[:4], kinds(endings)], 1),
        "compression": torch.cat([steps[4], kinds(encodings)], 1),
    }
    if len(set(cameras)) > 1:
        evidence["camera"] = kinds(cameras)
    return evidence


def kinds(names: list[str]) -> Tensor:
    """Which of the most frequent names each one is, n,D of 0 and 1."""
    frequent = [name for name, _ in Counter(names).most_common(MOST_KINDS)]
    places = {name: place for place, name in enumerate(frequent)}
    codes = torch.tensor([places.get(name, len(frequent)) for name in names])
    return functional.one_hot(codes, len(frequent) + 1).float()


def in_steps(column: Tensor) -> Tensor:
    """Which of BINS quantiles each number lies in, n,BINS of 0 and 1."""
    edges = column.quantile(torch.linspace(0, 1, BINS + 1)[1:-1])
    return functional.one_hot(torch.bucketize(column.contiguous(), edges), BINS).float()
