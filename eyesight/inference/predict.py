"""What a classifier says of files, a portion at a time, so that memory does not grow with their number."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from eyesight.data.prepare import BadPicture, Pixels
from eyesight.errors import unknown

if TYPE_CHECKING:
    from eyesight.classifier import Classifier
    from eyesight.inference.onnx_classifier import Portable

Known: TypeAlias = "Classifier | Portable"
PORTION = 256  # pictures prepared before the network looks at them
First = Callable[
    [bytes], "bytes | Pixels"
]  # what is done to a picture before the preparation of the training


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one file, or what is wrong with it."""

    path: str
    top: tuple[tuple[str, float], ...] = ()
    problem: str = ""
    anomaly: float | None = None  # an autoencoder's error, where one was asked
    unfamiliar: bool | None = (
        None  # whether that is more than it makes of nearly all pictures of the kind it learnt: then nothing is sure
    )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        doubt = (
            {} if self.anomaly is None else {"anomaly": self.anomaly, "unfamiliar": self.unfamiliar}
        )
        return {
            "path": self.path,
            "top": [{"class": name, "probability": sure} for name, sure in self.top],
            **doubt,
        }


def answers(
    known: Known, paths: Iterable[Path], top: int = 1, first: str = "", root: Path | None = None
) -> Iterator[Answer]:
    """An answer for every file, in the order given; paths that are relative are so to `root`.

    `first` is "digit" to fit and centre a digit's ink as in MNIST before the network's own preparation.
    """
    prepare_first, waiting = beforehand(first), iter(paths)
    while portion := list(islice(waiting, PORTION)):
        yield from _portion(known, portion, top, prepare_first, root or Path())


def beforehand(name: str) -> First:
    """The preparation called `name` that comes before the network's own; raises UserError for an unknown one."""
    if name == "digit":
        from eyesight.reader import mnist_digit

        return mnist_digit.digit
    if name:
        raise unknown("preparation", name, ["digit"])
    return lambda picture: picture


def _portion(
    known: Known, paths: Sequence[Path], top: int, first: First, root: Path
) -> Iterator[Answer]:
    pixels: list[Pixels] = []
    problems: dict[int, str] = {}
    for place, path in enumerate(paths):
        try:
            pixels.append(known.prepare(first((root / path).read_bytes())))
        except BadPicture as bad:
            problems[place] = str(bad)
        except OSError as error:
            problems[place] = f"unreadable: {error.strerror}"
    values = iter(
        known.probabilities(np.stack(pixels))
        if pixels
        else np.zeros((0, len(known.classes)), np.float32)
    )
    for place, path in enumerate(paths):
        if place in problems:
            yield Answer(str(path), problem=problems[place])
        else:
            sure = next(values)
            best = np.argsort(-sure, kind="stable")[:top]
            yield Answer(
                str(path), tuple((known.classes[place], float(sure[place])) for place in best)
            )


def heading(top: int) -> list[str]:
    """The names of the columns of `row`."""
    return [
        "picture",
        *(
            f"{word}{number}"
            for number in ["", *range(2, top + 1)]
            for word in ("class", "probability")
        ),
    ]


def row(answer: Answer) -> list[str]:
    """An answer as the cells of a table: its file, then the classes and their probabilities."""
    return [answer.path, *(text for name, sure in answer.top for text in (name, f"{sure:.4f}"))]


def table(found: Iterable[Answer], top: int) -> bytes:
    """A row for every answer as CSV, the last column saying what is wrong with a file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*heading(top), "problem"])
    for answer in found:
        cells = row(answer)
        writer.writerow([*cells, *[""] * (1 + 2 * top - len(cells)), answer.problem])
    return text.getvalue().encode("utf-8", "backslashreplace")
