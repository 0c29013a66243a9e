"""Reconstructions of named images by an autoencoder: how well each came through the bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.history import Metrics
from eyesight.results.predictions import read_arrays, write_arrays
from eyesight.results.records import Summary
from eyesight.results.scores import MEASURES

Floats = npt.NDArray[np.floating[Any]]
Z95 = 1.959964  # standard errors on either side of a mean in a 95 % interval
FAMILIAR = 0.99  # share of the validation images whose error is below the threshold
BEST = 100.0  # dB of an image restored to the last bit, where PSNR would be infinite
WINDOW = 7  # side of the squares in which SSIM compares
COLUMNS = ("labels", "errors", "psnr", "ssim", "codes")


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """Mean squared error, PSNR, SSIM (NaN where not computed) and bottleneck of N images."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # N, -1 is unknown
    classes: tuple[str, ...]
    errors: npt.NDArray[np.float32]
    psnr: npt.NDArray[np.float32]
    ssim: npt.NDArray[np.float32]
    codes: npt.NDArray[np.float32]  # N,B: the values in the bottleneck

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> Summary:
        """The metrics of every table: mean PSNR in dB with its 95 % interval, MSE, SSIM."""
        n = len(self)
        if n == 0:
            return {"n": 0, "psnr": None, "interval": None, "mse": None, "ssim": None, "loss": None}
        mean = float(self.psnr.mean())
        deviation = float(self.psnr.std(ddof=min(1, n - 1)))
        half = Z95 * deviation / n**0.5
        mse = float(self.errors.astype(np.float64).mean())
        measured = self.ssim[np.isfinite(self.ssim)]
        ssim = None
        if len(measured):
            ssim = float(measured.mean())
        return {
            "n": n,
            "psnr": mean,
            "interval": [mean - half, mean + half],
            "mse": mse,
            "ssim": ssim,
            "loss": mse,
            "unfamiliar_from": self.threshold(),
            "ssim_n": len(measured),
        }

    @property
    def metrics(self) -> Metrics:
        """The figures of the labelled images."""
        return Metrics.of(self.summary(), MEASURES["picture"])

    def scores(self) -> npt.NDArray[np.float64]:
        """The PSNR of every image."""
        return self.psnr.astype(np.float64)

    def threshold(self) -> float:
        """The error that 99 % of these images stay below; above it an image is unfamiliar."""
        return float(np.quantile(self.errors.astype(np.float64), FAMILIAR))

    def strangest(self, most: int) -> npt.NDArray[np.int64]:
        """Indices of the images with the largest error, the largest first."""
        return np.argsort(-self.errors, kind="stable")[:most].astype(np.int64)

    def truth(self) -> list[str]:
        """An empty text for each image: it is compared with itself."""
        return ["" for _ in self.ids]

    def save(self, path: Path) -> None:
        """Write everything to `path` (.npz), whole or not at all."""
        arrays = {name: getattr(self, name) for name in COLUMNS}
        arrays["ids"] = np.array(self.ids, dtype=np.str_)
        arrays["classes"] = np.array(self.classes, dtype=np.str_)
        write_arrays(path, **arrays)


def load(path: Path) -> Reconstructions:
    """Read what `save` wrote; raises UserError when the file is missing or damaged."""
    arrays = read_arrays(path)
    try:
        ids = tuple(map(str, arrays.pop("ids")))
        classes = tuple(map(str, arrays.pop("classes")))
        wrong = [name for name in COLUMNS if len(arrays[name]) != len(ids)]
        if wrong:
            raise ValueError(f"{wrong[0]} of {len(arrays[wrong[0]])} images, not {len(ids)}")
        return Reconstructions(ids=ids, classes=classes, **arrays)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not a valid reconstructions file: {error}",
            "evaluate the run again to recreate them",
        ) from None


def in_two_dimensions(codes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    """The first two principal components of codes N,B: N,2, and their share of the variance.

    Codes of one or two values stay as they are.
    """
    if codes.shape[1] <= 2:
        missing = 2 - codes.shape[1]
        return np.pad(codes.astype(np.float64), ((0, 0), (0, missing))), 1.0
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    variances = sizes**2
    if not variances.any():
        return points, 1.0
    return points, float(variances[:2].sum() / variances.sum())


def psnr(true: Floats, restored: Floats) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of pairs of images in [0, 1], N,C,H,W; at most 100."""
    from skimage.metrics import peak_signal_noise_ratio  # takes a second to import

    values = np.empty(len(true))
    with np.errstate(divide="ignore"):
        for row, (image, other) in enumerate(zip(true, restored, strict=True)):
            values[row] = peak_signal_noise_ratio(  # type: ignore[no-untyped-call]
                image, other, data_range=1.0
            )
    return np.minimum(values, BEST)


def ssim(true: Floats, restored: Floats) -> npt.NDArray[np.float64]:
    """Structural similarity of pairs of images in [0, 1], N,C,H,W; 1 for equal ones.

    Wang et al. 2004, in uniform squares of 7 pixels; NaN for images smaller than 3 pixels.
    """
    from skimage.metrics import structural_similarity

    values = np.full(len(true), np.nan)
    side = min(WINDOW, *true.shape[2:])
    side -= 1 - side % 2  # an odd number
    if side < 3:
        return values
    options = {"data_range": 1.0, "channel_axis": 0, "win_size": side}
    for row, (image, other) in enumerate(zip(true, restored, strict=True)):
        values[row] = structural_similarity(  # type: ignore[no-untyped-call]
            image, other, **options
        )
    return values
