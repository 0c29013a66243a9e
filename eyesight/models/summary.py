"""The table of a network's layers: output shape, parameters, multiply-adds.

A bias counts as one more multiply-add, as in the textbook: a 3×3 filter over three channels costs 28 per output value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One row: `shape` is the output of one picture, without the batch."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layers(network: nn.Module, shape: tuple[int, ...]) -> list[Layer]:
    """A row for every layer without children, in the order in which one picture of `shape` (C,H,W) passes them."""
    rows: list[Layer] = []
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: rows.append(
                _row(name, module, inputs, output)
            )
        )
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(
                torch.zeros(1, *shape, dtype=torch.uint8, device=next(network.parameters()).device)
            )
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    return rows


def _row(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Layer:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Layer(
        name,
        type(module).__name__,
        tuple(output.shape[1:]),
        parameters,
        _multiply_adds(module, output),
    )


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    own = getattr(module, "multiply_adds", None)
    if own is not None:
        return int(own(output))
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * (math.prod(module.weight.shape[1:]) + (module.bias is not None))
    if isinstance(module, nn.Linear):
        return output[0].numel() * (module.in_features + (module.bias is not None))
    return 0


def count(network: nn.Module) -> int:
    """The number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in network.parameters())
