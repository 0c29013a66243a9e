"""Building blocks: the normalising first layer, `Stack`, weight initialisation.

Networks accept uint8 images, or floats from 0 to 1, and normalise them in their first layer.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eyesight.errors import UserError, unknown

Shape = tuple[int, ...]
PaddingMode = Literal["zeros", "replicate"]
MOST_COPIED = 50_000_000  # zeros that may stand for weights; a convolution copies them


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
    """The activation layer called `name`; raises UserError naming the nearest one."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


class Flatten(nn.Flatten):
    """N,C,H,W to N,H·W·C, in the memory order of channels-last tensors.

    Gradients then come back channels-last too; with `nn.Flatten` every layer before it reads them
    with strides. This made `digits` train 1.3 times as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N and any further axes to N,values."""
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        return x.flatten(1)


class Normalise(nn.Module):
    """(pixels / 255 − mean) / deviation per channel; uint8 or 0..1 floats in, floats out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and standard deviation per channel, for images scaled to 0..1."""
        self.mean.copy_(mean.view(1, -1, 1, 1))
        self.deviation.copy_(deviation.clamp_min(1e-3).view(1, -1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """N,C,H,W to normalised floats of the same shape."""
        if pictures.dtype == torch.uint8:
            pictures = pictures.float() / 255
        return (pictures - self.mean) / self.deviation


class Network(nn.Module):
    """Normalisation, a body that computes features, a head that computes logits.

    Images N,C,H,W to logits N,K.
    """

    emits: ClassVar[str] = "class"  # the kind of target, as in `data.target`

    def __init__(self, shape: Shape, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(shape[0])
        self.body = body
        self.head = head
        self.shape = shape

    @property
    def needs_data_init(self) -> bool:
        """Whether the first layer is initialised from training images."""
        return hasattr(next(self.body.children(), None), "init_from_data")

    def init_from_data(self, pictures: Tensor) -> None:
        """Initialise a first layer that needs it from uint8 training images N,C,H,W."""
        first = next(self.body.children(), None)
        if hasattr(first, "init_from_data"):
            first.init_from_data(self.normalise(pictures))  # type: ignore[union-attr, operator]

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits N,K."""
        return self.forward_head(self.forward_features(pictures))

    def forward_features(self, pictures: Tensor) -> Tensor:
        """Features N,D or N,C,H,W of images."""
        features: Tensor = self.body(self.normalise(pictures))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits N,K; the head computes in float32: bfloat16 would cost accuracy, and no time."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def logits_and_features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits N,K, and features N,D: maps averaged over their places."""
        maps = self.forward_features(pictures)
        return self.forward_head(maps), pooled(maps)

    def answer(self, outputs: Tensor) -> Tensor:
        """Logits N,K to class probabilities along the second axis."""
        return outputs.softmax(1)


def pooled(features: Tensor) -> Tensor:
    """Features N,D; maps N,C,H,W are averaged over their places."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.flatten(1)


class Stack:
    """Layers in sequence, with the output shape of the last one.

    `shape` is C,H,W before `flatten` or a dense layer, and the number of values after it.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        act: str = "relu",
        padding: Literal["same", "valid"] = "same",
        padding_mode: PaddingMode = "zeros",
        normalise: Literal["none", "before", "after"] = "none",
    ) -> None:
        """`normalise` puts batch normalisation before or after each convolution's activation."""
        self.shape = shape
        self.layers: list[nn.Module] = []
        self.act = act
        self.padding = padding
        self.padding_mode = padding_mode
        self.normalise = normalise

    def add(self, *layers: nn.Module) -> Stack:
        """Append layers; their output shape is measured on zeros.

        Raises UserError if the output is empty.
        """
        for layer in layers:
            try:
                after = _output_shape(layer, self.shape)
            except RuntimeError:
                raise too_small(self.shape) from None
            if 0 in after:
                raise too_small(after)
            self.shape = after
            self.layers.append(layer)
        return self

    def conv(
        self,
        filters: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: str | int | None = None,
        padding_mode: PaddingMode | None = None,
        act: str | None = None,
        bias: bool = True,
    ) -> Stack:
        """A convolution with its activation, batch-normalised where the stack asks for it."""
        convolution = nn.Conv2d(
            self.shape[0],
            filters,
            kernel,
            stride,
            self._padding(kernel, padding),
            bias=bias,
            padding_mode=padding_mode or self.padding_mode,
        )
        self.add(convolution)
        if self.normalise == "before":
            self.add(nn.BatchNorm2d(filters))
        self._activate(act)
        if self.normalise == "after":
            self.add(nn.BatchNorm2d(filters))
        return self

    def _padding(self, kernel: int, padding: str | int | None) -> int:
        """Pixels on each side: a number, or that of "same" or "valid"."""
        if isinstance(padding, int):
            return padding
        if (padding or self.padding) == "valid":
            return 0
        assert kernel % 2, "kernel sizes must be odd"
        return kernel // 2

    def dense(self, units: int, *, act: str | None = None, normalise: bool = False) -> Stack:
        """A fully connected layer, optionally batch-normalised before its activation.

        More than one axis is flattened first.
        """
        if len(self.shape) > 1:
            self.add(Flatten())
        self.add(nn.Linear(math.prod(self.shape), units))
        if normalise:
            self.add(nn.BatchNorm1d(units))
        return self._activate(act)

    def _activate(self, act: str | None) -> Stack:
        """Append the activation called `act`, or the stack's own."""
        name = self.act if act is None else act
        if name == "linear":
            return self
        return self.add(activation(name))

    def pool(self, kernel: int = 2, stride: int | None = None, padding: int = 0) -> Stack:
        """Max pooling; the stride is the kernel's side unless given."""
        return self.add(nn.MaxPool2d(kernel, stride, padding))

    def average(self, kernel: int = 0) -> Stack:
        """Average pooling, over the whole map unless a kernel is given."""
        if kernel:
            return self.add(nn.AvgPool2d(kernel))
        return self.add(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))

    def dropout(self, rate: float) -> Stack:
        """Dropout of single values; 0 adds no layer. Raises UserError outside 0 to 1."""
        if not 0 <= rate < 1:
            raise UserError(
                f"a dropout rate must be between 0 and 1, not {rate:g}", "lower model.dropout"
            )
        if rate > 0:
            self.add(nn.Dropout(rate))
        return self

    def build(self) -> nn.Sequential:
        """The layers so far, as one module."""
        return nn.Sequential(*self.layers)


def _output_shape(layer: nn.Module, shape: Shape) -> Shape:
    """The shape of the layer's output, measured on an empty batch, which takes no time.

    A layer that fails on it, such as one with `x.view(len(x), -1)`, gets an image of zeros.
    """
    device = torch.get_default_device()
    large = sum(parameter.numel() for parameter in layer.parameters()) > MOST_COPIED
    if device.type == "meta" and not large:
        device = torch.device("cpu")  # the meta device imports PyTorch's compiler, for seconds
    training = layer.training
    layer.eval()
    with torch.no_grad(), device:
        weights = {} if large else _zeros_for_meta(layer)
        try:
            output = functional_call(layer, weights, (torch.zeros(0, *shape),))
        except RuntimeError:
            output = functional_call(layer, weights, (torch.zeros(1, *shape),))
    layer.train(training)
    return tuple(output.shape[1:])


def _zeros_for_meta(layer: nn.Module) -> dict[str, Tensor]:
    """Zeros that take no memory for the parameters and buffers that are on the meta device."""
    return {
        name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in chain(layer.named_parameters(), layer.named_buffers())
        if tensor.is_meta
    }


def too_small(shape: Shape) -> UserError:
    """The error for images that are too small for a network."""
    size = "×".join(map(str, shape[1:]))
    return UserError(
        "the images are too small for this network: the next layer would have no output for "
        f"{size}",
        "use --set data.size=32 (or more), or a smaller network",
    )


def finish(
    shape: Shape, body: Stack, classes: int, softmax: bool = False, scheme: str = "glorot"
) -> Network:
    """The body with a dense layer of logits, initialised by `scheme`."""
    head = Stack(body.shape, act="linear").dense(classes)
    if softmax:
        head.add(nn.Softmax(dim=1))
    network = Network(shape, body.build(), head.build())
    initialise(network, scheme)
    return network


def initialise(network: nn.Module, scheme: str) -> None:
    """Initialise convolutions, dense layers and batch normalisation in place.

    `scheme` is "glorot" (Glorot and Bengio 2010) or "he" (He et al. 2015), both uniform. Biases
    are zero; normalisation begins with weight 1 and bias 0.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if scheme == "glorot":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
