"""A picture of what a recipe's augmentation does: training pictures as they are, and the same ones as training would see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.augment import augment, generator
from eyesight.data import dataset
from eyesight.data.images import Images
from eyesight.data.masks.images import Masked
from eyesight.inference.annotate import overlay
from eyesight.recipe import Augment, Recipe
from eyesight.report import plots
from eyesight.system.progress import Progress, Talk, silent
from eyesight.tasks import TASKS, losses

SHOWN, CHANGED, TRIALS = (
    15,
    4,
    3,
)  # pictures as they are, how many of them are changed, and how often


def draw(
    recipe: Recipe,
    out: Path,
    *,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the picture to `out` (PNG) and return its path; `recipe.training.seed` decides the changes. Masks lie over their pictures."""
    if recipe.augment == Augment():
        talk(
            f"{recipe.name} leaves its pictures as they are; to see changes: --set augment.rotate=20 --set augment.flip=random"
        )
    images = first(dataset.load(recipe.data, talk=talk, progress=progress).train)
    index = torch.arange(len(images))
    if isinstance(images, Masked):
        pixels, names = laid_over(images, images.take(index), images.targets(index))
    else:
        pixels = images.take(index).numpy()
        names = [images.classes[label] for label in images.labels]
    trials = [changed(images, recipe, epoch) for epoch in range(TRIALS)]
    plots.save(
        plots.augmented(
            pixels, names, [trial[0] for trial in trials], [trial[1] for trial in trials]
        ),
        out,
    )
    return out


def first(images: Images) -> Images:
    """The first 15 pictures; where these are of one class, because classes come one after another, some of every class in turn."""
    labels = images.labels.numpy()
    if len(set(labels[:SHOWN].tolist())) > 1:
        return images.subset(np.arange(min(SHOWN, len(images))))
    places = [np.flatnonzero(labels == label) for label in range(len(images.classes))]
    in_turn = [
        of_class[turn] for turn in range(SHOWN) for of_class in places if turn < len(of_class)
    ]
    return images.subset(np.array(in_turn[:SHOWN]))


def changed(images: Images, recipe: Recipe, epoch: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The first four pictures (uint8 N,C,H,W) as the training of this epoch would see them, and what they are then taken for."""
    index = torch.arange(len(images))
    random = generator(recipe.training.seed, epoch, 0)
    if isinstance(images, Masked):
        pictures, masks = TASKS["mask"].change(
            images.take(index), images.targets(index), images, recipe.augment, random, epoch, index
        )
        return laid_over(images, eight_bits(pictures[:CHANGED]), masks[:CHANGED])
    targets = losses.one_hot(images.labels, len(images.classes))
    pictures, targets = augment(images.take(index), targets, recipe.augment, random, epoch, index)
    return eight_bits(pictures[:CHANGED]).numpy(), [
        caption(target, images.classes) for target in targets[:CHANGED]
    ]


def eight_bits(pictures: Tensor) -> Tensor:
    """Pictures from 0 to 1 as uint8."""
    return (pictures * 255).round().to(torch.uint8).contiguous()


def laid_over(
    images: Masked, pixels: Tensor, masks: Tensor
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Pictures N,3,H,W under their masks, and the two classes of which each shows most."""
    colours = np.array(images.colours, dtype=np.uint8)
    pairs = [
        (np.broadcast_to(picture, (3, *picture.shape[1:])), mask)
        for picture, mask in zip(pixels.numpy(), masks.numpy(), strict=True)
    ]
    drawn = [
        overlay(picture.transpose(1, 2, 0), mask, colours).transpose(2, 0, 1)
        for picture, mask in pairs
    ]
    counts = [np.bincount(mask.ravel(), minlength=256)[: len(images.classes)] for _, mask in pairs]
    names = [
        ", ".join(images.classes[place] for place in np.argsort(-count)[:2] if count[place])
        for count in counts
    ]
    return np.stack(drawn), names


def caption(target: Tensor, classes: tuple[str, ...]) -> str:
    """The class of a target distribution, or its parts with their shares."""
    parts = [(float(share), classes[place]) for place, share in enumerate(target) if share > 0.005]
    if len(parts) == 1:
        return parts[0][1]
    return "\n".join(f"{share:.0%} {name}" for share, name in sorted(parts, reverse=True))
