"""A network that restores a picture from the few numbers of its bottleneck: an encoder that shrinks, and its mirror image.

Growing is a convolution to four times the filters whose values are then laid side by side (Shi et al. 2016): no place is computed twice.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.errors import UserError
from eyesight.models.layers import Flatten, Network, Shape

SMALLEST = 8  # side in pixels from which on the encoder shrinks no further
UNITS = 1024  # of the dense layers on either side of the bottleneck


class AutoEncoder(Network):
    """Body: pictures to codes N,B; neck: codes to features; head: the last convolution, which emits logits of the picture's values."""

    emits = "picture"

    def __init__(self, shape: Shape, body: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__(shape, body, head)
        self.neck = neck

    def code_of(self, pictures: Tensor) -> Tensor:
        """The numbers in the bottleneck, N,B, of pictures from 0 to 1 or uint8, in evaluation mode."""
        training = self.training
        with torch.no_grad():
            codes: Tensor = self.eval().body(self.normalise(pictures))
        self.train(training)
        return codes

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of the restored values, N,C,H,W."""
        features = self.neck(self.body(self.normalise(pictures)))
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def answer(self, outputs: Tensor) -> Tensor:
        """The restored picture, from 0 to 1."""
        return outputs.sigmoid()


class Grow(nn.Module):
    """A convolution, its values laid side by side so that the sides double, cut to `size`."""

    def __init__(self, filters: int, after: int, size: tuple[int, int], kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, 4 * after, kernel, padding=kernel // 2)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,after,2H,2W or a row and a column less."""
        grown = functional.pixel_shuffle(self.conv(x), 2)
        return grown[:, :, : self.size[0], : self.size[1]].contiguous(
            memory_format=torch.channels_last
        )


class Unflatten(nn.Module):
    """N,H·W·C to N,C,H,W, in the order in which `Flatten` took them apart."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Channels last, without a copy."""
        channels, height, width = self.shape
        return x.view(-1, height, width, channels).permute(0, 3, 1, 2)


def autoencoder(shape: Shape, channels: int, *, code: int = 32, width: float = 1.0) -> AutoEncoder:
    """Convolutions that halve the picture until it has 8 pixels a side, a dense layer, `code` numbers, and the same backwards.

    6,595,012 parameters on 28×28×1, most of them dense, where they cost least.
    """
    if code < 1:
        raise UserError(
            f"a bottleneck lets at least one number through, not {code}",
            "--set model.code=32",
            code=2,
        )
    sizes, filters = [shape[1:]], [shape[0]]
    while min(sizes[-1]) > SMALLEST:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        filters.append(8 * max(1, round(4 * width)) * 2 ** min(2, len(filters) - 1))
    down: list[nn.Module] = []
    for before, after in pairwise(filters):
        kernel = 5 if before == shape[0] else 3
        down += [
            nn.Conv2d(before, after, kernel, 2, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    last = (filters[-1], *sizes[-1])
    values, units = last[0] * last[1] * last[2], round(UNITS * width)
    down += [Flatten(), *dense(values, units), nn.Linear(units, code)]
    up: list[nn.Module] = [*dense(code, units), *dense(units, values), Unflatten(last)]
    for place in range(len(filters) - 1, 1, -1):
        after = filters[place - 1]
        up += [
            Grow(filters[place], after, _pair(sizes[place - 1])),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    head = (
        Grow(filters[1], channels, _pair(sizes[0]), 5)
        if len(filters) > 1
        else nn.Conv2d(last[0], channels, 3, padding=1)
    )
    return AutoEncoder(shape, nn.Sequential(*down), nn.Sequential(*up), nn.Sequential(head))


def dense(before: int, after: int) -> list[nn.Module]:
    """A dense layer, normalised, with its activation."""
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]


def _pair(size: Shape) -> tuple[int, int]:
    height, width = size
    return height, width
