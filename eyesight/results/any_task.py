"""The results of any task: predictions, reconstructions or segmentations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from eyesight.results import predictions, reconstructions, segmentations
from eyesight.results.predictions import Predictions
from eyesight.results.reconstructions import Reconstructions
from eyesight.results.segmentations import Segmentations

Results: TypeAlias = Predictions | Reconstructions | Segmentations
LOADERS: dict[str, Callable[[Path], Results]] = {
    "class": predictions.load,
    "picture": reconstructions.load,
    "mask": segmentations.load,
}
