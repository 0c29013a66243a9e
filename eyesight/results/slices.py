"""Slices of the test images on which a classifier is worse than on the rest.

A slice is a fifth of the images by a measured property, or a folder. Only slices with enough images
are tried, and the p-values are corrected for how many were tried (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from eyesight.results.metrics import holm
from eyesight.results.predictions import Predictions

PARTS = 5  # equal shares of the images by a measured property
ENOUGH = 30  # images in a slice
LEVEL = 0.05  # of all slices together
PROPERTIES = ("brightness", "contrast", "sharpness")
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """Some of the test images, and the accuracy on them and on the rest."""

    name: str
    n: int
    accuracy: float
    rest: float
    p: float  # that it is as good as the rest, corrected for the slices tried

    @property
    def is_worse(self) -> bool:
        """Whether that is more than chance."""
        return self.accuracy < self.rest and self.p < LEVEL


def properties(pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Brightness, contrast and sharpness of images uint8 N,C,H,W, from 0 to 255."""
    grey = pixels.astype(np.float32).mean(axis=1)
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 2))
    steps += np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    values = (grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), steps)
    return dict(zip(PROPERTIES, values, strict=True))


def find(predictions: Predictions, measured: Mapping[str, npt.NDArray[np.float32]]) -> list[Slice]:
    """Every slice of labelled predictions, the one that is most surely worse first."""
    hits = predictions.scores()
    tried = []
    for name, rows in _candidates(predictions, measured):
        if min(rows.sum(), (~rows).sum()) >= ENOUGH:
            tried.append((name, rows, _p_value(hits, rows)))
    corrected = holm([p for _, _, p in tried])
    slices = []
    for (name, rows, _), p in zip(tried, corrected, strict=True):
        accuracy = float(hits[rows].mean())
        slices.append(Slice(name, int(rows.sum()), accuracy, float(hits[~rows].mean()), p))
    return sorted(slices, key=lambda one: (not one.is_worse, one.p, one.accuracy - one.rest))


def _candidates(
    predictions: Predictions, measured: Mapping[str, npt.NDArray[np.float32]]
) -> Iterator[tuple[str, Rows]]:
    for name, values in measured.items():
        edges = np.quantile(values, np.linspace(0, 1, PARTS + 1)[1:-1])
        part = np.searchsorted(edges, values, side="right")
        for number in range(PARTS):
            yield f"{name}, fifth {number + 1} of {PARTS}", part == number
    folders = np.array([str(PurePosixPath(name).parent) for name in predictions.ids])
    names = np.unique(folders)
    if 1 < len(names) <= 200:
        for name in names:
            yield f"folder {name}", folders == name


def _p_value(hits: Rows, rows: Rows) -> float:
    """Fisher's exact test, one-sided: that the slice is no worse than the rest."""
    from scipy.stats import hypergeom

    right = int(hits[rows].sum())
    return float(hypergeom.cdf(right, len(hits), int(hits.sum()), int(rows.sum())))
