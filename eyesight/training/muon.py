"""Muon: momentum with orthogonalised updates (Jordan et al. 2024).

Filters are matrices of filters × (channels·k²); biases and norm parameters take plain Nesterov
momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def orthogonalise(matrix: Tensor, steps: int = 3) -> Tensor:
    """The approximate orthogonal factor of a matrix, by a quintic Newton–Schulz iteration.

    Under autocast everything is computed in bfloat16: casting every product took half of the time.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = x.T if tall else x
    return result.to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon optimiser: Nesterov momentum, orthogonalised in groups marked `orthogonal`."""

    PLAIN_MOMENTUM = 0.85  # of the groups that are not orthogonalised

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.6) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False}
        )
        for group in self.param_groups:
            group["momentum"] = momentum if group["orthogonal"] else self.PLAIN_MOMENTUM

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient, momentum = parameter.grad, state["momentum"]
        assert gradient is not None
        momentum.mul_(group["momentum"]).add_(gradient)
        update = gradient.add(momentum, alpha=group["momentum"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if group["orthogonal"]:
            if parameter.ndim == 4:
                # Normalisation follows, so their scale does not matter; a fixed one keeps the
                # effective rate from falling.
                parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-7))
            update = orthogonalise(update.flatten(1)).view(update.shape)
        parameter.add_(update, alpha=-group["lr"])
