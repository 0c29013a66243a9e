"""A picture of what a recipe's augmentation does: training pictures as they are, and the same ones as training would see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight import losses, plots
from eyesight.augment import augment, generator
from eyesight.data import dataset
from eyesight.data.images import Images
from eyesight.data.listing import Talk, silent
from eyesight.recipe import Augment, Recipe

SHOWN, CHANGED, TRIALS = 15, 4, 3  # pictures as they are, how many of them are changed, and how often


def draw(recipe: Recipe, out: Path, *, talk: Talk = silent, progress: dataset.Progress = lambda done, total: None) -> Path:
    """Write the picture to `out` (PNG) and return its path; `recipe.training.seed` decides the changes."""
    if recipe.augment == Augment():
        talk(f"{recipe.name} leaves its pictures as they are; to see changes: --set augment.rotate=20 --set augment.flip=random")
    images = first(dataset.load(recipe.data, talk=talk, progress=progress).train)
    pixels, names = images.take(torch.arange(len(images))), [images.classes[label] for label in images.labels]
    trials = [changed(images, recipe, epoch) for epoch in range(TRIALS)]
    plots.save(plots.augmented(pixels.numpy(), names, [trial[0] for trial in trials], [trial[1] for trial in trials]), out)
    return out


def first(images: Images) -> Images:
    """The first 15 pictures; where these are of one class, because classes come one after another, some of every class in turn."""
    labels = images.labels.numpy()
    if len(set(labels[:SHOWN].tolist())) > 1:
        return images.subset(np.arange(min(SHOWN, len(images))))
    places = [np.flatnonzero(labels == label) for label in range(len(images.classes))]
    in_turn = [of_class[turn] for turn in range(SHOWN) for of_class in places if turn < len(of_class)]
    return images.subset(np.array(in_turn[:SHOWN]))


def changed(images: Images, recipe: Recipe, epoch: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The first four pictures (uint8 N,C,H,W) as the training of this epoch would see them, and what they are then taken for."""
    targets = losses.one_hot(images.labels, len(images.classes))
    random = generator(recipe.training.seed, epoch, 0)
    pictures, targets = augment(images.take(torch.arange(len(images))), targets, recipe.augment, random, epoch, torch.arange(len(images)))
    seen = (pictures[:CHANGED] * 255).round().to(torch.uint8).contiguous().numpy()
    return seen, [caption(target, images.classes) for target in targets[:CHANGED]]


def caption(target: Tensor, classes: tuple[str, ...]) -> str:
    """The class of a target distribution, or its parts with their shares."""
    parts = [(float(share), classes[place]) for place, share in enumerate(target) if share > 0.005]
    if len(parts) == 1:
        return parts[0][1]
    return "\n".join(f"{share:.0%} {name}" for share, name in sorted(parts, reverse=True))
