"""Where a network looked: Grad-CAM (Selvaraju et al. 2017), the places of its last map that spoke for a class.

Where everything behind that map is linear, as an average and one dense layer are, a channel weighs the same whatever the picture:
then no gradient is needed, and an exported file can tell where it looked without torch.
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

PORTION = 32  # pictures looked at in one go
TRIED = 3  # random pictures on which the weights of channels must agree to be called constant


@dataclass(frozen=True, eq=False)
class Halves:
    """A network cut behind its last map of places: `front` makes it from pictures, `rear` makes logits of it."""

    front: nn.Sequential
    rear: nn.Sequential


def halves(network: Network) -> Halves | None:
    """The network cut behind the last layer of its body that gives more than one place; None when there is no such layer."""
    body = network.body
    units = (
        list(body.units if isinstance(body, Backbone) else body)
        if isinstance(body, Backbone | nn.Sequential)
        else []
    )
    if any(isinstance(unit, Whole) for unit in units):  # such a network's own maps are out of reach
        return None
    cut, training = 0, network.training
    network.eval()
    with torch.no_grad():
        seen = network.normalise(
            torch.zeros(1, *network.shape, device=network.normalise.mean.device)
        )
        for number, unit in enumerate(units, 1):
            seen = unit(seen)
            cut = number if seen.ndim == 4 and seen.shape[2] * seen.shape[3] > 1 else cut
    network.train(training)
    return (
        Halves(
            nn.Sequential(network.normalise, *units[:cut]),
            nn.Sequential(*units[cut:], network.head),
        )
        if cut
        else None
    )


def gradients(rear: nn.Module, maps: Tensor, classes: Tensor) -> Tensor:
    """What each channel of maps N,C,h,w weighs in the logit of each picture's class: N,C, the mean gradient over its places."""
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        scores = (
            rear(leaf * 1).gather(1, classes[:, None]).sum()
        )  # a copy: what follows may work in place
        (found,) = torch.autograd.grad(scores, leaf)
    return found.mean((2, 3))


def seen_at(maps: Tensor, weights: Tensor) -> Tensor:
    """Heat N,h,w ≥ 0 of maps N,C,h,w whose channels weigh N,C; in the unit of a logit."""
    return (maps * weights[:, :, None, None]).sum(1).relu()


def heat(
    known: Classifier, pixels: Pixels, classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Where the network sees each picture's class: N,h,w ≥ 0, for prepared pictures uint8 N,C,H,W; raises UserError when it cannot."""
    cut = halves(known.network)
    if cut is None:
        raise UserError(
            "this network keeps no map of places, so nobody can say where it looked",
            "a convolutional network does",
        )
    cut.front.eval(), cut.rear.eval()
    device = known.network.normalise.mean.device
    found = []
    for start in range(0, len(pixels), PORTION):
        rows = slice(start, start + PORTION)
        with torch.no_grad():
            maps = cut.front(torch.from_numpy(pixels[rows]).to(device)).float()
        weights = gradients(cut.rear, maps, torch.from_numpy(classes[rows]).to(device))
        found.append(seen_at(maps, weights).cpu().numpy())
    return np.concatenate(found)


def constant_weights(cut: Halves, shape: tuple[int, ...], count: int) -> Tensor | None:
    """What each channel weighs in each of the first `count` logits, K,C, where that is the same for every picture; None where not."""
    with torch.no_grad():
        maps = cut.front(torch.rand(TRIED, *shape, generator=torch.Generator().manual_seed(0)))
    rows = []
    for one in range(count):
        tried = gradients(cut.rear, maps, torch.full((TRIED,), one))
        if not torch.allclose(
            tried,
            tried[:1].expand_as(tried),
            rtol=1e-3,
            atol=1e-6 + 1e-4 * float(tried.abs().max()),
        ):
            return None
        rows.append(tried[0])
    return torch.stack(rows)
