"""Batch normalisation by the statistics of a batch that several processes share.

torch's own SyncBatchNorm needs GPUs; this catches every call of `batch_norm` instead of replacing
layers, so that saved weights, and layers that add an activation to the normalisation, stay what
they are.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from eyesight.distributed.group import Group


class Synchronised(TorchFunctionMode):
    """Batch normalisation by the mean and variance of all processes' shares; one message a
    layer.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch does, but for normalisation."""
        if func is functional.batch_norm:
            return self._normalise(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _normalise(  # noqa: PLR0913 - the signature of torch's batch_norm
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(
                x, running_mean, running_var, weight, bias, training, momentum, eps
            )
        normalised, mean, variance, count = _Normalise.apply(x, weight, bias, eps, self.group)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_(
                    (variance * count / (count - 1).clamp_min(1)).to(running_var), momentum
                )
        result: Tensor = normalised
        return result


class _Context(Protocol):
    """What the forward pass leaves to the backward pass."""

    group: Group
    axes: list[int]
    busy: float
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _Normalise(torch.autograd.Function):
    """Batch normalisation of Ioffe and Szegedy 2015, with sums over all processes."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        group: Group,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes, channels = [0, *range(2, x.ndim)], x.shape[1]
        variance, mean = torch.var_mean(x.float(), axes, correction=0)
        mean, variance = (
            mean.double(),
            variance.double(),
        )  # so that the difference of two large sums loses nothing
        here = x.numel() / channels * group.busy
        sums = group.sum(
            torch.cat([mean * here, (variance + mean**2) * here, mean.new_full((1,), here)])
        )
        count = sums[-1]
        mean, square = torch.split(sums[:-1] / count, channels)
        variance = (square - mean**2).clamp_min(0)
        ctx.save_for_backward(
            x, weight, mean.float(), (variance + eps).rsqrt().float(), count.float()
        )
        ctx.group, ctx.axes, ctx.busy = group, axes, group.busy
        normalised = functional.batch_norm(
            x, mean.float(), variance.float(), weight, bias, False, 0.0, eps
        )
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        wide = [1, -1] + [1] * (x.ndim - 2)
        gradient = gradient.float()
        unit = (x.float() - mean.view(wide)) * scale.view(wide)
        bias, factor = gradient.sum(ctx.axes), (gradient * unit).sum(ctx.axes)
        sums = ctx.group.sum(torch.cat([bias, factor])) / count
        shift, slope = torch.split(sums, len(bias))
        stretch = scale if weight is None else scale * weight
        # What was looked at for nothing moved neither mean nor variance.
        inward = (gradient - shift.view(wide) - unit * slope.view(wide)) * (
            stretch * ctx.busy
        ).view(wide)
        return (
            inward.to(x.dtype),
            None if weight is None else factor,
            None if weight is None else bias,
            None,
            None,
        )
