"""Depthwise convolutions whose weights learn quickly on a processor, when the pictures have become small.

PyTorch's own gradient of such weights takes 124 ms in bfloat16 and 22 ms in float32 where this takes 5 and 8 (one core of a
Xeon, 64 pictures of 672×6×6, 5×5); its other parts are fast. With it bfloat16 pays for training, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Positions before times positions after, up to which one product per channel is faster; measured on 6×6, 8×8 and 12×12.
MOST = {torch.bfloat16: 25_000, torch.float32: 1_500}


def is_depthwise(module: nn.Module) -> bool:
    """Whether each channel of a convolution has filters of its own, 3×3 or larger, and nothing unusual about them."""
    if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return False
    alone = module.groups == module.in_channels == module.out_channels > 1 and module.bias is None
    return (
        alone
        and module.kernel_size[0] > 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
    )


class Depthwise(nn.Conv2d):
    """An `nn.Conv2d` that takes the quick way to the gradient of its weights where there is one."""

    def _conv_forward(self, pictures: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(pictures, weight, self.stride, self.padding, training=self.training)


def convolve(
    pictures: Tensor, weight: Tensor, stride: Any, padding: Any, *, training: bool
) -> Tensor:
    """A depthwise convolution N,C,H,W to N,C,h,w; the arithmetic is that of automatic casting where it is on."""
    if pictures.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        pictures, weight = (
            tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (pictures, weight)
        )
    if (
        training
        and weight.requires_grad
        and torch.is_grad_enabled()
        and pictures.device.type == "cpu"
    ):
        found: Tensor = _Quick.apply(pictures, weight, tuple(stride), tuple(padding))
        return found
    return nn.functional.conv2d(pictures, weight, None, stride, padding, 1, len(weight))


class _Quick(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        pictures: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        context.save_for_backward(pictures, weight)
        context.stride, context.padding = stride, padding
        return nn.functional.conv2d(pictures, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pictures, weight = context.saved_tensors
        stride, padding = context.stride, context.padding
        wanted = context.needs_input_grad[:2]
        pairs = pictures.shape[2] * pictures.shape[3] * gradient.shape[2] * gradient.shape[3]
        quick = (
            pairs <= MOST.get(pictures.dtype, 0),
            max(stride) > 1 and max(padding) < min(weight.shape[2:]),
        )
        mask = [wanted[0] and not quick[1], wanted[1] and not quick[0], False]
        below = own = None
        if any(mask):
            shape = list(stride), list(padding), [1, 1], False, [0, 0], len(weight)
            below, own, _ = torch.ops.aten.convolution_backward(
                gradient, pictures, weight, None, *shape, mask
            )
        if wanted[0] and quick[1]:
            below = of_pictures(pictures.shape, gradient, weight, stride, padding)
        if wanted[1] and quick[0]:
            own = of_weights(pictures, gradient, weight.shape, stride, padding)
        return below, own, None, None


def of_pictures(
    shape: torch.Size,
    gradient: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The gradient of the pictures N,C,H,W by turned filters; PyTorch's own way, with strides and bfloat16, took a third of a step."""
    edge = [side - 1 - by for side, by in zip(weight.shape[2:], padding, strict=True)]
    sides = [
        whole + kernel - 1 - 2 * by
        for whole, kernel, by in zip(shape[2:], weight.shape[2:], edge, strict=True)
    ]
    spread = torch.empty(
        (*gradient.shape[:2], *sides), dtype=gradient.dtype, memory_format=torch.channels_last
    ).zero_()
    spread[
        :,
        :,
        : stride[0] * gradient.shape[2] : stride[0],
        : stride[1] * gradient.shape[3] : stride[1],
    ] = gradient
    return nn.functional.conv2d(spread, weight.flip(2, 3), None, 1, edge, 1, len(weight))


def of_weights(
    pictures: Tensor,
    gradient: Tensor,
    shape: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The gradient of the weights C,1,k,k: every position before times every one after, summed over pictures, then by distance."""
    count, channels, high, wide = pictures.shape
    after = gradient.shape[2] * gradient.shape[3]
    before = pictures.permute(1, 2, 3, 0).reshape(channels, high * wide, count)
    behind = gradient.permute(1, 0, 2, 3).reshape(channels, count, after)
    products = torch.bmm(before.contiguous(), behind.contiguous())
    taps = distances(
        (high, wide), tuple(gradient.shape[2:]), tuple(shape[2:]), stride, padding, products.dtype
    )
    return (products.view(channels, -1) @ taps).view(shape)


@lru_cache(maxsize=32)
def distances(
    before: tuple[int, int],
    after: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    kind: torch.dtype,
) -> Tensor:
    """1 where a pair of positions meets in a tap of the kernel, else 0: (pairs, taps)."""
    down, across = (
        torch.arange(first)[:, None] - torch.arange(last)[None] * step + edge
        for first, last, step, edge in zip(before, after, stride, padding, strict=True)
    )
    place = down[:, None, :, None] * kernel[1] + across[None, :, None, :]
    inside = ((down >= 0) & (down < kernel[0]))[:, None, :, None] & (
        (across >= 0) & (across < kernel[1])
    )[None, :, None, :]
    taps = torch.arange(kernel[0] * kernel[1])
    return ((place[..., None] == taps) & inside[..., None]).view(-1, len(taps)).to(kind)
