"""Autoencoder: an encoder and a mirrored decoder around a bottleneck.

Upsampling is a convolution to four times the filters and a pixel shuffle (Shi et al. 2016).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from eyesight.errors import UserError
from eyesight.models.layers import Flatten, Network, Shape

SMALLEST = 8  # side in pixels at which downsampling ends
UNITS = 1024  # of the dense layers on either side of the bottleneck


class AutoEncoder(Network):
    """Body: images to codes N,B; neck: codes to features; head: a convolution to logits.

    The logits are those of the image's values.
    """

    emits = "picture"

    def __init__(self, shape: Shape, body: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__(shape, body, head)
        self.neck = neck

    def code_of(self, pictures: Tensor) -> Tensor:
        """The bottleneck N,B of images N,C,H,W (0..1 or uint8), in evaluation mode."""
        training = self.training
        with torch.no_grad():
            codes: Tensor = self.eval().body(self.normalise(pictures))
        self.train(training)
        return codes

    def forward(self, pictures: Tensor) -> Tensor:
        """Images to logits of the reconstruction, N,C,H,W."""
        features = self.neck(self.body(self.normalise(pictures)))
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def answer(self, outputs: Tensor) -> Tensor:
        """Logits to the reconstruction, from 0 to 1."""
        return outputs.sigmoid()


class Upsample(nn.Module):
    """A convolution and a pixel shuffle that double the sides, cropped to `size`."""

    def __init__(self, filters: int, after: int, size: tuple[int, int], kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, 4 * after, kernel, padding=kernel // 2)
        self.shuffle = nn.PixelShuffle(2)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,after,2H,2W or a row and a column less."""
        height, width = self.size
        shuffled: Tensor = self.shuffle(self.conv(x))
        return shuffled[:, :, :height, :width].contiguous(memory_format=torch.channels_last)


class Unflatten(nn.Module):
    """N,H·W·C to N,C,H,W: the inverse of `Flatten`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Channels-last, without a copy."""
        channels, height, width = self.shape
        return x.view(-1, height, width, channels).permute(0, 3, 1, 2)


def autoencoder(shape: Shape, channels: int, *, code: int = 32, width: float = 1.0) -> AutoEncoder:
    """Strided convolutions down to 8 pixels a side, a dense layer, `code` numbers, and back.

    6,595,012 parameters on 28×28×1, most of them in dense layers, where they cost least. Raises
    UserError for a bottleneck without numbers.
    """
    if code < 1:
        raise UserError(
            f"model.code must be at least 1, not {code}",
            "--set model.code=32",
            code=2,
        )
    sizes, filters = _pyramid(shape, width)
    smallest = (filters[-1], *sizes[-1])
    values = smallest[0] * smallest[1] * smallest[2]
    units = round(UNITS * width)
    encoder: list[nn.Module] = []
    for before, after in pairwise(filters):
        kernel = 5 if before == shape[0] else 3
        encoder.append(nn.Conv2d(before, after, kernel, 2, kernel // 2, bias=False))
        encoder += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    encoder += [Flatten(), *dense(values, units), nn.Linear(units, code)]
    decoder: list[nn.Module] = [*dense(code, units), *dense(units, values), Unflatten(smallest)]
    for level in range(len(filters) - 1, 1, -1):
        after = filters[level - 1]
        decoder.append(Upsample(filters[level], after, sizes[level - 1]))
        decoder += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    head: nn.Module = nn.Conv2d(smallest[0], channels, 3, padding=1)
    if len(filters) > 1:
        head = Upsample(filters[1], channels, sizes[0], 5)
    return AutoEncoder(shape, nn.Sequential(*encoder), nn.Sequential(*decoder), nn.Sequential(head))


def _pyramid(shape: Shape, width: float) -> tuple[list[tuple[int, int]], list[int]]:
    """Height and width, and filters, at every level of the encoder, the image first."""
    channels, height, wide = shape
    sizes, filters = [(height, wide)], [channels]
    while min(sizes[-1]) > SMALLEST:
        height, wide = sizes[-1]
        sizes.append((-(-height // 2), -(-wide // 2)))
        filters.append(8 * max(1, round(4 * width)) * 2 ** min(2, len(filters) - 1))
    return sizes, filters


def dense(before: int, after: int) -> list[nn.Module]:
    """A dense layer with batch normalisation and ReLU."""
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
