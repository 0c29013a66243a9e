"""Grad-CAM heatmaps (Selvaraju et al. 2017).

If all layers after the last feature map are linear, such as average pooling and one dense layer,
the channel weights do not depend on the image. Then no gradient is needed, and an exported file can
compute heatmaps without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eyesight.classifier import Classifier
from eyesight.data.prepare import Pixels
from eyesight.errors import UserError
from eyesight.models.backbone import Backbone, Whole
from eyesight.models.layers import Network

PORTION = 32  # images in a batch
TRIED = 3  # random images on which the channel weights must agree to be constant


@dataclass(frozen=True, eq=False)
class Halves:
    """A network split after its last feature map: `front` outputs the map, `rear` the logits."""

    front: nn.Sequential
    rear: nn.Sequential


def halves(network: Network) -> Halves | None:
    """Split the network after the last layer whose map has more than one position, or None."""
    units = _units(network.body)
    if any(isinstance(unit, Whole) for unit in units):  # its maps are not accessible
        return None
    cut = 0
    training = network.training
    network.eval()
    device = network.normalise.mean.device
    with torch.no_grad():
        features = network.normalise(torch.zeros(1, *network.shape, device=device))
        for number, unit in enumerate(units, 1):
            features = unit(features)
            if features.ndim == 4 and features.shape[2] * features.shape[3] > 1:
                cut = number
    network.train(training)
    if not cut:
        return None
    front = nn.Sequential(network.normalise, *units[:cut])
    rear = nn.Sequential(*units[cut:], network.head)
    return Halves(front, rear)


def _units(body: nn.Module) -> list[nn.Module]:
    """The layers of a sequential body; empty for other bodies."""
    if isinstance(body, Backbone):
        return list(body.units)
    if isinstance(body, nn.Sequential) and type(body).forward is nn.Sequential.forward:
        return list(body)
    return []


def gradients(rear: nn.Module, maps: Tensor, classes: Tensor) -> Tensor:
    """The weight N,C of each channel of maps N,C,h,w: the mean gradient of its class's logit."""
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        logits = rear(leaf * 1)  # a copy, since the next layer may work in place
        scores = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(scores, leaf)
    return gradient.mean((2, 3))


def seen_at(maps: Tensor, weights: Tensor) -> Tensor:
    """Heat N,h,w ≥ 0, in units of a logit, of maps N,C,h,w with channel weights N,C."""
    return (maps * weights[:, :, None, None]).sum(1).relu()


def heat(
    classifier: Classifier, pixels: Pixels, classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Grad-CAM heat N,h,w ≥ 0 of each image's class, for prepared images uint8 N,C,H,W.

    Raises UserError for a network without a feature map.
    """
    cut = halves(classifier.network)
    if cut is None:
        raise UserError(
            "this network has no feature map for a heatmap",
            "use a convolutional network",
        )
    cut.front.eval()
    cut.rear.eval()
    device = classifier.network.normalise.mean.device
    parts = []
    for start in range(0, len(pixels), PORTION):
        rows = slice(start, start + PORTION)
        with torch.no_grad():
            maps = cut.front(torch.from_numpy(pixels[rows]).to(device)).float()
        weights = gradients(cut.rear, maps, torch.from_numpy(classes[rows]).to(device))
        parts.append(seen_at(maps, weights).cpu().numpy())
    return np.concatenate(parts)


def constant_weights(cut: Halves, shape: tuple[int, ...], count: int) -> Tensor | None:
    """Channel weights K,C of the first `count` logits if they are constant, otherwise None."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        maps = cut.front(torch.rand(TRIED, *shape, generator=generator))
    rows = []
    for number in range(count):
        weights = gradients(cut.rear, maps, torch.full((TRIED,), number))
        first = weights[:1].expand_as(weights)
        tolerance = 1e-6 + 1e-4 * float(weights.abs().max())
        if not torch.allclose(weights, first, rtol=1e-3, atol=tolerance):
            return None
        rows.append(weights[0])
    return torch.stack(rows)
