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

from eyesight.auditing.alignment import WHOLE, alignments, cut, unit, window_grids
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
ROWS = 512  # of which the similarities to all images are held at a time
GROUP = 16  # similarities of which only the largest is looked at first
SIDES = (8, 16)  # at which two images are laid over each other; the first rules most strangers out
FINE = 32  # side at which they are compared
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
    small = small_grey(pixels)
    first, second = candidates(pixels, features, progress)
    pairs: list[Pair] = []
    compared = 0
    while compared < len(first) and time.monotonic() <= deadline:
        rows = slice(compared, compared + PAIRS)
        pairs += verify(pixels, small, first[rows], second[rows])
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
    reused = torch.empty(ROWS, count)  # a new one for each product takes as long as the product
    for rows in torch.split(torch.arange(count), ROWS):
        similarity = torch.matmul(queries[rows], database.T, out=reused[: len(rows)])
        similarity[torch.arange(len(rows)), rows] = -1.0
        values, nearest = largest(similarity, most)
        here = rows[:, None].expand_as(nearest)[values >= minimum]
        there = nearest[values >= minimum]
        keys.append(torch.minimum(here, there) * count + torch.maximum(here, there))
    return distinct(torch.cat(keys))


def largest(values: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The `most` largest values of each row and their columns.

    Four times as fast as topk on long rows: the largest values lie in the groups of columns whose
    maxima are the largest, so only those are sorted.
    """
    rows, columns = values.shape
    count = columns // GROUP
    if count <= most:
        return torch.topk(values, most)
    grouped = values[:, : count * GROUP].reshape(rows, GROUP, count)
    groups = grouped.amax(1).topk(most).indices
    members = (groups[:, :, None] + torch.arange(GROUP) * count).flatten(1)
    rest = torch.arange(count * GROUP, columns).expand(rows, -1)
    members = torch.cat([members, rest], 1)
    best, place = values.gather(1, members).topk(most)
    return best, members.gather(1, place)


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


def small_grey(pixels: Tensor) -> list[Tensor]:
    """Grey images n,S,S for each S of SIDES."""
    parts = [part.float().mean(1) for part in torch.split(pixels, CHUNK)]
    return [
        torch.cat([functional.adaptive_avg_pool2d(part, side) for part in parts]) for side in SIDES
    ]


def verify(pixels: Tensor, small: list[Tensor], first: Tensor, second: Tensor) -> list[Pair]:
    """The pairs whose pixels match after alignment; `small` are the images as small grey ones.

    The smallest tell strangers and mirrored images, the larger ones the alignment.
    """
    coarse, finer = small
    plain = alignments(coarse[first], coarse[second]).amax(1)
    flipped = alignments(coarse[first], coarse[second].flip(2)).amax(1)
    likely = torch.nonzero(torch.maximum(plain, flipped) >= MINIMUM_COARSE)[:, 0]
    first, second, mirrored = first[likely], second[likely], (flipped > plain)[likely]
    other = torch.where(mirrored[:, None, None], finer[second].flip(2), finer[second])
    score, choice = alignments(finer[first], other).max(1)
    likely = torch.nonzero(score >= MINIMUM_COARSE)[:, 0]
    return compare(pixels, first[likely], second[likely], mirrored[likely], choice[likely])


def compare(
    pixels: Tensor, first: Tensor, second: Tensor, mirrored: Tensor, choice: Tensor
) -> list[Pair]:
    """The pairs whose colours and detail correlate in their chosen one of `alignments`."""
    windows = len(window_grids())
    other = pixels[second].float()
    other = torch.where(mirrored[:, None, None, None], other.flip(3), other)
    left = cut(pixels[first].float(), torch.where(choice < windows, choice, WHOLE))
    right = cut(other, torch.where(choice < windows, WHOLE, choice - windows))
    colour = correlation(left, right)
    fine = correlation(detail(left), detail(right))
    matching = torch.nonzero((colour >= MINIMUM_COLOUR) & (fine >= MINIMUM_DETAIL))[:, 0]
    agree, differ = agreement_everywhere(left[matching], right[matching])
    kept = (agree >= MINIMUM_AGREEMENT) & (differ <= MAXIMUM_DISAGREEMENT)
    pairs = []
    for row, difference in zip(matching[kept].tolist(), differ[kept].tolist(), strict=True):
        similarity = float((colour[row] + fine[row]) / 2)
        pairs.append(
            Pair(int(first[row]), int(second[row]), similarity, bool(mirrored[row]), difference)
        )
    return pairs


def agreement_everywhere(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Agreement and disagreement n of aligned images n,C,H,W once they are registered."""
    moved, still = registered(averaged(one.mean(1), 3), averaged(other.mean(1), 3))
    return agreement(moved, still), disagreement(moved, still)


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
