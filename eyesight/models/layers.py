"""The pieces networks are made of: the normalising first layer, a stack that knows its own output shape, initialisation.

Every network takes uint8 pictures, or floats from 0 to 1, and begins by normalising them itself.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from eyesight.errors import UserError, unknown

Shape = tuple[int, ...]


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), the activation of LeCun et al. 1998, equation 6."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return 1.7159 * torch.tanh(x * (2 / 3))


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """The activation layer called `name`."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


class Normalise(nn.Module):
    """(pixels / 255 − mean) / deviation per channel; uint8 or 0..1 floats in, floats out, N,C,H,W."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Use these statistics, one number a channel, of pictures scaled to 0..1."""
        self.mean.copy_(mean.view(1, -1, 1, 1))
        self.deviation.copy_(deviation.clamp_min(1e-3).view(1, -1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised floats of the same shape."""
        if pictures.dtype == torch.uint8:
            pictures = pictures.float() / 255
        return (pictures - self.mean) / self.deviation


class Network(nn.Module):
    """Normalisation, then a body that makes features, then a head that makes logits; N,C,H,W pictures to N,K logits."""

    def __init__(self, shape: Shape, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(shape[0])
        self.body = body
        self.head = head
        self.shape = shape

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits, N,K."""
        logits: Tensor = self.head(self.body(self.normalise(pictures)))
        return logits


class Stack:
    """Layers one after another, with the shape after the last of them, so that a network reads like its description."""

    def __init__(self, shape: Shape, *, act: str = "relu", padding: Literal["same", "valid"] = "same", normalise: bool = False) -> None:
        self.shape = shape
        self.layers: list[nn.Module] = []
        self.act, self.padding, self.normalise = act, padding, normalise

    def add(self, layer: nn.Module) -> Stack:
        """Any layer; its output shape is found by running it once on zeros."""
        try:
            self.shape = _shape_after(layer, self.shape)
        except RuntimeError:
            raise too_small(self.shape) from None
        if 0 in self.shape:
            raise too_small(self.shape)
        self.layers.append(layer)
        return self

    def conv(
        self, filters: int, kernel: int = 3, *, stride: int = 1, padding: str | int | None = None, act: str | None = None, bias: bool = True
    ) -> Stack:
        """A convolution, batch normalisation where the stack asks for it, and the activation."""
        padding = self.padding if padding is None else padding
        amount = {"same": (kernel - 1) // 2, "valid": 0}.get(padding, padding) if isinstance(padding, str) else padding
        assert isinstance(amount, int)
        self.add(nn.Conv2d(self.shape[0], filters, kernel, stride, amount, bias=bias))
        return self._finish(nn.BatchNorm2d(filters), act)

    def dense(self, units: int, *, act: str | None = None, normalise: bool = False) -> Stack:
        """A fully connected layer; anything with more than one axis is flattened first."""
        if len(self.shape) > 1:
            self.add(nn.Flatten())
        self.add(nn.Linear(math.prod(self.shape), units))
        return self._finish(nn.BatchNorm1d(units), act, normalise)

    def _finish(self, norm: nn.Module, act: str | None, normalise: bool | None = None) -> Stack:
        if self.normalise if normalise is None else normalise:
            self.add(norm)
        name = self.act if act is None else act
        return self if name == "linear" else self.add(activation(name))

    def pool(self, kernel: int = 2, stride: int | None = None, padding: int = 0) -> Stack:
        """Max pooling; the stride is the kernel's side unless given."""
        return self.add(nn.MaxPool2d(kernel, stride, padding))

    def average(self, kernel: int = 0) -> Stack:
        """Average pooling, over the whole picture unless a kernel is given."""
        return self.add(nn.AvgPool2d(kernel) if kernel else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))

    def dropout(self, rate: float) -> Stack:
        """Dropout of single values."""
        return self.add(nn.Dropout(rate)) if rate > 0 else self

    def build(self) -> nn.Sequential:
        """The layers so far, as one module."""
        return nn.Sequential(*self.layers)


def _shape_after(layer: nn.Module, shape: Shape) -> Shape:
    training = layer.training
    with torch.no_grad():
        after = tuple(layer.eval()(torch.zeros(1, *shape)).shape[1:])
    layer.train(training)
    return after


def too_small(shape: Shape) -> UserError:
    """The error for pictures that shrink to nothing on their way through a network."""
    return UserError(
        f"the pictures are too small for this network: nothing is left of {'×'.join(map(str, shape[1:]))} after its next layer",
        "enlarge them with --set data.size=32 (or more), or choose a smaller network",
    )


def initialise(network: nn.Module, how: str) -> None:
    """Weights uniform by Glorot and Bengio 2010 or by He et al. 2015, biases zero, normalisation at weight 1 and bias 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if how == "glorot":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
