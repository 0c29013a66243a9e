"""What a classifier said about named pictures: ids, labels, probabilities; every metric, figure and page is computed from these."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from eyesight.errors import MissingError
from eyesight.results.metrics import (
    calibration,
    correct,
    ignoring_case,
    log_loss,
    macro_f1,
    top_k,
    wilson,
)
from eyesight.system.files import whole_file


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities of N pictures over K classes; a label of -1 is unknown."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # N
    probabilities: npt.NDArray[np.float32]  # N,K
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.probabilities.shape == (len(self.ids), len(self.classes)), (
            "one row a picture, one column a class"
        )
        assert self.labels.shape == (len(self.ids),), "one label a picture"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class of every picture, int64 N."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The probability of the most probable class, float32 N."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float32)

    def labelled(self) -> Predictions:
        """Only the pictures whose label is known."""
        keep = np.flatnonzero(self.labels >= 0)
        return Predictions(
            tuple(self.ids[i] for i in keep),
            self.labels[keep],
            self.probabilities[keep],
            self.classes,
        )

    def summary(self) -> dict[str, Any]:
        """The figures of every table, as `eyesight.results.metrics.summary` gives them."""

        return summary(self)

    def scores(self) -> npt.NDArray[np.bool_]:
        """Whether each picture was classified right."""
        return np.asarray(self.predicted == self.labels, dtype=np.bool_)

    def truth(self) -> list[str]:
        """What each picture was compared with, for telling whether two runs were judged alike."""
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


def load(path: Path) -> Predictions:
    """The predictions that `save` wrote; raises UserError when the file is missing or broken."""
    arrays = read_arrays(path)
    try:
        ids, classes = (tuple(str(name) for name in arrays[key]) for key in ("ids", "classes"))
        return Predictions(
            ids,
            arrays["labels"].astype(np.int64),
            arrays["probabilities"].astype(np.float32),
            classes,
        )
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise MissingError(
            f"{path} holds no predictions: {error}", "evaluate the run again to write them anew"
        ) from None


def readable(classes: Sequence[str]) -> tuple[str, ...]:
    """Names for people: `n02085620-Shih_Tzu` as `Shih Tzu`; unchanged where two classes would then look alike."""
    names = tuple(re.sub(r"^n\d{8}-", "", name).replace("_", " ").strip() for name in classes)
    return names if len(set(names)) == len(names) and all(names) else tuple(classes)


def write_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write named arrays to `path` (.npz), whole or not at all."""
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stubs take the names for options


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The named arrays in `path`, never a pickle; raises UserError when the file is missing or broken."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise MissingError(f"there is no file {path}", "name a run that finished") from None
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile, zlib.error) as error:
        raise MissingError(
            f"{path} cannot be read: {error}", "the run is damaged, or was removed meanwhile"
        ) from None


def summary(predictions: Predictions) -> dict[str, Any]:
    """The figures of every table: n, top1, its 95 % interval, macro_f1, loss, ece; None without labels.

    Also top5 where there are more than five classes, and top1_ignoring_case where some differ only in case.
    """
    known = predictions.labelled()
    probabilities, labels = known.probabilities, known.labels
    n = len(labels)
    if n == 0:
        return {"n": 0, "top1": None, "interval": None, "macro_f1": None, "loss": None, "ece": None}
    right = int(correct(probabilities, labels).sum())
    caseless = ignoring_case(probabilities, labels, predictions.classes)
    return {
        "n": n,
        "top1": right / n,
        "interval": list(wilson(right, n)),
        **({"top5": top_k(probabilities, labels, 5)} if probabilities.shape[1] > 5 else {}),
        **({"top1_ignoring_case": caseless} if caseless is not None else {}),
        "macro_f1": macro_f1(probabilities, labels),
        "loss": log_loss(probabilities, labels),
        "ece": calibration(probabilities, labels).error,
    }
