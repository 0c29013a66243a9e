"""How well the features of pretrained networks tell the classes apart, before any training.

A linear classifier on the pooled features of a few training images, judged by leaving each image
out in turn. Ridge regression gives that in closed form, so that a probe costs one look at each
image and no training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.models import registry, weights
from eyesight.models.cores import folded, on_each_core
from eyesight.models.layers import Network
from eyesight.recipe import Model
from eyesight.results.searching import Hits
from eyesight.system.device import default_device
from eyesight.system.progress import Talk, silent

IMAGES = 500  # at most
BATCH = 32
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # of the ridge, times the mean square of a feature


@dataclass(frozen=True, eq=False)
class Probed:
    """A pretrained network: accuracy on images left out, and seconds for one image."""

    name: str
    hits: Hits  # whether each image was classified correctly when left out; the same for all
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of the images."""
        return float(self.hits.mean())


def probe(
    images: Images, names: Sequence[str], seconds: float, talk: Talk = silent
) -> list[Probed]:
    """The networks from the most accurate to the least, each on as many images as time allows.

    `seconds` are shared by all. What cannot be loaded or does not fit the images is left out.
    """
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]
    measured: dict[str, tuple[Tensor, float]] = {}
    last = time.monotonic() + seconds
    for name in names:
        if measured and time.monotonic() > last:
            talk(f"no time left to probe {name}")
            continue
        try:
            network = pretrained(name, images)
        except UserError as error:
            talk(f"{name}: {error.message}")
            continue
        deadline = time.monotonic() + seconds / len(names)
        began = time.monotonic()
        features = pooled(network, images, rows, deadline)
        measured[name] = features, (time.monotonic() - began) / len(features)
    least = min((len(features) for features, _ in measured.values()), default=0)
    labels = images.labels[rows[:least]]
    probed = []
    for name, (features, each) in measured.items():
        one = Probed(name, leave_one_out(features[:least], labels), each)
        probed.append(one)
        talk(f"{name}: linear probe {one.accuracy:.1%} on {least} images, {1 / each:.0f} images/s")
    return sorted(probed, key=lambda one: -one.accuracy)


def pretrained(name: str, images: Images) -> Network:
    """The network with its pretrained weights, for images of this shape."""
    model = Model(name, weights=weights.HUB_WEIGHTS, head="average")
    network = registry.build(model, images.shape, len(images.classes))
    weights.fill(network, model)
    network = folded(network.eval())
    network.to(default_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def pooled(network: Network, images: Images, rows: Tensor, deadline: float) -> Tensor:
    """Features n,D of the first of these images, averaged over their places, until the deadline."""
    parts: list[Tensor] = []

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode():
            maps: Tensor = network.body(network.normalise(part))
            return maps.float().mean((2, 3)).cpu()

    for index in torch.split(rows, BATCH):
        if parts and time.monotonic() > deadline:
            break
        pixels = images.take(index).to(network.normalise.mean.device).float() / 255
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        parts += on_each_core(run, pixels, network)
    return torch.cat(parts)


def leave_one_out(features: Tensor, labels: Tensor) -> Hits:
    """Whether ridge regression N,D → classes is right about each image, fitted to the others.

    With the best of a few penalties. The error of an image left out is its error divided by one
    less its leverage.
    """
    centred = functional.normalize(features.double() - features.double().mean(0), dim=1)
    targets = functional.one_hot(labels, int(labels.max()) + 1).double()
    offsets = targets.mean(0)
    kernel = centred @ centred.T
    identity = torch.eye(len(kernel), dtype=torch.float64)
    best: Hits = np.zeros(len(labels), dtype=np.bool_)
    for penalty in PENALTIES:
        smoother = torch.linalg.solve(kernel + penalty * identity, kernel)
        leverage = smoother.diagonal()[:, None]
        fitted = smoother @ (targets - offsets) + offsets
        left_out = (fitted - leverage * targets) / (1 - leverage).clamp_min(1e-6)
        hits: Hits = (left_out.argmax(1) == labels).numpy()
        if hits.sum() > best.sum():
            best = hits
    return best
