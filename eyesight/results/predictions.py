"""Predictions of a classifier for named images; every metric, figure and page comes from these."""

from __future__ import annotations

import html
import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from eyesight.errors import MissingError, UserError
from eyesight.results import metrics
from eyesight.results.answers import Answers
from eyesight.results.history import Metrics
from eyesight.results.records import Summary
from eyesight.results.scores import MEASURES
from eyesight.system.files import whole_file

if TYPE_CHECKING:
    from pandas import DataFrame

UNREADABLE = (
    OSError, ValueError, EOFError, AttributeError, KeyError, TypeError, IndexError, SyntaxError,
    OverflowError, MemoryError, RuntimeError, BadZipFile, zlib.error,
)  # fmt: skip # what NumPy and zipfile raise for damaged files
SHOWN = 20  # rows of the table in a notebook


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities of N images over K classes; a label of -1 is unknown."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # N
    probabilities: npt.NDArray[np.float32]  # N,K
    classes: tuple[str, ...]
    thumbnail: Callable[[int], bytes] | None = field(default=None, repr=False)  # PNG of a row
    set: npt.NDArray[np.bool_] | None = None  # N,K: in 95 of 100 images the class is among these
    unlike: npt.NDArray[np.bool_] | None = None  # N: unlike the training images

    def __post_init__(self) -> None:
        n, classes = len(self.ids), len(self.classes)
        if self.probabilities.shape != (n, classes):
            raise ValueError(
                f"probabilities {self.probabilities.shape} for {n} images of {classes} classes"
            )
        if self.labels.shape != (n,):
            raise ValueError(f"labels {self.labels.shape} for {n} images")
        if n and not -1 <= self.labels.min() <= self.labels.max() < classes:
            raise ValueError(f"labels up to {self.labels.max()} for {classes} classes")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Predictions: {len(self)} images, {len(self.classes)} classes>"

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the columns of `probabilities`."""
        return self.classes

    @property
    def names(self) -> list[str]:
        """The most probable class of every image, by name."""
        return [self.classes[number] for number in self.predicted]

    def set_names(self, row: int) -> list[str]:
        """The classes in the set of an image, the most probable first; empty without sets."""
        if self.set is None:
            return []
        order = np.argsort(-self.probabilities[row], kind="stable")
        return [self.classes[column] for column in order if self.set[row, column]]

    def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
        """The `k` most probable classes of every image with their probabilities, best first."""
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        rows = []
        for row, columns in zip(self.probabilities, best, strict=True):
            rows.append([(self.classes[column], float(row[column])) for column in columns])
        return rows

    def to_frame(self) -> DataFrame:
        """A pandas table: a row for each image, its best class, and the probability of each class.

        Raises UserError when pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("pandas is not installed", "python -m pip install pandas") from None
        columns: dict[str, object] = {
            "image": list(self.ids),
            "class": self.names,
            "probability": self.confidence,
        }
        if (self.labels >= 0).any():
            names = (*self.classes, None)
            columns["label"] = [names[label] for label in self.labels]
        frame = pandas.DataFrame(columns)
        table = pandas.DataFrame(self.probabilities, columns=list(self.classes))
        return pandas.concat([frame, table], axis=1)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class of every image, int64 N."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The probability of the most probable class, float32 N."""
        return np.asarray(self.probabilities.max(axis=1, initial=0), dtype=np.float32)

    def subset(self, rows: npt.NDArray[np.int64]) -> Predictions:
        """The predictions of some images, in the order of `rows`."""
        ids = tuple(self.ids[row] for row in rows)
        return Predictions(ids, self.labels[rows], self.probabilities[rows], self.classes)

    def labelled(self) -> Predictions:
        """The predictions of the images with a label."""
        return self.subset(np.flatnonzero(self.labels >= 0))

    def summary(self) -> Summary:
        """The metrics of every table, as `eyesight.results.predictions.summary` gives them."""
        return summary(self)

    @property
    def metrics(self) -> Metrics:
        """The figures of the labelled images."""
        return Metrics.of(self.summary(), MEASURES["class"])

    def scores(self) -> npt.NDArray[np.bool_]:
        """Whether each image was classified correctly."""
        return np.asarray(self.predicted == self.labels, dtype=np.bool_)

    def truth(self) -> list[str]:
        """The true class name of each image; two runs with the same were judged alike."""
        return [self.classes[label] for label in self.labels]

    def save(self, path: Path) -> None:
        """Write everything to `path` (.npz), whole or not at all."""
        write_arrays(
            path,
            ids=np.array(self.ids, dtype=np.str_),
            labels=self.labels.astype(np.int64),
            probabilities=self.probabilities.astype(np.float32),
            classes=np.array(self.classes, dtype=np.str_),
        )


def predicted(
    ids: tuple[str, ...],
    answers: Answers,
    classes: tuple[str, ...],
    thumbnail: Callable[[int], bytes] | None = None,
) -> Predictions:
    """Predictions for images without labels."""
    labels = np.full(len(ids), -1, dtype=np.int64)
    unlike = None
    if answers.unlike is not None:
        unlike = np.asarray(answers.unlike > 0)
    return Predictions(ids, labels, answers.probabilities, classes, thumbnail, answers.set, unlike)


def html_table(predictions: Predictions) -> str:
    """The first rows as an HTML table, each with its image where there is one."""
    rows = []
    shown = predictions.top(3)[:SHOWN]
    for number, best in enumerate(shown):
        cells = [html.escape(predictions.ids[number])]
        if predictions.thumbnail is not None:
            data = b64encode(predictions.thumbnail(number)).decode()
            style = "height:56px;image-rendering:pixelated"
            cells.insert(0, f'<img style="{style}" src="data:image/png;base64,{data}">')
        for name, probability in best:
            cells.append(f"{html.escape(name)} {probability:.1%}")
        style = "padding-right:16px"
        rows.append(
            "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in cells) + "</tr>"
        )
    more = len(predictions) - len(shown)
    below = ""
    if more > 0:
        below = f"<p>and {more:,} more</p>"
    return f"<table>{''.join(rows)}</table>{below}"


def load(path: Path) -> Predictions:
    """Read what `save` wrote; raises UserError when the file is missing or damaged."""
    arrays = read_arrays(path)
    try:
        return Predictions(
            tuple(map(str, arrays["ids"])),
            arrays["labels"].astype(np.int64),
            arrays["probabilities"].astype(np.float32),
            tuple(map(str, arrays["classes"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MissingError(
            f"{path} is not a valid predictions file: {error}",
            "evaluate the run again to recreate them",
        ) from None


def readable(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names for people: `n02085620-Shih_Tzu` becomes `Shih Tzu`.

    Unchanged where two names would then be equal.
    """
    names = tuple(re.sub(r"^n\d{8}-", "", name).replace("_", " ").strip() for name in class_names)
    if len(set(names)) == len(names) and all(names):
        return names
    return tuple(class_names)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays to `path` (.npz), whole or not at all."""
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays in `path`, never a pickle.

    Raises UserError when the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise MissingError(f"there is no file {path}", "name a finished run") from None
    except UNREADABLE as error:
        raise MissingError(
            f"{path} cannot be read: {error}", "the run is damaged or was removed"
        ) from None


def summary(predictions: Predictions) -> Summary:
    """The metrics of every table: n, top1, its 95 % interval, macro_f1, loss, ece.

    None without labels. Also top5 with more than five classes, and top1_ignoring_case where some
    class names differ only in case.
    """
    labelled = predictions.labelled()
    probabilities = labelled.probabilities
    labels = labelled.labels
    n = len(labels)
    if n == 0:
        return {"n": 0, "top1": None, "interval": None, "macro_f1": None, "loss": None, "ece": None}
    hits = int(metrics.correct(probabilities, labels).sum())
    values = Summary(n=n, top1=hits / n, interval=list(metrics.wilson(hits, n)))
    if probabilities.shape[1] > 5:
        values["top5"] = metrics.top_k(probabilities, labels, 5)
    caseless = metrics.ignoring_case(probabilities, labels, predictions.classes)
    if caseless is not None:
        values["top1_ignoring_case"] = caseless
    values["macro_f1"] = metrics.macro_f1(probabilities, labels)
    values["loss"] = metrics.log_loss(probabilities, labels)
    values["ece"] = metrics.reliability(probabilities, labels).error
    return values
