"""Series: images of one burst, object or film, and how much they inflate a random split.

Two images belong to a series if their feature distance is much smaller than that to farther
neighbours. The inflation is measured on the features: a ridge classifier that leaves out only the
image itself is compared with one that leaves out its whole group. Both have a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing.copies import Pair, descriptors
from eyesight.auditing.copies import groups as connected
from eyesight.auditing.features import Features
from eyesight.auditing.labels import CHUNK, Standardiser, factorised, normal_equations
from eyesight.auditing.record import FlatteryValues

NEIGHBOURS = 24  # of each image; the last of them tells how near others usually are
NEAR = 0.65  # of that distance: nearer images are of one series
PENALTY = 3e-2  # of the ridge
FEWEST = 20  # images in groups, for an accuracy


@dataclass(frozen=True)
class Flattery:
    """Accuracy on features with a random split and with each group in one split.

    `groups` counts groups of at least two images. `source` is their origin.
    """

    groups: int
    images: int
    random: float
    grouped: float
    source: str

    def to_dict(self) -> FlatteryValues:
        """Plain JSON values."""
        return {
            "groups": self.groups,
            "images": self.images,
            "random": round(self.random, 4),
            "grouped": round(self.grouped, 4),
            "source": self.source,
        }


def find(features: Features, copies: Sequence[Pair]) -> list[list[int]]:
    """Series of images as indices in the data; `copies` are pairs that always belong together."""
    described = descriptors(features)
    count = len(described)
    most = min(NEIGHBOURS, count - 1)
    if most < 2:
        return connected(copies)
    nearest = torch.empty(count, most, dtype=torch.int64)
    distance = torch.empty(count, most)
    for rows in torch.split(torch.arange(count), 1024):
        similarity = described[rows] @ described.T
        similarity[torch.arange(len(rows)), rows] = -2.0
        values, nearest[rows] = similarity.topk(most, dim=1)
        distance[rows] = (2 - 2 * values).clamp_min(0).sqrt()
    limit = NEAR * distance[:, -1]
    here = torch.arange(count)[:, None].expand_as(nearest)
    mutual = (distance < limit[:, None]) & (distance < limit[nearest])
    index = features.index
    pairs = [
        Pair(int(index[one]), int(index[other]), 1 - float(far) / 2, mirrored=False)
        for one, other, far in zip(
            here[mutual].tolist(),
            nearest[mutual].tolist(),
            distance[mutual].tolist(),
            strict=True,
        )
    ]
    return connected([*copies, *pairs])


def flattery(
    values: Tensor, labels: Tensor, classes: int, groups: Tensor, source: str
) -> Flattery | None:
    """The inflation of a random split, from features float16 n,D and group numbers n.

    None if fewer than FEWEST images share a group with another.
    """
    counts = torch.bincount(groups)
    shared = counts >= 2
    if int(counts[shared].sum()) < FEWEST or int(shared.sum()) < 2:
        return None
    standardise = Standardiser.of(values)
    targets = functional.one_hot(labels, classes).float()
    mean = targets.mean(0)
    gram, moments = normal_equations(values, standardise, targets - mean)
    coefficients, lower = factorised(gram, moments, PENALTY * len(values))
    random, grouped = 0, 0
    for rows in whole_groups(groups):
        inputs = standardise(values[rows])
        solved = torch.linalg.solve_triangular(lower, inputs.T, upper=False)
        residuals = targets[rows] - mean - inputs @ coefficients
        hat = solved.T @ solved + 1 / len(values)
        alone = residuals / (1 - hat.diagonal()).clamp_min(1e-4)[:, None]
        random += int(((targets[rows] - alone).argmax(1) == labels[rows]).sum())
        same = groups[rows][:, None] == groups[rows]
        # Groups do not touch each other, so that one system holds them all.
        left_out = torch.eye(len(rows)) * (1 + 1e-4) - hat * same
        together = torch.linalg.solve(left_out, residuals)
        grouped += int(((targets[rows] - together).argmax(1) == labels[rows]).sum())
    return Flattery(
        int(shared.sum()),
        int(counts[shared].sum()),
        random / len(values),
        grouped / len(values),
        source,
    )


def whole_groups(groups: Tensor, most: int = CHUNK // 8) -> list[Tensor]:
    """Rows in parts of about `most`, the rows of a group in one part."""
    order = groups.argsort(stable=True)
    sizes = torch.bincount(groups).tolist()
    parts, start, size = [], 0, 0
    for count in sizes:
        if size and size + count > most:
            parts.append(order[start : start + size])
            start, size = start + size, 0
        size += count
    parts.append(order[start : start + size])
    return parts
