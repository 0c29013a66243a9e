"""Class maps of named images, counted per image: all metrics of segmentation follow from these.

Intervals are over images, never over pixels: the pixels of one image are right or wrong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.history import Metrics
from eyesight.results.predictions import read_arrays, write_arrays
from eyesight.results.records import Summary
from eyesight.results.scores import MEASURES

RESAMPLES = 1000  # bootstrap samples for an interval
Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segmentations:
    """`counts[i, t, p]` pixels of class t in image i were predicted as p, ignored ones aside."""

    ids: tuple[str, ...]
    counts: Counts  # N,K,K
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> Summary:
        """The metrics of every table: mean IoU and pixel accuracy with intervals, IoU by class."""
        if not len(self) or not self.counts.any():
            return {
                "n": 0,
                "mean_iou": None,
                "interval": None,
                "pixel_accuracy": None,
                "per_class_iou": {},
                "loss": None,
            }
        total = self.counts.sum(axis=0)
        samples = self._bootstrap()
        return {
            "n": len(self),
            "mean_iou": mean_iou(total),
            "interval": _interval([mean_iou(sample) for sample in samples]),
            "pixel_accuracy": pixel_accuracy(total),
            "pixel_accuracy_interval": _interval([pixel_accuracy(sample) for sample in samples]),
            "per_class_iou": self._iou_by_class(total),
            "loss": None,
        }

    def _iou_by_class(self, total: Counts) -> dict[str, float | None]:
        values: dict[str, float | None] = dict.fromkeys(self.classes)
        for name, value in zip(self.classes, iou(total), strict=True):
            if np.isfinite(value):
                values[name] = float(value)
        return values

    @property
    def metrics(self) -> Metrics:
        """The figures of the labelled images."""
        return Metrics.of(self.summary(), MEASURES["mask"])

    def scores(self) -> npt.NDArray[np.float64]:
        """The mean IoU within every image, over its true and predicted classes."""
        return np.array([mean_iou(counts, both=True) for counts in self.counts], dtype=np.float64)

    def worst(self, most: int) -> npt.NDArray[np.int64]:
        """Indices of the images with the lowest mean IoU, the lowest first."""
        return np.argsort(self.scores(), kind="stable")[:most].astype(np.int64)

    def truth(self) -> list[str]:
        """The true pixel counts of each image; two runs with the same were judged alike."""
        return [",".join(map(str, row)) for row in self.counts.sum(axis=2).tolist()]

    def save(self, path: Path) -> None:
        """Write everything to `path` (.npz), whole or not at all."""
        ids = np.array(self.ids, dtype=np.str_)
        classes = np.array(self.classes, dtype=np.str_)
        write_arrays(path, ids=ids, classes=classes, counts=self.counts)

    def _bootstrap(self) -> npt.NDArray[np.float64]:
        """Total counts of N images drawn with replacement, RESAMPLES,K,K."""
        random = np.random.default_rng(0)
        n = len(self)
        drawn = random.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
        flat = self.counts.reshape(n, -1).astype(np.float64)
        return (drawn @ flat).reshape(RESAMPLES, *self.counts.shape[1:])


def load(path: Path) -> Segmentations:
    """Read what `save` wrote; raises UserError when the file is missing or damaged."""
    arrays = read_arrays(path)
    try:
        ids = tuple(map(str, arrays["ids"]))
        classes = tuple(map(str, arrays["classes"]))
        counts = arrays["counts"].astype(np.int64)
        if counts.shape != (len(ids), len(classes), len(classes)) or (counts < 0).any():
            raise ValueError(f"counts {counts.shape} for {len(ids)} images")
        return Segmentations(ids, counts, classes)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not a valid segmentations file: {error}",
            "evaluate the run again to recreate them",
        ) from None


def iou(counts: Numbers) -> npt.NDArray[np.float64]:
    """Intersection over union of every class from counts K,K (rows true).

    NaN for a class that neither occurs nor was predicted.
    """
    values = np.asarray(counts, dtype=np.float64)
    intersection = np.diagonal(values)
    union = values.sum(axis=0) + values.sum(axis=1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1e-12), np.nan)


def mean_iou(counts: Numbers, *, both: bool = False) -> float:
    """The mean IoU over the classes that occur; NaN without any.

    With `both`, also over the classes that were only predicted.
    """
    chosen = counts.sum(axis=1) > 0
    if both:
        chosen = chosen | (counts.sum(axis=0) > 0)
    if not chosen.any():
        return float("nan")
    return float(iou(counts)[chosen].mean())


def pixel_accuracy(counts: Numbers) -> float:
    """The share of correctly predicted pixels."""
    total = float(counts.sum())
    if not total:
        return float("nan")
    return float(np.trace(counts)) / total


def _interval(values: list[float]) -> list[float]:
    """The middle 95 % of bootstrap values."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return [float(low), float(high)]
