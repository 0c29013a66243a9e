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
from eyesight.auditing.record import OptimismValues

NEIGHBOURS = 24  # of each image; the last of them tells how near others usually are
NEAR = 0.65  # of that distance: nearer images are of one series
PENALTY = 3e-2  # of the ridge
FEWEST = 20  # images in groups, for an accuracy
MOST = CHUNK // 8  # images in one system; a larger group is handled in parts
SLIGHTLY_MORE = 1 + 1e-4  # on the diagonal, so that no system is singular


@dataclass(frozen=True)
class Optimism:
    """Accuracy on features with a random split and with each group in one split.

    `groups` counts groups of at least two images. `source` is their origin.
    """

    groups: int
    images: int
    random: float
    grouped: float
    source: str

    def to_dict(self) -> OptimismValues:
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


def optimism(
    values: Tensor, labels: Tensor, classes: int, groups: Tensor, source: str
) -> Optimism | None:
    """The inflation of a random split, from features float16 n,D and group numbers n.

    None if fewer than FEWEST images share a group with another.
    """
    counts = torch.bincount(groups)
    shared = counts >= 2
    if int(counts[shared].sum()) < FEWEST or int(shared.sum()) < 2:
        return None
    ridge = Ridge.fit(values, labels, classes)
    random, grouped = 0, 0
    for rows in whole_groups(groups):
        count = ridge.correct_in_large_group if len(rows) > MOST else ridge.correct_in_groups
        alone, together = count(rows, groups)
        random += alone
        grouped += together
    return Optimism(
        int(shared.sum()),
        int(counts[shared].sum()),
        random / len(values),
        grouped / len(values),
        source,
    )


@dataclass(frozen=True, eq=False)
class Ridge:
    """A ridge classifier on features, and its predictions without an image or its group.

    With G = `design` of the images of a group, their part of the hat matrix is Gᵀ·G.
    """

    values: Tensor  # float16 n,D
    labels: Tensor
    standardise: Standardiser
    targets: Tensor  # n,K
    coefficients: Tensor  # D,K
    lower: Tensor  # D,D: of the Cholesky factorisation

    @classmethod
    def fit(cls, values: Tensor, labels: Tensor, classes: int) -> Ridge:
        """Fit to features float16 n,D."""
        standardise = Standardiser.of(values)
        targets = functional.one_hot(labels, classes).float()
        gram, moments = normal_equations(values, standardise, targets - targets.mean(0))
        coefficients, lower = factorised(gram, moments, PENALTY * len(values))
        return cls(values, labels, standardise, targets, coefficients, lower)

    def design(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """G D+1,m of some images, and their residuals m,K."""
        inputs = self.standardise(self.values[rows])
        solved = torch.linalg.solve_triangular(self.lower, inputs.T, upper=False)
        constant = torch.full((1, len(rows)), len(self.values) ** -0.5)
        residuals = self.targets[rows] - self.targets.mean(0) - inputs @ self.coefficients
        return torch.cat([solved, constant]), residuals

    def correct(self, rows: Tensor, residuals: Tensor) -> int:
        """How many images are classified correctly, by the residuals without them."""
        return int(((self.targets[rows] - residuals).argmax(1) == self.labels[rows]).sum())

    def correct_alone(self, rows: Tensor, design: Tensor, residuals: Tensor) -> int:
        """How many are classified correctly when each is left out alone."""
        own = (1 - design.square().sum(0)).clamp_min(1e-4)
        return self.correct(rows, residuals / own[:, None])

    def correct_in_groups(self, rows: Tensor, groups: Tensor) -> tuple[int, int]:
        """Images classified correctly when left out alone, and when left out with their groups."""
        design, residuals = self.design(rows)
        same = groups[rows][:, None] == groups[rows]
        # Groups do not touch each other, so that one system holds them all.
        left_out = SLIGHTLY_MORE * torch.eye(len(rows)) - (design.T @ design) * same
        together = torch.linalg.solve(left_out, residuals)
        alone = self.correct_alone(rows, design, residuals)
        return alone, self.correct(rows, together)

    def correct_in_large_group(self, rows: Tensor, groups: Tensor) -> tuple[int, int]:
        """The same for a single group, in parts of it and without a matrix m,m.

        (c - GᵀG)⁻¹r = (r + Gᵀ(c - GGᵀ)⁻¹Gr) / c, whose system has D+1 rows.
        """
        assert bool((groups[rows] == groups[rows[0]]).all())
        size = len(self.lower) + 1
        system = SLIGHTLY_MORE * torch.eye(size, dtype=torch.float64)
        right = torch.zeros(size, self.targets.shape[1], dtype=torch.float64)
        alone = 0
        for part in torch.split(rows, MOST):
            design, residuals = self.design(part)
            alone += self.correct_alone(part, design, residuals)
            system -= (design @ design.T).double()
            right += (design @ residuals).double()
        solved = torch.linalg.solve(system, right).float()
        together = 0
        for part in torch.split(rows, MOST):
            design, residuals = self.design(part)
            together += self.correct(part, (residuals + design.T @ solved) / SLIGHTLY_MORE)
        return alone, together


def whole_groups(groups: Tensor, most: int = MOST) -> list[Tensor]:
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
