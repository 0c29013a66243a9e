"""The mean logit margin of each training image over the epochs.

The margin is the logit of the given class minus the largest other one (after Pleiss et al. 2020).
Wrong labels are learned late or never. The margins use the logits of the training steps, so they
cost no extra time and do not change the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyesight import augment
from eyesight.recipe import Recipe
from eyesight.results.margins import write


def are_kept(recipe: Recipe, processes: int) -> bool:
    """Whether a training records margins: classes, no mixing, a single process."""
    alone = processes == 1
    return alone and recipe.data.target == "class" and not augment.mixes(recipe.augment)


def add(margins: Tensor, logits: Tensor, labels: Tensor, index: Tensor) -> None:
    """Add the margins of a batch, logits n,K, to the sums and numbers 2,N of its images."""
    if labels.ndim == 2:  # a teacher's probabilities
        labels = labels.argmax(1)
    values = logits.float()
    given = values.gather(1, labels[:, None])
    others = values.scatter(1, labels[:, None], -math.inf).amax(1)
    margins[0, index] += given[:, 0] - others
    margins[1, index] += 1


class Collected:
    """The margins of all stages of a training, by image id."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}

    def add(self, ids: Sequence[str], margins: Tensor) -> None:
        """Add the sums and numbers 2,n of a stage, whose images have these ids."""
        totals, counts = margins.double().cpu().tolist()
        for one, total, count in zip(ids, totals, counts, strict=True):
            before = self.sums.get(one, (0.0, 0.0))
            self.sums[one] = (before[0] + total, before[1] + count)

    def save(self, folder: Path, ids: Sequence[str]) -> None:
        """Write the means in the order of `ids`, NaN for images not used in training."""
        if not self.sums:
            return
        means = np.full(len(ids), np.nan, dtype=np.float32)
        for place, one in enumerate(ids):
            total, count = self.sums.get(one, (0.0, 0.0))
            if count:
                means[place] = total / count
        write(folder, means)


def empty(count: int, device: torch.device) -> Tensor:
    """Sums and numbers 2,N before the first step."""
    return torch.zeros(2, count, device=device)
