"""Segmentation networks: features of several stages, combined from coarse to fine.

They are fully convolutional, so images may have any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.models.backbone import Backbone
from eyesight.models.fast import initialise_normal
from eyesight.models.layers import Network, Shape

# Larger images get maps of half the size, upsampled; edges lose half a pixel.
FINE = 160


class Resize(nn.Module):
    """Interpolation to a given size."""

    shown_as = "Upsample"

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.settings = mode

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """N,C,H,W to N,C,*size."""
        align_corners = None if self.settings == "nearest" else False
        return functional.interpolate(x, size, mode=self.settings, align_corners=align_corners)


class Mapper(Network):
    """Body: features from fine to coarse; neck: fusion; head: a convolution to class maps."""

    emits = "mask"

    def __init__(self, shape: Shape, body: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__(shape, body, head)
        self.neck = neck
        self.enlarge = Resize("bilinear")

    def forward(self, pictures: Tensor) -> Tensor:
        """Images N,C,H,W to logits N,K,H,W; of large images half as high and wide in training.

        Eleven maps of 480×360 are 30 million numbers for a batch of 16, forward and backward.
        """
        features = self.neck(self.body(self.normalise(pictures)))
        height, width = pictures.shape[2:]
        with torch.autocast(features.device.type, enabled=False):
            maps: Tensor = self.head(features.float())
            if maps.shape[2] >= height:
                return maps[:, :, :height, :width]
            if self.training and min(height, width) > FINE:
                return maps
            enlarged: Tensor = self.enlarge(maps, (height, width))
            return enlarged


def convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class UpsampledMaps(nn.Module):
    """A convolution to four times the maps and a pixel shuffle (Shi et al. 2016).

    No layer then works at the image's own size, where there is little to compute and much to move.
    """

    def __init__(self, before: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 4 * classes, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """N,C,H,W to N,classes,2H,2W."""
        maps: Tensor = self.shuffle(self.conv(features))
        return maps


class Pyramid(nn.Module):
    """Stages in sequence that return the features of each, from fine to coarse."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Images to the features of every stage."""
        features = [self.stages[0](pictures)]
        for stage in self.stages[1:]:
            features.append(stage(features[-1]))
        return features


class Tapped(Backbone):
    """A pretrained sequential backbone that returns the features of each stage; can be frozen."""

    @property
    def ends(self) -> list[int]:
        """The index of the last unit of every stage."""
        starts = sorted(self.stages.values())
        return [start - 1 for start in starts if start > 0] + [len(self.units) - 1]

    def forward(self, pictures: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Normalised images to the features of every stage, from fine to coarse."""
        ends = self.ends
        features = []
        for index, unit in enumerate(self.units):
            pictures = unit(pictures)
            if index in ends:
                features.append(pictures)
        return features


class Join(nn.Module):
    """From coarse to fine: upsample, concatenate the finer features (skip connection), convolve."""

    def __init__(self, depths: Sequence[int], filters: Sequence[int]) -> None:
        """`depths` are the channels of the stages from fine to coarse, `filters` those joined."""
        super().__init__()
        steps = []
        for level in range(len(depths) - 1):
            coarsest = level + 2 == len(depths)
            coarser = depths[-1] if coarsest else filters[level + 1]
            steps.append(convolution(depths[level] + coarser, filters[level]))
        self.steps = nn.ModuleList(steps)
        self.upsample = Resize("nearest")

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features from fine to coarse to one map of features as large as the finest."""
        joined = features[-1]
        for level in range(len(features) - 2, -1, -1):
            finer = features[level]
            height, width = finer.shape[2:]
            upsampled = self.upsample(joined, (height, width))
            joined = self.steps[level](torch.cat([finer, upsampled], 1))
        return joined


def skips(
    shape: Shape, classes: int, *, width: float = 1.0, depth: int = 1, dropout: float = 0.0
) -> Mapper:
    """A segmentation network without pretraining: strided stages with skip connections.

    Every stage but the first has `depth` more convolutions.
    """
    large = min(shape[1:]) > FINE
    counts = (16, 32, 64, 96, 128) if large else (32, 64, 96, 128)
    filters = [8 * max(1, round(count * width / 8)) for count in counts]
    stages: list[nn.Module] = [convolution(shape[0], filters[0], kernel=5, stride=2)]
    for before, after in pairwise(filters):
        more = [convolution(after, after) for _ in range(depth)]
        stages.append(nn.Sequential(convolution(before, after, stride=2), *more))
    drop = nn.Dropout2d(dropout) if dropout else nn.Identity()
    neck = nn.Sequential(Join(filters, filters), drop)
    head: nn.Module = UpsampledMaps(filters[0], classes)
    if large:
        head = nn.Conv2d(filters[0], classes, 1)
    network = Mapper(shape, Pyramid(stages), neck, nn.Sequential(head))
    initialise_normal(network)
    return network


def on_backbone(
    shape: Shape, classes: int, body: Tapped, depths: Sequence[int], filters: int
) -> Mapper:
    """A pretrained sequential backbone with skip connections.

    `depths` are the channels of its stages, each combined in at most `filters`.
    """
    joined = [min(filters, count) for count in depths]
    head = nn.Sequential(nn.Conv2d(joined[0], classes, 1))
    return Mapper(shape, body, Join(depths, joined), head)
