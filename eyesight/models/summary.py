"""The table of a network's layers: settings, output shape, parameters, multiply-adds, operations.

Multiply-adds exclude biases, as in most tools. Operations include them, as in the textbook: a 3×3
filter over three channels has 28 operations per output value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One row; `shape` is the output of one image, without the batch."""

    name: str
    kind: str  # the public class, such as Conv2d, also for faster versions of it
    settings: str  # such as "3×3, stride 2, padding 1"
    shape: Shape
    parameters: int
    multiply_adds: int
    operations: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network in execution order, and its output shape."""

    layers: list[Layer]
    output: Shape

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def operations(self) -> int:
        """Of one image: multiply-adds and biases."""
        return sum(layer.operations for layer in self.layers)


def layers(network: nn.Module, shape: Shape) -> list[Layer]:
    """The rows of `summarise`."""
    return summarise(network, shape).layers


def summarise(network: nn.Module, shape: Shape) -> Summary:
    """Run an image of zeros, C,H,W, through the network and describe every layer.

    A layer is a module without children, or one with parameters of its own.
    """
    rows: list[Layer | None] = []
    entered: list[int] = []
    handles: list[RemovableHandle] = []

    def enter(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered.append(len(rows))
        rows.append(None)  # before its children

    def watch(name: str, module: nn.Module) -> None:
        def leave(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            rows[entered.pop()] = _row(name, module, output)

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))

    for name, module in network.named_modules():
        has_children = next(module.children(), None) is not None
        has_parameters = next(module.parameters(recurse=False), None) is not None
        if has_parameters or not has_children:
            watch(name, module)
    training = network.training
    first = next(network.parameters(), None)
    images = torch.zeros(1, *shape, device=None if first is None else first.device)
    try:
        with torch.no_grad():
            output = network.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    return Summary([row for row in rows if row is not None], tuple(output.shape[1:]))


def _row(name: str, module: nn.Module, output: Tensor) -> Layer:
    own = [parameter.numel() for parameter in module.parameters(recurse=False)]
    multiply_adds = _multiply_adds(module, output)
    has_bias = multiply_adds > 0 and getattr(module, "bias", None) is not None
    return Layer(
        name,
        kind(module),
        settings(module),
        tuple(output.shape[1:]),
        sum(own),
        multiply_adds,
        multiply_adds + output[0].numel() if has_bias else multiply_adds,
    )


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    own = getattr(module, "multiply_adds", None)
    if own is not None:
        return int(own(output))
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    return 0


def kind(module: nn.Module) -> str:
    """The name of a layer's class, or of the torch.nn class that it replaces."""
    shown = getattr(module, "shown_as", None)
    if shown is not None:
        return str(shown)
    for base in type(module).__mro__:
        if base is nn.Module:
            break
        if base.__module__.startswith("torch.nn"):
            return base.__name__
    return type(module).__name__


def settings(module: nn.Module) -> str:
    """A layer's settings as text: kernel, stride, padding, rate."""
    if isinstance(module, nn.Conv2d):
        return ", ".join(_convolution(module))
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return ", ".join(_pool(module))
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return f"to {_sides(module.output_size)}"
    if isinstance(module, nn.Dropout | nn.Dropout2d):
        return f"rate {module.p:g}"
    if isinstance(module, nn.PixelShuffle):
        return f"×{module.upscale_factor}"
    if isinstance(module, nn.Linear) and module.bias is None:
        return "no bias"
    return str(getattr(module, "settings", ""))


def _pool(module: nn.MaxPool2d | nn.AvgPool2d) -> list[str]:
    words = [_sides(module.kernel_size), f"stride {_number(module.stride)}"]
    if _number(module.padding) != "0":
        words.append(f"padding {_number(module.padding)}")
    return words


def _convolution(module: nn.Conv2d) -> list[str]:
    words = [_sides(module.kernel_size)]
    if _number(module.stride) != "1":
        words.append(f"stride {_number(module.stride)}")
    padding = module.padding if isinstance(module.padding, str) else _number(module.padding)
    if type(module).__name__.endswith("Same"):
        padding = "same"  # timm's layers that pad as TensorFlow does
    if padding != "0":
        words.append(f"padding {padding}")
    if module.padding_mode != "zeros":
        words.append(module.padding_mode)
    if _number(module.dilation) != "1":
        words.append(f"dilation {_number(module.dilation)}")
    if module.groups > 1:
        words.append(f"groups {module.groups}")
    if module.bias is None:
        words.append("no bias")
    return words


def _sides(value: int | tuple[int | None, ...] | None) -> str:
    height, width = value if isinstance(value, tuple) else (value, value)
    return f"{height}×{width}"


def _number(value: int | tuple[int, ...]) -> str:
    """A setting of both sides as one number, or as two where they differ."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    return str(value) if isinstance(value, int) else _sides(value)


def count(network: nn.Module) -> int:
    """The number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in network.parameters())
