"""Classification losses: cross-entropy, focal loss, mean squared error.

Every loss takes logits N,K and target distributions N,K, which covers mixed and smoothed labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from eyesight import recipe

Terms = Callable[[Tensor, Tensor], Tensor]


def pictures(targets: Tensor) -> Tensor:
    """The number of images."""
    return torch.tensor(float(len(targets)), device=targets.device)


@dataclass(frozen=True)
class Loss:
    """Mean loss and its weight; combine batches as Σ weight·mean / Σ weight."""

    mean: Callable[[Tensor, Tensor], Tensor]
    weigh: Callable[[Tensor], Tensor] = pictures

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar."""
        return self.mean(outputs, targets)


def build(loss: recipe.Loss, counts: Tensor) -> Loss:
    """The loss as a function of (logits, targets) returning a scalar.

    `counts` are the numbers of training images per class, K.
    """
    weights = balanced(counts) if loss.class_weights == "balanced" else None
    named: dict[str, Terms] = {
        "cross_entropy": cross_entropy,
        "mse": squared_error,
        "focal": partial(focal, gamma=loss.gamma),
    }
    terms = named[loss.name]

    def weight(targets: Tensor) -> Tensor:
        return targets.new_ones(targets.shape[1]) if weights is None else weights.to(targets)

    def value(logits: Tensor, targets: Tensor) -> Tensor:
        each = weight(targets)
        importance = targets @ each
        if loss.smoothing:
            targets = targets * (1 - loss.smoothing) + loss.smoothing / targets.shape[1]
        # Squared errors have the weight of the image's class, logarithms that of
        # their own class, as in torch.
        factor = importance[:, None] if loss.name == "mse" else each
        return (terms(logits.float(), targets) * factor).sum() / importance.sum().clamp_min(1e-6)

    return Loss(value, lambda targets: (targets @ weight(targets)).sum())


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Integer labels N as distributions N,K; what is a distribution already stays."""
    if labels.ndim == 2:
        return labels
    return functional.one_hot(labels, classes).float()


def balanced(counts: Tensor) -> Tensor:
    """Weights inversely proportional to the class counts, with mean 1 over the images.

    An empty class has weight 0.
    """
    return torch.where(counts > 0, counts.sum() / (counts.clamp_min(1) * (counts > 0).sum()), 0.0)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−t log p, elementwise, N,K."""
    return -targets * functional.log_softmax(logits, 1)


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """−t (1 − p)^γ log p, elementwise, N,K (Lin et al. 2017, equation 4)."""
    logs = functional.log_softmax(logits, 1)
    # 1 − p is kept above zero because the power's gradient is infinite there for gamma below 1.
    return -targets * (1 - logs.exp()).clamp_min(1e-6) ** gamma * logs


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """(p − t)² / K, elementwise, N,K: the mean squared error of the probabilities."""
    return (functional.softmax(logits, 1) - targets) ** 2 / targets.shape[1]
