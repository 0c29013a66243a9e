"""Outliers: images whose features are far from all others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing.labels import CHUNK, Standardiser

NEIGHBOURS = 5
DATABASE = 4000  # images, at most, among which neighbours are sought
ALARM = 6.0  # deviations above the median, by quartiles


@dataclass(frozen=True, eq=False)
class Strangeness:
    """`score` (n) is the mean cosine distance to the nearest other images, in [0, 1].

    `alarm` (n) marks outliers.
    """

    score: Tensor
    alarm: Tensor


def strangeness(values: Tensor, seed: int = 0) -> Strangeness:
    """Outlier scores from features float16 n,D."""
    standardise = Standardiser.of(values)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(values), generator=generator)[:DATABASE]
    database = functional.normalize(standardise(values[chosen]), dim=1)
    position = torch.full((len(values),), -1)
    position[chosen] = torch.arange(len(chosen))
    nearest = max(1, min(NEIGHBOURS, len(chosen) - 1))
    scores = torch.empty(len(values))
    for rows in torch.split(torch.arange(len(values)), CHUNK):
        queries = functional.normalize(standardise(values[rows]), dim=1)
        similarity = queries @ database.T
        inside = position[rows] >= 0
        similarity[inside, position[rows][inside]] = -1.0
        scores[rows] = 1 - similarity.topk(nearest, dim=1).values.mean(1)
    scores = scores.clamp(0, 1)
    return Strangeness(scores, outliers(scores))


def outliers(scores: Tensor) -> Tensor:
    """Which scores lie more than ALARM deviations above the median.

    The upper quartile tells the deviation.
    """
    median, upper = scores.quantile(torch.tensor([0.5, 0.75])).tolist()
    deviation = max((upper - median) / 0.6745, 1e-6)
    alarm: Tensor = scores > median + ALARM * deviation
    return alarm
