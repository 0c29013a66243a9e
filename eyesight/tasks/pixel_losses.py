"""Segmentation losses: cross-entropy, focal loss, Dice.

Ignored pixels have no influence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from eyesight import recipe
from eyesight.data.masks.images import IGNORED
from eyesight.tasks.losses import Loss, balanced


def build(loss: recipe.Loss, counts: Tensor) -> Loss:
    """The loss as a function of (logits N,K,H,W, masks uint8 N,H,W) returning a scalar.

    `counts` are the training pixels of each class.
    """
    weights = balanced(counts).float() if loss.class_weights == "balanced" else None

    def value(logits: Tensor, masks: Tensor) -> Tensor:
        true, weight = masks.long(), None if weights is None else weights.to(logits.device)
        logits = logits.float()
        if loss.name == "dice":
            return dice(logits, true, weight)
        if loss.name == "focal":
            return focal(logits, true, loss.gamma, weight)
        total = functional.cross_entropy(
            logits,
            true,
            weight,
            ignore_index=IGNORED,
            label_smoothing=loss.smoothing,
            reduction="sum",
        )
        return total / importance(true, weight)

    if loss.name == "dice":
        return Loss(value, labelled)
    return Loss(
        value,
        lambda masks: importance(
            masks.long(), None if weights is None else weights.to(masks.device)
        ),
    )


def thinned(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Subsample masks N,H,W to the resolution of coarser logits."""
    rows, columns = (
        torch.arange(few, device=masks.device) * many // few
        for few, many in zip(size, masks.shape[1:], strict=True)
    )
    return masks if tuple(size) == tuple(masks.shape[1:]) else masks[:, rows][:, :, columns]


def importance(true: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of the class weights over labelled pixels.

    Never 0, so that a batch without labelled pixels has loss 0.
    """
    labelled = true[true != IGNORED]
    return (
        labelled.new_tensor(labelled.numel(), dtype=torch.float32)
        if weight is None
        else weight[labelled].sum()
    ).clamp_min(1e-6)


def labelled(masks: Tensor) -> Tensor:
    """The number of images with any labelled pixel.

    Dice is not a mean over pixels, so weighting batches and process shares by it is approximate.
    """
    return (masks != IGNORED).flatten(1).any(1).float().sum().clamp_min(1e-6)


def focal(logits: Tensor, true: Tensor, gamma: float, weight: Tensor | None) -> Tensor:
    """−(1 − p)^γ log p of the true class, averaged over pixels; easy pixels get little weight.

    Equation 4 of Lin et al. 2017.
    """
    losses = functional.cross_entropy(logits, true, ignore_index=IGNORED, reduction="none")
    missed = (1 - torch.exp(-losses)).clamp_min(1e-6) ** gamma
    each = 1.0 if weight is None else weight[true.where(true != IGNORED, 0)]
    return (missed * losses * each).sum() / importance(true, weight)


def dice(logits: Tensor, true: Tensor, weight: Tensor | None) -> Tensor:
    """1 − 2·overlap / (predicted size + true size), the mean over classes.

    As Milletari et al. 2016, without squares. Overlap and sizes are those of the whole batch.
    Classes absent from the batch are left out, the others are weighted by `weight`.
    """
    labelled = (true != IGNORED)[:, None]
    probabilities = logits.softmax(1) * labelled
    one_hot = (
        functional.one_hot(true.where(true != IGNORED, 0), logits.shape[1]).movedim(-1, 1)
        * labelled
    )
    overlap, sizes = (
        (probabilities * one_hot).sum((0, 2, 3)),
        (probabilities + one_hot).sum((0, 2, 3)),
    )
    there = (one_hot.sum((0, 2, 3)) > 0).float() * (1.0 if weight is None else weight)
    return ((1 - 2 * overlap / sizes.clamp_min(1e-6)) * there).sum() / there.sum().clamp_min(1e-6)
