"""Networks designed for CPUs with few cores.

Pooling precedes normalisation and activation, which then process a quarter of the values. Filters
are multiples of 32. Early strides reduce the image, because moving activations through memory costs
more than multiplications on these machines.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.models.layers import Flatten, Network, Shape, Stack


class Residual(nn.Module):
    """x + relu(norm(conv(x))): one 3×3 convolution beside the identity."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to the same shape."""
        return x + functional.relu(self.norm(self.conv(x)), inplace=True)


def _block(
    stack: Stack,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    pool: int = 1,
    padding: str = "same",
) -> Stack:
    stack.conv(filters, kernel, stride=stride, padding=padding, act="linear", bias=False)
    if pool > 1:
        stack.pool(pool)
    return stack.add(nn.BatchNorm2d(filters), nn.ReLU(inplace=True))


def _finish(shape: Shape, body: Stack, classes: int) -> Network:
    body.add(Flatten())
    head = Stack(body.shape, act="linear").dense(classes)
    network = Network(shape, body.build(), head.build())
    initialise_normal(network)
    return network


def initialise_normal(network: nn.Module) -> None:
    """Draw the weights of every convolution from He's normal distribution, in place.

    On the meta device there are no weights to draw, and trying imports PyTorch's compiler.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def fast_digits(shape: Shape, classes: int, *, width: float = 1.0, depth: int = 2) -> Network:
    """Stride-2 stem, one pooled convolution, `depth` residual ones, a dense layer.

    116,458 parameters on 28×28×1 with depth 2.
    """
    narrow = 8 * round(4 * width)
    wide = 8 * round(8 * width)
    stack = _block(Stack(shape), narrow, 5, stride=2, padding="valid")
    _block(stack, wide, pool=2)
    for _ in range(depth):
        stack.add(Residual(wide))
    return _finish(shape, stack, classes)


def fast_glyphs(
    shape: Shape, classes: int, *, width: float = 1.0, depth: int = 1, dropout: float = 0.0
) -> Network:
    """Stride-2 stem and three pooled stages, for images of 64 to 128 pixels.

    The second and third stage have `depth` residual convolutions each.
    """
    stack = _block(Stack(shape), 8 * round(4 * width), 5, stride=2)
    for filters in (64, 128, 256):
        _block(stack, 8 * round(filters * width / 8), pool=2)
        if filters == 64:
            continue
        for _ in range(depth):
            stack.add(Residual(stack.shape[0]))
    return _finish(shape, stack.dropout(dropout), classes)


class Whitening(nn.Module):
    """A frozen 2×2 convolution: the principal components of image patches, and their negatives.

    Its outputs are uncorrelated and of variance one from the first step on (Page 2019).
    """

    weight: Tensor
    settings = "2×2, frozen"

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = channels * 4
        drawn = nn.init.orthogonal_(torch.empty(size, size, device="cpu"))
        directions = drawn.view(size, channels, 2, 2)
        self.register_buffer("weight", torch.cat([directions, -directions]))

    @torch.no_grad()
    def init_from_data(self, pictures: Tensor) -> None:
        """Take the principal components from normalised images N,C,H,W."""
        channels = pictures.shape[1]
        patches = functional.unfold(pictures, 2).transpose(1, 2).reshape(-1, channels * 4)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        whitened = vectors / (values + 5e-4).sqrt()
        directions = whitened.T.flip(0).reshape(-1, channels, 2, 2)
        self.weight.copy_(torch.cat([directions, -directions]))

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,8C,H-1,W-1."""
        return functional.conv2d(x, self.weight.to(x.dtype))

    def multiply_adds(self, output: Tensor) -> int:
        """Of one image."""
        return output[0].numel() * self.weight[0].numel()


class GlobalMaxPool(nn.Module):
    """The maximum of each channel over the whole map, so that images may have any size."""

    def forward(self, x: Tensor) -> Tensor:
        """N,C,H,W to N,C."""
        return x.amax((2, 3))


class Scale(nn.Module):
    """Multiply by a constant: keeps the first logits small however wide the last layer is."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return x * self.factor


def _norm(filters: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(filters, momentum=0.4)  # few steps, so running statistics must adapt fast
    norm.weight.requires_grad = False  # the next layer can scale as well
    return norm


def fast_objects(shape: Shape, classes: int, *, width: float = 1.0) -> Network:
    """Whitening, then three groups of two convolutions initialised as the identity.

    After Jordan 2024, airbench94. 1,972,480 trained parameters on 32×32×3 with ten classes; made
    for the optimiser Muon.
    """
    stack = Stack(shape, act="gelu").add(Whitening(shape[0]), nn.GELU())
    for filters in (64, 256, 256):
        count = 8 * round(filters * width / 8)
        stack.conv(count, act="linear", bias=False).pool().add(_norm(count), nn.GELU())
        stack.conv(count, act="linear", bias=False).add(_norm(count), nn.GELU())
    stack.add(GlobalMaxPool())
    head = nn.Linear(stack.shape[0], classes, bias=False)
    if not head.weight.is_meta:
        nn.init.normal_(head.weight)
    for layer in stack.layers:
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.dirac_(layer.weight[: layer.weight.shape[1]])
    return Network(shape, stack.build(), nn.Sequential(head, Scale(1 / 9)))
