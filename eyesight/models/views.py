"""Test-time views of an image, whose predictions are averaged."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Views = Literal["one", "flip", "shifts", "flip_shifts"]


def augmented_views(pictures: Tensor, views: Views) -> list[Tensor]:
    """The views of a batch N,C,H,W.

    "one" is the batch itself, "flip" adds its mirror image, "shifts" moves it by a pixel along four
    diagonals, and "flip_shifts" moves it along two and mirrors all.
    """
    if views == "one":
        return [pictures]
    if views == "flip":
        return [pictures, pictures.flip(3)]
    padded = torch.nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    height, width = pictures.shape[2:]
    offsets = [(0, 0), (0, 2), (2, 0), (2, 2)]
    if views == "flip_shifts":
        offsets = [(0, 0), (2, 2)]
    versions = [pictures]
    for top, left in offsets:
        versions.append(padded[:, :, top : top + height, left : left + width])
    if views == "flip_shifts":
        versions += [version.flip(3) for version in versions]
    return versions
