"""Recipes by name or by the id of the published system they follow.

Each is a function that returns a `Recipe`, so that its docstring can say where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable

from eyesight.errors import unknown
from eyesight.recipe import Recipe
from eyesight.recipes import dense, digits, dogs, folder, glyphs, objects, transfer, vgg

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits.digits,
    "postal_digits": digits.postal_digits,
    "objects": objects.objects,
    "glyphs": glyphs.glyphs,
    "lenet5": digits.lenet5,
    "lenet5_published": digits.lenet5_published,
    "lenet5_1998": digits.lenet5_1998,
    "digits_cnn": digits.digits_cnn,
    "baseline_cnn": vgg.baseline_cnn,
    "small_vgg": vgg.small_vgg,
    "vgg16_as_written": vgg.vgg16_as_written,
    "vgg16": vgg.vgg16,
    "dropout_cnn": objects.dropout_cnn,
    "dropout_cnn_without": objects.dropout_cnn_without,
    "basic_cnn": objects.basic_cnn,
    "basic_cnn_augmented": objects.basic_cnn_augmented,
    "mixup_cnn": objects.mixup_cnn,
    "deep_mixup_cnn": objects.deep_mixup_cnn,
    "allconv": objects.allconv,
    "bottleneck": glyphs.bottleneck,
    "folder": folder.folder,
    "dogs": dogs.dogs,
    "dogs_densenet121": dogs.dogs_densenet121,
    "objects_transfer": transfer.objects_transfer,
    "objects_vgg16": transfer.objects_vgg16,
    "objects_resnet50v2": transfer.objects_resnet50v2,
    "objects_backbones": transfer.objects_backbones,
    "objects_finetune": transfer.objects_finetune,
    "objects_lite0": transfer.objects_lite0,
    "digits_vgg16": transfer.digits_vgg16,
    "digits_resnet152v2": transfer.digits_resnet152v2,
    "autoencoder": dense.autoencoder,
    "denoiser": dense.denoiser,
    "segment": dense.segment,
    "segment_transfer": dense.segment_transfer,
}


def find(name: str) -> Recipe:
    """The recipe called `name`, or that of a published system such as "B1".

    Raises UserError naming the nearest name.
    """
    recipe = _named(name)
    if recipe is None:
        raise unknown("recipe", name, RECIPES)
    return recipe


def is_known(name: str) -> bool:
    """Whether `find` has a recipe of this name or published system."""
    return _named(name) is not None


def _named(name: str) -> Recipe | None:
    if name in RECIPES:
        return RECIPES[name]()
    for build in RECIPES.values():
        recipe = build()
        if name.lower() in recipe.system.lower().split():
            return recipe
    return None
