"""The pieces networks are made of: the normalising first layer, a stack that knows its own output shape, initialisation.

Every network takes uint8 pictures, or floats from 0 to 1, and begins by normalising them itself.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

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


class Flatten(nn.Flatten):
    """N,C,H,W to N,H·W·C: flattened in the order in which channels-last values lie, so that gradients come back in that order too.

    torch's own order hands back gradients that every layer before it then reads with strides; this made `digits` 1.3 times faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N and whatever follows to N,values."""
        return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).flatten(1)


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

    emits: ClassVar[str] = "class"  # what the head is about, as in `data.target`

    def __init__(self, shape: Shape, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(shape[0])
        self.body = body
        self.head = head
        self.shape = shape

    @property
    def meets(self) -> bool:
        """Whether the first layer depends on the data."""
        return hasattr(next(self.body.children(), None), "meet")

    def meet(self, pictures: Tensor) -> None:
        """Let a first layer that depends on the data look at some uint8 training pictures N,C,H,W."""
        first = next(self.body.children(), None)
        if hasattr(first, "meet"):
            first.meet(self.normalise(pictures))  # type: ignore[union-attr, operator]

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits, N,K; the head always computes in float32, where bfloat16 would cost accuracy and gain no time."""
        features = self.body(self.normalise(pictures))
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def answer(self, outputs: Tensor) -> Tensor:
        """What the head's outputs mean: probabilities of the classes along the second axis."""
        return outputs.softmax(1)


class Stack:
    """Layers one after another, with the shape after the last of them, so that a network reads like its description."""

    def __init__(
        self,
        shape: Shape,
        *,
        act: str = "relu",
        padding: Literal["same", "valid"] = "same",
        normalise: Literal["none", "before", "after"] = "none",
    ) -> None:
        """`normalise` puts batch normalisation before or after the activation of each convolution."""
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
        self,
        filters: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: str | int | None = None,
        act: str | None = None,
        bias: bool = True,
    ) -> Stack:
        """A convolution with its activation, batch-normalised where the stack asks for it."""
        padding = self.padding if padding is None else padding
        assert kernel % 2 or padding != "same", "an even kernel has no middle"
        amount = {"same": kernel // 2, "valid": 0}[padding] if isinstance(padding, str) else padding
        self.add(nn.Conv2d(self.shape[0], filters, kernel, stride, amount, bias=bias))
        before, after = (
            [nn.BatchNorm2d(filters)] if self.normalise == place else []
            for place in ("before", "after")
        )
        for layer in (*before, *self._activation(act), *after):
            self.add(layer)
        return self

    def dense(self, units: int, *, act: str | None = None, normalise: bool = False) -> Stack:
        """A fully connected layer, batch-normalised before its activation if asked for; more than one axis is flattened first."""
        if len(self.shape) > 1:
            self.add(Flatten())
        self.add(nn.Linear(math.prod(self.shape), units))
        for layer in (*([nn.BatchNorm1d(units)] if normalise else []), *self._activation(act)):
            self.add(layer)
        return self

    def _activation(self, act: str | None) -> list[nn.Module]:
        name = self.act if act is None else act
        return [] if name == "linear" else [activation(name)]

    def pool(self, kernel: int = 2, stride: int | None = None, padding: int = 0) -> Stack:
        """Max pooling; the stride is the kernel's side unless given."""
        return self.add(nn.MaxPool2d(kernel, stride, padding))

    def average(self, kernel: int = 0) -> Stack:
        """Average pooling, over the whole picture unless a kernel is given."""
        return self.add(
            nn.AvgPool2d(kernel) if kernel else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )

    def dropout(self, rate: float) -> Stack:
        """Dropout of single values; a rate of 0 adds nothing, one outside 0 to 1 is refused."""
        if not 0 <= rate < 1:
            raise UserError(
                f"a dropout rate lies between 0 and 1, not at {rate:g}", "lower model.dropout"
            )
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


def finish(
    shape: Shape, body: Stack, classes: int, softmax: bool = False, how: str = "glorot"
) -> Network:
    """The body with a dense layer of logits behind it, initialised."""
    head = Stack(body.shape, act="linear").dense(classes)
    if softmax:
        head.add(nn.Softmax(dim=1))
    network = Network(shape, body.build(), head.build())
    initialise(network, how)
    return network


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
