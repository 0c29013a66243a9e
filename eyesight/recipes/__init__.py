"""Recipes by name: functions that return a `Recipe`, so that each can say where it comes from and what it reached."""

from __future__ import annotations

from collections.abc import Callable

from eyesight.errors import unknown
from eyesight.recipe import Recipe
from eyesight.recipes import dense, digits, dogs, folder, glyphs, objects, transfer, vgg

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits.digits,
    "objects": objects.objects,
    "glyphs": glyphs.glyphs,
    "lenet5": digits.lenet5,
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
    """The recipe called `name`; raises UserError naming the nearest one."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()
