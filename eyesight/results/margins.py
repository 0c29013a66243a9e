"""The mean logit margins of a run's training images, as a file of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.predictions import read_arrays, write_arrays

FILE = "margins.npz"


def write(folder: Path, margin: npt.NDArray[np.float32]) -> None:
    """Write the means of a run's training images, NaN for those that were never seen."""
    write_arrays(folder / FILE, margin=margin)


def read(folder: Path, count: int) -> npt.NDArray[np.float32] | None:
    """The mean margins of a run's `count` training images; None where it kept none.

    Raises UserError when they are damaged or of other images.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    margin = read_arrays(file).get("margin")
    if margin is None or margin.shape != (count,) or margin.dtype != np.float32:
        raise UserError(f"{file} is damaged", "train again, or audit the data instead of the run")
    return np.asarray(margin, dtype=np.float32)
