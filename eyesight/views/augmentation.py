"""What a recipe's augmentation does: training images as they are and as training sees them."""

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
from eyesight.system.progress import Progress, Talk, silent
from eyesight.tasks import TASKS, losses
from eyesight.views import plots

SHOWN = 15  # images as they are
CHANGED = 4  # augmented images in a trial …
TRIALS = 3  # … and trials, each with the next images
VISIBLE = 0.005  # a smaller share of a class in a blend is not named


def draw(
    recipe: Recipe,
    out: Path,
    *,
    talk: Talk = silent,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the figure to `out` (PNG) and return its path; the seed decides the changes."""
    if recipe.augment == Augment():
        settings = "--set augment.rotate=20 --set augment.flip=random"
        talk(f"{recipe.name} has no augmentation; for a preview try {settings}")
    images = first(dataset.load(recipe.data, talk=talk, progress=progress).train)
    index = torch.arange(len(images))
    if isinstance(images, Masked):
        pixels, names = _under_masks(images, images.take(index), images.targets(index))
    else:
        pixels = images.take(index).numpy()
        names = [images.classes[label] for label in images.labels]
    trials = [changed(images, recipe, trial, trial * CHANGED) for trial in range(TRIALS)]
    augmented = [images for images, _ in trials]
    captions = [texts for _, texts in trials]
    plots.save(plots.augmented(pixels, names, augmented, captions), out)
    return out


def first(images: Images) -> Images:
    """The first 15 images; some of every class in turn where these are all of one class."""
    labels = images.labels.numpy()
    if len(np.unique(labels[:SHOWN])) > 1:
        return images.subset(np.arange(min(SHOWN, len(images))))
    rank = np.zeros(len(labels), dtype=np.int64)  # of each image within its class
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        rank[own] = np.arange(len(own))
    order = np.lexsort((labels, rank))
    return images.subset(order[:SHOWN])


def changed(
    images: Images, recipe: Recipe, epoch: int, start: int = 0
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Four images from `start` on as training would see them in `epoch`, with their classes.

    Returns uint8 N,C,H,W and a caption each; after the last image the first follows.
    """
    index = torch.arange(len(images))
    shown = (start + torch.arange(min(CHANGED, len(images)))) % len(images)
    random = generator(recipe.training.seed, epoch, 0)
    pixels = images.take(index)
    if isinstance(images, Masked):
        pictures, masks = TASKS["mask"].change(
            pixels, images.targets(index), images, recipe.augment, random, epoch, index
        )
        return _under_masks(images, _uint8(pictures[shown]), masks[shown])
    targets = losses.one_hot(images.labels, len(images.classes))
    pictures, targets = augment(pixels, targets, recipe.augment, random, epoch, index)
    captions = [caption(target, images.classes) for target in targets[shown]]
    return _uint8(pictures[shown]).numpy(), captions


def _uint8(pictures: Tensor) -> Tensor:
    """Images in [0, 1] as uint8."""
    return (pictures * 255).round().to(torch.uint8).contiguous()


def _under_masks(
    images: Masked, pixels: Tensor, masks: Tensor
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Images N,C,H,W under their masks, and the two most frequent classes of each."""
    colours = np.array(images.colours, dtype=np.uint8)
    drawn = []
    captions = []
    for image, mask in zip(pixels.numpy(), masks.numpy(), strict=True):
        shown = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
        drawn.append(overlay(shown, mask, colours).transpose(2, 0, 1))
        counts = np.bincount(mask.ravel(), minlength=256)[: len(images.classes)]
        frequent = [place for place in np.argsort(-counts)[:2] if counts[place]]
        captions.append(", ".join(images.classes[place] for place in frequent))
    return np.stack(drawn), captions


def caption(target: Tensor, class_names: tuple[str, ...]) -> str:
    """The class of a target distribution, or the classes of a blend with their shares."""
    parts = []
    for share, name in zip(target.tolist(), class_names, strict=True):
        if share > VISIBLE:
            parts.append((share, name))
    if len(parts) == 1:
        return parts[0][1]
    parts.sort(reverse=True)
    return "\n".join(f"{share:.0%} {name}" for share, name in parts)
