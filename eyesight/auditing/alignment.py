"""Alignment of two images: windows of one are laid over the other.

A window is the whole image or one of the largest crops that count as near duplicates.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

CROP = 0.9  # of the side is left by the largest crop that counts as a copy
WHOLE = 0  # place of the whole image among `window_grids`
OFFSETS = (0.0, 0.25, 0.5, 0.75, 1.0)  # where such a crop may lie, from one border to the other


def alignments(left: Tensor, right: Tensor) -> Tensor:
    """Correlations of grey images n,S,S in every alignment that counts, n,2·windows.

    First come the windows of the left image over the whole right one, then those of the right image
    over the whole left one.
    """
    return torch.cat([on_windows(windowed(left), right), on_windows(windowed(right), left)], 1)


def on_windows(windows: Tensor, whole: Tensor) -> Tensor:
    """Correlations n,windows of the windows of one image with the whole of another, n,S,S."""
    products = torch.bmm(windows, unit(whole.flatten(1))[:, :, None])[:, :, 0]
    lengths: Tensor = torch.linalg.vector_norm(windows, dim=2)
    return products / lengths.clamp_min(1.0)


def windowed(values: Tensor) -> Tensor:
    """All windows of grey images n,S,S about their means, n,windows,S²."""
    size = values.shape[1] * values.shape[2]
    return (values.flatten(1) @ window_matrix(values.shape[-1])).reshape(len(values), -1, size)


@functools.cache
def window_matrix(side: int) -> Tensor:
    """The map from an image of side² pixels to all its windows about their means, side²,W·side²."""
    basis = torch.eye(side * side).reshape(-1, 1, side, side)
    windows = [window(basis, grid).flatten(1) for grid in window_grids()]
    return torch.cat([one - one.mean(1, keepdim=True) for one in windows], 1)


def unit(values: Tensor) -> Tensor:
    """Vectors with mean 0 and length 1 along the last axis; flat ones stay near 0."""
    centred = values - values.mean(-1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return centred / length.clamp_min(1.0)


def cut(values: Tensor, choice: Tensor) -> Tensor:
    """The chosen window of each of the floats n,C,S,S, enlarged to their side.

    Products with the weights of rows and columns are ten times as fast as grid_sample.
    """
    down, across = window_weights(values.shape[-1])
    return down[choice][:, None] @ values @ across[choice][:, None].transpose(2, 3)


@functools.cache
def window_weights(side: int) -> tuple[Tensor, Tensor]:
    """The weights windows,side,side of rows and of columns that make each window."""
    basis = torch.eye(side)[:, None]
    rows = basis[..., None].expand(-1, -1, -1, side)
    columns = basis[:, :, None].expand(-1, -1, side, -1)
    grids = window_grids()
    down = torch.stack([window(rows, grid)[:, 0, :, 0].T for grid in grids])
    across = torch.stack([window(columns, grid)[:, 0, 0].T for grid in grids])
    return down, across


def window(values: Tensor, grid: tuple[float, float, float]) -> Tensor:
    """The window of floats n,C,H,W, enlarged to their side."""
    scale, x, y = grid
    matrix = torch.tensor([[scale, 0.0, x], [0.0, scale, y]]).expand(len(values), 2, 3)
    places = functional.affine_grid(matrix, list(values.shape), align_corners=False)
    return functional.grid_sample(
        values, places, mode="bilinear", padding_mode="border", align_corners=False
    )


def window_grids() -> list[tuple[float, float, float]]:
    """(scale, x, y) of the whole image and of the crops that may be laid over another image."""
    grids = [(1.0, 0.0, 0.0)]
    for y in OFFSETS:
        for x in OFFSETS:
            grids.append((CROP, (2 * x - 1) * (1 - CROP), (2 * y - 1) * (1 - CROP)))
    return grids
