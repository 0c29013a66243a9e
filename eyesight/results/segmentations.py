"""What was said about every pixel of named pictures, counted per picture: all measures of segmentation follow from these counts.

Intervals are over pictures, never over pixels: the pixels of one picture are right or wrong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.predictions import read_arrays, write_arrays

RESAMPLES = 1000  # of the pictures, for an interval
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Segmentations:
    """N pictures: `counts[i, t, s]` pixels of class t of picture i were said to be s; ignored pixels are in none."""

    ids: tuple[str, ...]
    counts: Counts  # N,K,K
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> dict[str, Any]:
        """The figures of every table: n, mean IoU and pixel accuracy with 95 % intervals by picture, and the IoU of every class."""
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
        drawn = self._resampled()
        each = iou(total)
        return {
            "n": len(self),
            "mean_iou": mean_iou(total),
            "interval": _between([mean_iou(one) for one in drawn]),
            "pixel_accuracy": pixel_accuracy(total),
            "pixel_accuracy_interval": _between([pixel_accuracy(one) for one in drawn]),
            "per_class_iou": {
                name: float(value) if np.isfinite(value) else None
                for name, value in zip(self.classes, each, strict=True)
            },
            "loss": None,
        }

    def scores(self) -> npt.NDArray[np.float64]:
        """The mean IoU within every picture, over the classes that it shows or was said to show."""
        return np.array([mean_iou(one, both=True) for one in self.counts], dtype=np.float64)

    def worst(self, most: int) -> npt.NDArray[np.int64]:
        """Indices of the pictures with the lowest mean IoU, the worst first."""
        return np.argsort(self.scores(), kind="stable")[:most].astype(np.int64)

    def truth(self) -> list[str]:
        """What each picture was compared with, for telling whether two runs were judged alike."""
        return [",".join(map(str, row)) for row in self.counts.sum(axis=2).tolist()]

    def save(self, path: Path) -> None:
        """Write everything to `path` (.npz), whole or not at all."""
        ids, classes = (np.array(names, dtype=np.str_) for names in (self.ids, self.classes))
        write_arrays(path, ids=ids, classes=classes, counts=self.counts)

    def _resampled(self) -> npt.NDArray[np.float64]:
        """The counts of as many pictures drawn with replacement, RESAMPLES,K,K."""
        random = np.random.default_rng(0)
        drawn = random.multinomial(len(self), np.full(len(self), 1 / len(self)), RESAMPLES).astype(
            np.float64
        )
        flat = self.counts.reshape(len(self), -1).astype(np.float64)
        return (drawn @ flat).reshape(RESAMPLES, *self.counts.shape[1:])


def load(path: Path) -> Segmentations:
    """What `save` wrote; raises UserError when the file is missing or broken."""
    arrays = read_arrays(path)
    try:
        ids, classes = (tuple(str(name) for name in arrays[key]) for key in ("ids", "classes"))
        return Segmentations(ids, arrays["counts"].astype(np.int64), classes)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path} holds no segmentations: {error}", "evaluate the run again to write them anew"
        ) from None


def iou(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intersection over union of every class from counts K,K (rows true); NaN for one that neither occurs nor was said."""
    counts = np.asarray(counts, dtype=np.float64)
    both = np.diagonal(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - both
    return np.where(union > 0, both / np.maximum(union, 1e-12), np.nan)


def mean_iou(counts: npt.NDArray[Any], *, both: bool = False) -> float:
    """The mean over the classes that occur; with `both`, also over those that were only said. NaN without any."""
    counts = np.asarray(counts)
    chosen = counts.sum(axis=1) > 0
    if both:
        chosen = chosen | (counts.sum(axis=0) > 0)
    return float(iou(counts)[chosen].mean()) if chosen.any() else float("nan")


def pixel_accuracy(counts: npt.NDArray[Any]) -> float:
    """The share of pixels that were said to be what they are."""
    total = float(np.asarray(counts).sum())
    return float(np.trace(counts)) / total if total else float("nan")


def _between(values: list[float]) -> list[float]:
    """Where the middle 95 % lie."""
    low, high = np.nanquantile(values, (0.025, 0.975))
    return [float(low), float(high)]
