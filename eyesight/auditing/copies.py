"""Near duplicates: images that were rescaled, recompressed, cropped, flipped or brightened.

Candidates are the nearest neighbours of each image by features and by small grey thumbnails, also
flipped. Each candidate is verified by its pixels: the images are aligned with crops of up to a
tenth and must correlate in colour and in fine detail, which separates two empty skies. After
registration they must agree in every place, which separates drawings that resemble each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing.features import Features
from eyesight.auditing.labels import CHUNK, Standardiser
from eyesight.auditing.registration import agreement, disagreement, registered
from eyesight.data.images import Images
from eyesight.system.progress import Progress

NEIGHBOURS = 4  # of each image are looked at
COMPONENTS = 128  # principal ones of the features, in which neighbours are sought
MINIMUM_COSINE = 0.6  # of features: 99 of 100 crops of a tenth and mirror images lie above .72
MINIMUM_THUMBNAIL = 0.93  # correlation of thumbnails
THUMBNAIL = 8  # side
COARSE = 16  # side at which two images are laid over each other
FINE = 32  # side at which they are compared
CROP = 0.9  # of the side is left by the largest crop that counts as a copy
OFFSETS = (0.0, 0.25, 0.5, 0.75, 1.0)  # where such a crop may lie, from one border to the other
MINIMUM_COARSE = 0.8  # correlation of the grey images in the best alignment
MINIMUM_COLOUR = 0.85  # correlation of colours
# Correlation of what is left without the local mean: below it strangers begin (CIFAR-10, looked at)
MINIMUM_DETAIL = 0.88
# After registration: recall of planted copies is .990 on CIFAR-10 and .997 on dogs, precision 1
MINIMUM_AGREEMENT = 0.975
MAXIMUM_DISAGREEMENT = 0.4
# Pairs that disagree more are doubtful. If they are usual, images of the set often look alike: of
# MNIST, 97 of 100 planted copies disagree less, and 5 of 100 pairs that only look alike.
CERTAIN_DISAGREEMENT = 0.12
USUAL = 0.02  # doubtful pairs for each image, above which they are left out
FEW = 10  # doubtful pairs that are always listed
PAIRS = 1024  # verified at a time


@dataclass(frozen=True)
class Pair:
    """Two near duplicates (indices in the data) and their similarity, at most 1.

    `disagreement` is 0 where the images are alike in every place.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool
    disagreement: float = 0.0


@dataclass(frozen=True)
class Found:
    """The near duplicates, most similar first, and those too doubtful to list.

    `compared` of `candidates` pairs were compared in time.
    """

    pairs: list[Pair]
    candidates: int
    compared: int
    doubtful: list[Pair]


def find_pairs(
    images: Images, features: Features, progress: Progress, deadline: float = math.inf
) -> Found:
    """Compare images with features until `deadline`, one of time.monotonic()."""
    pixels = fine_images(images, features.index)
    first, second = candidates(pixels, features, progress)
    pairs: list[Pair] = []
    compared = 0
    while compared < len(first) and time.monotonic() <= deadline:
        rows = slice(compared, compared + PAIRS)
        pairs += verify(pixels, first[rows], second[rows])
        compared = min(len(first), compared + PAIRS)
    index = features.index
    placed = [
        replace(pair, first=int(index[pair.first]), second=int(index[pair.second]))
        for pair in pairs
    ]
    placed.sort(key=lambda pair: -pair.similarity)
    listed, doubtful = without_look_alikes(placed, len(pixels))
    return Found(listed, len(first), compared, doubtful)


def fine_images(images: Images, index: Tensor) -> Tensor:
    """The images as uint8 n,3,FINE,FINE."""
    parts = []
    for rows in torch.split(index, 512):
        values = images.take(rows)
        if values.shape[1] == 1:
            values = values.expand(-1, 3, -1, -1)
        if values.shape[2:] != (FINE, FINE):
            values = resized(values.float(), FINE).round().clamp(0, 255).to(torch.uint8)
        parts.append(values)
    return torch.cat(parts)


def resized(values: Tensor, side: int) -> Tensor:
    """Resize floats n,C,H,W, with smoothing when downsampling."""
    return functional.interpolate(values, (side, side), mode="bilinear", antialias=True)


def candidates(pixels: Tensor, features: Features, progress: Progress) -> tuple[Tensor, Tensor]:
    """Candidate pairs of rows without repetitions, smaller row first."""
    described = descriptors(features)
    plain = thumbnails(pixels)
    mirrored = thumbnails(pixels.flip(3))
    searches = (
        (described, described, MINIMUM_COSINE),
        (plain, plain, MINIMUM_THUMBNAIL),
        (mirrored, plain, MINIMUM_THUMBNAIL),
    )
    keys = []
    for step, (queries, database, minimum) in enumerate(searches):
        keys.append(neighbours(queries, database, minimum))
        progress(step + 1, len(searches))
    unique = distinct(torch.cat(keys))
    return unique // len(pixels), unique % len(pixels)


def descriptors(features: Features) -> Tensor:
    """Unit vectors n,COMPONENTS: the principal components of the features of the middle depths."""
    values = features.values[:, : features.middle]
    standardise = Standardiser.of(values)
    width = values.shape[1]
    covariance = torch.zeros(width, width)
    for part in torch.split(values, CHUNK):
        numbers = functional.normalize(standardise(part), dim=1)
        covariance += numbers.T @ numbers
    directions = torch.linalg.eigh(covariance.double())[1][:, -COMPONENTS:].float()
    parts = [standardise(part) @ directions for part in torch.split(values, CHUNK)]
    return functional.normalize(torch.cat(parts), dim=1)


def thumbnails(pixels: Tensor) -> Tensor:
    """Grey thumbnails as unit vectors of mean 0, n,THUMBNAIL²; those of flat images are 0."""
    parts = []
    for part in torch.split(pixels, CHUNK):
        grey = part.float().mean(1, keepdim=True)
        small = functional.adaptive_avg_pool2d(grey, THUMBNAIL).flatten(1)
        parts.append(unit(small))
    return torch.cat(parts)


def neighbours(queries: Tensor, database: Tensor, minimum: float) -> Tensor:
    """Keys small·n + large of the pairs of a row and one of its nearest other rows.

    Pairs less similar than `minimum` are left out.
    """
    count = len(database)
    most = min(NEIGHBOURS, count - 1)
    if most < 1:
        return torch.empty(0, dtype=torch.int64)
    keys = []
    for rows in torch.split(torch.arange(count), 1024):
        similarity = queries[rows] @ database.T
        similarity[torch.arange(len(rows)), rows] = -1.0
        values, nearest = similarity.topk(most, dim=1)
        here = rows[:, None].expand_as(nearest)[values >= minimum]
        there = nearest[values >= minimum]
        keys.append(torch.minimum(here, there) * count + torch.maximum(here, there))
    return distinct(torch.cat(keys))


def distinct(keys: Tensor) -> Tensor:
    """Each key once, ascending."""
    ordered = keys.sort().values
    first = torch.ones(len(ordered), dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def without_look_alikes(pairs: list[Pair], images: int) -> tuple[list[Pair], list[Pair]]:
    """The pairs to list, and the doubtful ones where those are usual: digits look alike."""
    certain = [pair for pair in pairs if pair.disagreement <= CERTAIN_DISAGREEMENT]
    doubtful = [pair for pair in pairs if pair.disagreement > CERTAIN_DISAGREEMENT]
    if len(doubtful) <= max(FEW, USUAL * images):
        return pairs, []
    return certain, doubtful


def verify(pixels: Tensor, first: Tensor, second: Tensor) -> list[Pair]:
    """The pairs whose pixels match after alignment."""
    one = pixels[first].float()
    other = pixels[second].float()
    left = functional.adaptive_avg_pool2d(one, COARSE).mean(1)
    right = functional.adaptive_avg_pool2d(other, COARSE).mean(1)
    score, choice = alignments(left, right).max(1)
    rows = torch.nonzero(score >= MINIMUM_COARSE)[:, 0]
    return compare(one[rows], other[rows], first[rows], second[rows], choice[rows])


def alignments(left: Tensor, right: Tensor) -> Tensor:
    """Correlations of grey images n,COARSE,COARSE in every alignment that counts, n,4·windows.

    First come the windows of the left image on the whole right one and those of the right image on
    the whole left one, then both with the right image mirrored.
    """
    matrix = window_matrix()
    left_windows = windowed(left, matrix)
    blocks = []
    for turned in (right, right.flip(2)):
        blocks.append(torch.bmm(left_windows, unit(turned.flatten(1))[:, :, None])[:, :, 0])
        blocks.append(
            torch.bmm(windowed(turned, matrix), unit(left.flatten(1))[:, :, None])[:, :, 0]
        )
    return torch.cat(blocks, 1)


def window_matrix() -> Tensor:
    """The linear map from an image COARSE² to all its windows, COARSE²,windows·COARSE²."""
    basis = torch.eye(COARSE * COARSE).reshape(-1, 1, COARSE, COARSE)
    return torch.cat([cut(basis, grid).flatten(1) for grid in window_grids()], 1)


def windowed(values: Tensor, matrix: Tensor) -> Tensor:
    """All windows of grey images n,COARSE,COARSE as unit vectors of mean 0, n,windows,COARSE²."""
    windows = values.flatten(1) @ matrix
    size = COARSE * COARSE
    return unit(windows.reshape(len(values), matrix.shape[1] // size, size))


def unit(values: Tensor) -> Tensor:
    """Vectors with mean 0 and length 1 along the last axis; flat ones stay near 0."""
    centred = values - values.mean(-1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return centred / length.clamp_min(1.0)


def compare(
    one: Tensor, other: Tensor, first: Tensor, second: Tensor, choice: Tensor
) -> list[Pair]:
    """The pairs whose colours and detail correlate in their best alignment."""
    windows = window_grids()
    pairs = []
    for number in sorted(set(choice.tolist())):
        rows = torch.nonzero(choice == number)[:, 0]
        block = number // len(windows)
        grid = windows[number % len(windows)]
        mirrored = block >= 2
        a = one[rows]
        b = other[rows].flip(3) if mirrored else other[rows]
        if block % 2 == 0:
            a = cut(a, grid)
        else:
            b = cut(b, grid)
        colour = correlation(a, b)
        fine = correlation(detail(a), detail(b))
        copies = (colour >= MINIMUM_COLOUR) & (fine >= MINIMUM_DETAIL)
        if not bool(copies.any()):
            continue
        matching = torch.nonzero(copies)[:, 0]
        agree, differ = agreement_everywhere(a[matching], b[matching])
        kept = (agree >= MINIMUM_AGREEMENT) & (differ <= MAXIMUM_DISAGREEMENT)
        for place, difference in zip(matching[kept].tolist(), differ[kept].tolist(), strict=True):
            row = int(rows[place])
            similarity = float((colour[place] + fine[place]) / 2)
            pairs.append(Pair(int(first[row]), int(second[row]), similarity, mirrored, difference))
    return pairs


def agreement_everywhere(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Agreement and disagreement n of aligned images n,C,H,W once they are registered."""
    moved, still = registered(averaged(one.mean(1), 3), averaged(other.mean(1), 3))
    return agreement(moved, still), disagreement(moved, still)


def window_grids() -> list[tuple[float, float, float]]:
    """(scale, x, y) of the whole image and of the crops that may be laid over another image."""
    grids = [(1.0, 0.0, 0.0)]
    for y in OFFSETS:
        for x in OFFSETS:
            grids.append((CROP, (2 * x - 1) * (1 - CROP), (2 * y - 1) * (1 - CROP)))
    return grids


def cut(values: Tensor, grid: tuple[float, float, float]) -> Tensor:
    """The window of floats n,C,H,W, enlarged to their side."""
    scale, x, y = grid
    if scale == 1.0:
        return values
    matrix = torch.tensor([[scale, 0.0, x], [0.0, scale, y]]).expand(len(values), 2, 3)
    places = functional.affine_grid(matrix, list(values.shape), align_corners=False)
    return functional.grid_sample(
        values, places, mode="bilinear", padding_mode="border", align_corners=False
    )


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Correlation n of images n,C,H,W, each channel about its own mean."""
    one = (one - one.mean((2, 3), keepdim=True)).flatten(1)
    other = (other - other.mean((2, 3), keepdim=True)).flatten(1)
    lengths: Tensor = torch.linalg.vector_norm(one, dim=1) * torch.linalg.vector_norm(other, dim=1)
    return (one * other).sum(1) / lengths.clamp_min(1.0)


def detail(values: Tensor) -> Tensor:
    """The images n,C,FINE,FINE, lightly smoothed, without their local mean."""
    return averaged(values, 3) - averaged(values, 9)


def averaged(values: Tensor, width: int) -> Tensor:
    """The mean over a square of this width around each pixel.

    Two products are ten times as fast as pooling with stride 1.
    """
    places = torch.arange(values.shape[-1])
    near = (places[:, None] - places).abs() <= width // 2
    matrix = near / near.sum(1, keepdim=True)
    return matrix @ values @ matrix.T


def groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Connected images as groups of ascending indices, most similar pair first."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        parent.setdefault(place, place)
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for pair in pairs:
        parent[root(pair.first)] = root(pair.second)
    members: dict[int, list[int]] = {}
    for place in parent:
        members.setdefault(root(place), []).append(place)
    best: dict[int, float] = {}
    for pair in pairs:
        key = root(pair.first)
        best[key] = max(best.get(key, -1.0), pair.similarity)
    order = sorted(members, key=lambda key: -best[key])
    return [sorted(members[key]) for key in order]
