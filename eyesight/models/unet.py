"""Networks that give a class for every pixel: features of several depths, joined again from the coarsest to the finest.

No layer is dense: the last convolution emits the map, so a picture of any size has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.models.backbone import Backbone
from eyesight.models.layers import Network, Shape

FINE = 160  # pictures whose shorter side is longer than this get maps half as high and wide, enlarged: edges lose half a pixel


class Mapper(Network):
    """Body: features from fine to coarse; neck: joins them; head: the last convolution, which emits a map of logits for each class."""

    emits = "mask"

    def __init__(self, shape: Shape, body: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__(shape, body, head)
        self.neck = neck

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits N,K,H,W, one map a class; of large pictures half as high and wide while it learns.

        Eleven maps of 480×360 are 30 million numbers for a batch of 16: to enlarge, to lose on, and the same backwards.
        """
        features = self.neck(self.body(self.normalise(pictures)))
        with torch.autocast(features.device.type, enabled=False):
            maps: Tensor = self.head(features.float())
            high, wide = pictures.shape[2:]
            if maps.shape[2] >= high:
                return maps[:, :, :high, :wide]
            if self.training and min(high, wide) > FINE:
                return maps
            return functional.interpolate(
                maps, size=pictures.shape[2:], mode="bilinear", align_corners=False
            )


def convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, normalised, with its activation."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class Quarters(nn.Module):
    """A convolution to four times the maps, laid side by side so that each place becomes four (Shi et al. 2016).

    So no layer has to work at the picture's own size, where there is little to compute and most to move.
    """

    def __init__(self, before: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 4 * classes, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """N,C,H,W to N,classes,2H,2W."""
        return functional.pixel_shuffle(self.conv(features), 2)


class Pyramid(nn.Module):
    """Stages one after another, the features of each handed out, from fine to coarse."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures to the features of every stage."""
        found = [self.stages[0](pictures)]
        for stage in self.stages[1:]:
            found.append(stage(found[-1]))
        return found


class Tapped(Backbone):
    """A pretrained chain that hands out the features with which each of its stages ends; it is frozen like any other."""

    @property
    def ends(self) -> list[int]:
        """The last unit of every stage."""
        return [start - 1 for start in sorted(self.stages.values()) if start] + [
            len(self.units) - 1
        ]

    def forward(self, pictures: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Normalised pictures to the features of every stage, from fine to coarse."""
        found = []
        for place, unit in enumerate(self.units):
            pictures = unit(pictures)
            if place in self.ends:
                found.append(pictures)
        return found


class Join(nn.Module):
    """From coarse to fine: enlarge, set beside the finer features (the skip connection), convolve."""

    def __init__(self, depths: Sequence[int], filters: Sequence[int]) -> None:
        """`depths` and `filters` from fine to coarse: channels that come in, and channels after joining there."""
        super().__init__()
        self.steps = nn.ModuleList(
            convolution(
                depths[place] + (filters[place + 1] if place + 2 < len(depths) else depths[-1]),
                filters[place],
            )
            for place in range(len(depths) - 1)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features from fine to coarse to one map of features as large as the finest."""
        joined = features[-1]
        for place in range(len(features) - 2, -1, -1):
            grown = functional.interpolate(joined, size=features[place].shape[2:], mode="nearest")
            joined = self.steps[place](torch.cat([features[place], grown], 1))
        return joined


def skips(
    shape: Shape, classes: int, *, width: float = 1.0, depth: int = 1, dropout: float = 0.0
) -> Mapper:
    """From scratch: stages that halve the picture, all but the first of `depth` convolutions more; joined by skip connections."""
    large = min(shape[1:]) > FINE
    filters = [
        8 * max(1, round(count * width / 8))
        for count in ((16,) if large else ()) + (32, 64, 96, 128)
    ]
    stages: list[nn.Module] = [convolution(shape[0], filters[0], kernel=5, stride=2)]
    for before, after in pairwise(filters):
        stages.append(
            nn.Sequential(
                convolution(before, after, stride=2),
                *(convolution(after, after) for _ in range(depth)),
            )
        )
    neck = nn.Sequential(
        Join(filters, filters), nn.Dropout2d(dropout) if dropout else nn.Identity()
    )
    head = nn.Conv2d(filters[0], classes, 1) if large else Quarters(filters[0], classes)
    network = Mapper(shape, Pyramid(stages), neck, nn.Sequential(head))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def on_backbone(
    shape: Shape, classes: int, body: Tapped, depths: Sequence[int], filters: int
) -> Mapper:
    """A pretrained chain with skip connections behind it, each joined in at most `filters` channels; `depths` are those of its stages."""
    kept = [min(filters, count) for count in depths]
    return Mapper(shape, body, Join(depths, kept), nn.Sequential(nn.Conv2d(kept[0], classes, 1)))
