"""LeNet-5 as in textbooks, and as published by LeCun, Bottou, Bengio and Haffner in 1998."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.errors import UserError
from eyesight.models.layers import Network, ScaledTanh, Shape, Stack, finish


def lenet5(
    shape: Shape,
    classes: int,
    *,
    activation: str = "relu",
    initialise: str = "glorot",
    softmax: bool = False,
) -> Network:
    """C(5,6) same, P2, C(5,16), P2, C(5,120), FC84: 61,706 parameters on 28×28×1, ten classes."""
    stack = Stack(shape, act=activation, padding="valid")
    stack.conv(6, 5, padding="same").pool()
    stack.conv(16, 5).pool()
    stack.conv(120, 5).dense(84)
    return finish(shape, stack, classes, softmax, initialise)


class Subsample(nn.Module):
    """The 1998 subsampling: 2×2 means times a trained coefficient per map, plus a trained bias."""

    settings = "2×2, stride 2"

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,C,H/2,W/2."""
        return functional.avg_pool2d(x, 2) * self.coefficient + self.bias


# Table I of the paper: which of the six maps of S2 feed each of the sixteen maps of C3.
CONNECTIONS = (
    "012", "123", "234", "345", "045", "015", "0123", "1234",
    "2345", "0345", "0145", "0125", "0134", "1245", "0235", "012345",
)  # fmt: skip


class SparseConvolution(nn.Module):
    """C3 of the paper: sixteen 5×5 filters, each over its own choice of the six input maps.

    1,516 parameters.
    """

    places: Tensor
    settings = "5×5, some inputs"

    def __init__(self) -> None:
        super().__init__()
        places = []
        for row, inputs in enumerate(CONNECTIONS):
            places += [row * 6 + int(digit) for digit in inputs]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        weight = torch.empty(len(places), 5, 5)
        self.weight = nn.Parameter(nn.init.uniform_(weight, -0.15, 0.15))
        self.bias = nn.Parameter(torch.zeros(len(CONNECTIONS)))

    def forward(self, x: Tensor) -> Tensor:
        """N,6,H,W to N,16,H-4,W-4."""
        zeros = self.weight.new_zeros(len(CONNECTIONS) * 6, 5, 5)
        full = zeros.index_copy(0, self.places, self.weight)
        return functional.conv2d(x, full.view(-1, 6, 5, 5), self.bias)

    def multiply_adds(self, output: Tensor) -> int:
        """Of one image, counted for the connections that exist."""
        return output[0, 0].numel() * self.weight.numel()


def lenet5_1998(shape: Shape, classes: int) -> Network:
    """The published network on 32×32 images: 60,000 trained parameters before its last layer.

    The last layer is dense (850 parameters) instead of the radial one. Every layer up to F6 ends
    in the squashing function, the subsampling included. Raises UserError for other shapes.
    """
    if shape != (1, 32, 32):
        size = "×".join(map(str, shape))
        raise UserError(
            f"lenet5_1998 needs grey images of 32×32, not {size}",
            "use lenet5, which accepts any size",
        )
    stack = Stack(shape, act="scaled_tanh", padding="valid")
    stack.conv(6, 5).add(Subsample(6), ScaledTanh())
    stack.add(SparseConvolution(), ScaledTanh(), Subsample(16), ScaledTanh())
    stack.conv(120, 5).dense(84)
    return finish(shape, stack, classes)
