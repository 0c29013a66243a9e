"""LeNet-5, as textbooks draw it today and as LeCun, Bottou, Bengio and Haffner published it in 1998."""

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
    """C(5,6) same, P2, C(5,16), P2, C(5,120), FC84: 61,706 parameters on 28×28 grey pictures with ten classes."""
    body = Stack(shape, act=activation, padding="valid")
    body.conv(6, 5, padding="same").pool().conv(16, 5).pool().conv(120, 5).dense(84)
    return finish(shape, body, classes, softmax, initialise)


class Subsample(nn.Module):
    """The 1998 subsampling: the mean of 2×2 inputs times one trained coefficient per map, plus one trained bias."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,C,H/2,W/2."""
        return functional.avg_pool2d(x, 2) * self.coefficient + self.bias


# Table I of the paper: which of the six maps of S2 feed each of the sixteen maps of C3.
CONNECTIONS = (
    "012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245", "0235", "012345",
)  # fmt: skip


class SparseConvolution(nn.Module):
    """C3 of the paper: sixteen 5×5 filters, each over its own choice of the six input maps; 1,516 parameters."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        places = [
            row * 6 + int(digit) for row, inputs in enumerate(CONNECTIONS) for digit in inputs
        ]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.weight = nn.Parameter(nn.init.uniform_(torch.empty(len(places), 5, 5), -0.15, 0.15))
        self.bias = nn.Parameter(torch.zeros(len(CONNECTIONS)))

    def forward(self, x: Tensor) -> Tensor:
        """N,6,H,W to N,16,H-4,W-4."""
        full = self.weight.new_zeros(len(CONNECTIONS) * 6, 5, 5).index_copy(
            0, self.places, self.weight
        )
        return functional.conv2d(x, full.view(-1, 6, 5, 5), self.bias)

    def multiply_adds(self, output: Tensor) -> int:
        """Counted for the connections that exist, for one picture."""
        return output[0, 0].numel() * (self.weight.numel() + self.bias.numel())


def lenet5_1998(shape: Shape, classes: int) -> Network:
    """The published network on 32×32 pictures: 60,000 trained parameters, and a dense last layer (850) instead of the radial one.

    Every layer up to F6 ends in the squashing function, the subsampling included.
    """
    if shape != (1, 32, 32):
        raise UserError(
            f"lenet5_1998 takes grey pictures of 32×32, not {'×'.join(map(str, shape))}",
            "use lenet5, which takes any",
        )
    body = Stack(shape, act="scaled_tanh", padding="valid")
    body.conv(6, 5).add(Subsample(6)).add(ScaledTanh()).add(SparseConvolution()).add(
        ScaledTanh()
    ).add(Subsample(16)).add(ScaledTanh())
    body.conv(120, 5).dense(84)
    return finish(shape, body, classes)
