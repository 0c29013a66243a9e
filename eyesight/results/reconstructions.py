"""How well named pictures were restored from the few numbers that a bottleneck lets through; kept where classifiers keep probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.predictions import read_arrays, write_arrays

Z95 = 1.959964  # standard errors on either side of a mean in a 95 % interval
FAMILIAR = 0.99  # share of the validation pictures that lie below the error from which a picture is called unfamiliar


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """N pictures: mean squared error and PSNR of each, SSIM where it was computed (else NaN), and the numbers in the bottleneck N,B."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # N, -1 is unknown
    classes: tuple[str, ...]
    errors: npt.NDArray[np.float32]
    psnr: npt.NDArray[np.float32]
    ssim: npt.NDArray[np.float32]
    codes: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def summary(self) -> dict[str, Any]:
        """The figures of every table: n, mean PSNR in dB with its 95 % interval over pictures, mean squared error, SSIM …"""
        n = len(self)
        if n == 0:
            return {"n": 0, "psnr": None, "interval": None, "mse": None, "ssim": None, "loss": None}
        mean = float(self.psnr.mean())
        half = Z95 * float(self.psnr.std(ddof=1 if n > 1 else 0)) / n**0.5
        mse = float(self.errors.astype(np.float64).mean())
        known = self.ssim[np.isfinite(self.ssim)]
        ssim = float(known.mean()) if len(known) else None
        facts = {"unfamiliar_from": self.threshold(), "ssim_n": len(known)}
        return {
            "n": n,
            "psnr": mean,
            "interval": [mean - half, mean + half],
            "mse": mse,
            "ssim": ssim,
            "loss": mse,
            **facts,
        }

    def scores(self) -> npt.NDArray[np.float64]:
        """The PSNR of every picture."""
        return self.psnr.astype(np.float64)

    def threshold(self) -> float:
        """The error that 99 % of these pictures stay below: what lies above it is unlike what was learnt."""
        return float(np.quantile(self.errors.astype(np.float64), FAMILIAR))

    def strangest(self, most: int) -> npt.NDArray[np.int64]:
        """Indices of the pictures that were restored worst, the worst first."""
        return np.argsort(-self.errors, kind="stable")[:most].astype(np.int64)

    def truth(self) -> list[str]:
        """What each picture was compared with, for telling whether two runs were judged alike."""
        return ["" for _ in self.ids]

    def save(self, path: Path) -> None:
        """Write everything to `path` (.npz), whole or not at all."""
        arrays = {
            name: getattr(self, name) for name in ("labels", "errors", "psnr", "ssim", "codes")
        }
        write_arrays(
            path,
            ids=np.array(self.ids, dtype=np.str_),
            classes=np.array(self.classes, dtype=np.str_),
            **arrays,
        )


def load(path: Path) -> Reconstructions:
    """What `save` wrote; raises UserError when the file is missing or broken."""
    arrays = read_arrays(path)
    try:
        ids, classes = (tuple(str(name) for name in arrays.pop(key)) for key in ("ids", "classes"))
        return Reconstructions(ids=ids, classes=classes, **arrays)
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{path} holds no reconstructions: {error}", "evaluate the run again to write them anew"
        ) from None


def in_two_dimensions(codes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    """Codes N,B in the two directions in which they differ most, N,2, and the share of the variance seen there; two numbers stay."""
    if codes.shape[1] <= 2:
        return np.pad(codes.astype(np.float64), ((0, 0), (0, 2 - codes.shape[1]))), 1.0
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    total = float((sizes**2).sum())
    return centred @ directions[:2].T, float((sizes[:2] ** 2).sum()) / total if total else 1.0
