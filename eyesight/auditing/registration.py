"""Registration of two images: fine scaling and shifting of one onto the other.

A near duplicate agrees everywhere once it is registered. Two drawings or two solar cells that only
resemble each other still differ somewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

STEPS = 4  # of Gauss-Newton
LARGEST_STEP = 0.05  # of half the side
LARGEST = 0.06  # scaling and shift in all, of half the side
MARGIN = 2  # pixels at each side, which may lie outside one of the images
BLOCK = 4  # side of the squares that must agree
FAINT = 20.0  # variance in grey levels² below which noise decides
DAMPING = 1e-4
CONTRAST = 1.7  # times that of the other image, at most; a bold letter has twice that of a thin one


def registered(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The grey images n,H,W after one of each pair was registered with the other.

    The image that has to be enlarged is the one that is moved.
    """
    moved, first = best_match(one, other)
    back, second = best_match(other, one)
    turn = (second > first)[:, None, None]
    return torch.where(turn, back, moved), torch.where(turn, one, other)


def best_match(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """`one` after it was scaled and shifted onto `other`, and their correlation n."""
    best, score = one, agreement(one, other)
    parameters = torch.zeros(len(one), 4)
    moved = one
    for _ in range(STEPS):
        step = gauss_newton(moved, other).clamp(-LARGEST_STEP, LARGEST_STEP)
        parameters = (parameters + step).clamp(-LARGEST, LARGEST)
        moved = warped(one, parameters)
        now = agreement(moved, other)
        better = now > score
        best = torch.where(better[:, None, None], moved, best)
        score = torch.where(better, now, score)
    return best, score


def warped(values: Tensor, parameters: Tensor) -> Tensor:
    """Grey images n,H,W, scaled and shifted by parameters n,4: across, then down."""
    matrix = torch.zeros(len(values), 2, 3)
    matrix[:, 0, 0] = 1 + parameters[:, 0]
    matrix[:, 0, 2] = parameters[:, 1]
    matrix[:, 1, 1] = 1 + parameters[:, 2]
    matrix[:, 1, 2] = parameters[:, 3]
    places = functional.affine_grid(matrix, [len(values), 1, *values.shape[1:]], False)
    moved = functional.grid_sample(
        values[:, None], places, padding_mode="border", align_corners=False
    )
    return moved[:, 0]


def gauss_newton(moved: Tensor, other: Tensor) -> Tensor:
    """The step n,4 that brings images n,S,S closest to others of any brightness and contrast."""
    side = moved.shape[-1]
    across = torch.zeros_like(moved)
    down = torch.zeros_like(moved)
    across[:, :, 1:-1] = (moved[:, :, 2:] - moved[:, :, :-2]) * side / 4
    down[:, 1:-1] = (moved[:, 2:] - moved[:, :-2]) * side / 4
    places = (torch.arange(side) * 2 + 1) / side - 1
    columns = (
        across * places,
        across,
        down * places[:, None],
        down,
        moved,
        torch.ones_like(moved),
    )
    design = torch.stack([inner(column) for column in columns], 2)
    system = design.transpose(1, 2) @ design
    size = system.diagonal(dim1=1, dim2=2).sqrt().clamp_min(1e-3)
    system = system / size[:, :, None] / size[:, None, :] + DAMPING * torch.eye(len(columns))
    right = (design.transpose(1, 2) @ inner(other)[:, :, None])[:, :, 0] / size
    solved = torch.linalg.solve(system, right[:, :, None])[:, :, 0] / size
    contrast = solved[:, 4:5]
    contrast = torch.where(contrast.abs() < 0.2, torch.ones_like(contrast), contrast)
    step: Tensor = solved[:, :4] / contrast
    return step


def inner(values: Tensor) -> Tensor:
    """The pixels n,P of images n,S,S that are not at a side."""
    return values[:, MARGIN:-MARGIN, MARGIN:-MARGIN].flatten(1)


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """The correlation n of images n,S,S."""
    first, second = centred(inner(one)), centred(inner(other))
    lengths: Tensor = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(
        second, dim=1
    )
    return (first * second).sum(1) / lengths.clamp_min(1.0)


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """The largest squared difference n in any square of images n,S,S, of their variance.

    Brightness may differ, and contrast up to CONTRAST.
    """
    first, second = centred(inner(one)), centred(inner(other))
    contrast = (first * second).sum(1) / first.square().sum(1).clamp_min(1.0)
    contrast = contrast.clamp(1 / CONTRAST, CONTRAST)
    difference = (contrast[:, None] * first - second).square()
    side = one.shape[-1] - 2 * MARGIN
    squares = functional.avg_pool2d(difference.reshape(-1, 1, side, side), BLOCK, BLOCK // 2)
    largest: Tensor = squares.flatten(1).amax(1)
    return largest / second.square().mean(1).clamp_min(FAINT)


def centred(values: Tensor) -> Tensor:
    """Rows n,P about their mean."""
    return values - values.mean(1, keepdim=True)
