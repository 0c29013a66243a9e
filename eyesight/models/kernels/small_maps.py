"""Convolutions whose weights learn quickly in bfloat16 on a processor, when the pictures have become small.

The library sums the gradient over one row of one picture after another, 32 values at a time: of rows of 5 most of that is empty.
Pictures laid side by side fill it: 500 maps of 256×5×5 take 10 ms instead of 34, of 3×3 4 ms instead of 25, of 7×7 22 ms instead of
44 (two cores with AMX). In float32 it would cost a tenth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST = 8  # pixels of a row, up to which it pays; measured from 2 to 14
WIDE = 48  # pixels in a row of pictures side by side


class SmallMaps(nn.Conv2d):
    """An `nn.Conv2d` that takes the quick way to the gradient of its weights where there is one."""

    def _conv_forward(self, pictures: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        cast = (
            pictures.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )
        learns = self.training and weight.requires_grad and torch.is_grad_enabled()
        if not (cast and learns and pictures.shape[3] <= MOST):
            plain: Tensor = super()._conv_forward(pictures, weight, bias)  # type: ignore[no-untyped-call, unused-ignore]
            return plain
        small = [
            None if tensor is None else tensor.to(torch.bfloat16)
            for tensor in (pictures, weight, bias)
        ]
        found: Tensor = _Quick.apply(*small, self.padding)
        return found


def quicken(network: nn.Module) -> None:
    """Let the convolutions of a network learn as fast as they can; tensors and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and keeps_size(module):
            module.__class__ = SmallMaps


def keeps_size(layer: nn.Conv2d) -> bool:
    """Whether what comes out of a convolution of several pixels is as large as what goes in, with nothing unusual about it."""
    if (
        max(layer.kernel_size) == 1
        or layer.padding_mode != "zeros"
        or isinstance(layer.padding, str)
    ):
        return False
    edge = tuple(side // 2 for side in layer.kernel_size)
    odd = all(side % 2 for side in layer.kernel_size)
    return (
        odd
        and layer.padding == edge
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
    )


class _Quick(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        pictures: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: tuple[int, int],
    ) -> Tensor:
        context.save_for_backward(pictures, weight)
        context.padding = padding
        return nn.functional.conv2d(pictures, weight, bias, 1, padding)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pictures, weight = context.saved_tensors
        below = own = bias = None
        if context.needs_input_grad[0]:
            below = _backward(gradient, pictures, weight, context.padding, of_weights=False)
        if context.needs_input_grad[1]:
            count = round(WIDE / (gradient.shape[3] + context.padding[1]))
            behind, before = (
                side_by_side(maps, count, context.padding[1]) for maps in (gradient, pictures)
            )
            own = _backward(behind, before, weight, context.padding, of_weights=True)
        if context.needs_input_grad[2]:
            bias = gradient.sum((0, 2, 3))
        return below, own, bias, None


def _backward(
    gradient: Tensor,
    pictures: Tensor,
    weight: Tensor,
    padding: tuple[int, int],
    *,
    of_weights: bool,
) -> Tensor:
    shape = [1, 1], list(padding), [1, 1], False, [0, 0], 1
    found = torch.ops.aten.convolution_backward(
        gradient, pictures, weight, None, *shape, [not of_weights, of_weights, False]
    )
    result: Tensor = found[of_weights]
    return result


def side_by_side(maps: Tensor, count: int, gap: int) -> Tensor:
    """Maps N,C,H,W as N/count,C,H,count·(W+gap), with zeros between them and in the place of those that the last row lacks."""
    total, channels, high, wide = maps.shape
    rows = -(-total // count)
    line = maps.new_empty(rows, high, count, wide + gap, channels)
    line[:, :, :, wide:] = 0
    whole = total // count
    last = maps.permute(0, 2, 3, 1)
    line[:whole, :, :, :wide] = (
        last[: whole * count].reshape(whole, count, high, wide, channels).transpose(1, 2)
    )
    if whole < rows:
        line[whole, :, : total - whole * count, :wide] = last[whole * count :].transpose(0, 1)
        line[whole, :, total - whole * count :] = 0
    return line.view(rows, high, count * (wide + gap), channels).permute(0, 3, 1, 2)
