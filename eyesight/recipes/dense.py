"""Recipes that give more than a class: autoencoders restore an image, segmentation maps one."""

from __future__ import annotations

from dataclasses import replace

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training, Transfer
from eyesight.recipes.digits import BOOK, OURS
from eyesight.recipes.transfer import BACKBONE


def autoencoder() -> Recipe:
    """An image through a bottleneck of 32 numbers and back (B13).

    `eyesight train autoencoder --data mnist --budget 3m`; any folder of images of one size will
    do, with classes or without. An image that is restored badly is unlike the training images.
    """
    return Recipe(
        name="autoencoder",
        summary="reconstructs an image from 32 numbers; detects unusual images",
        result="mean squared error .0031 (PSNR 25.97 dB) on MNIST's test set, one seed, 3 minutes",
        system="B13-autoencoder",
        source=BOOK,
        data=Data("mnist", target="picture", validation=0.05),
        model=Model("autoencoder", code=32),
        loss=Loss("mse"),
        optim=Optim("adam", lr=0.003, schedule="one_cycle", warmup=0.1),
        training=Training(epochs=30, batch=256, min_steps=1000),
    )


def denoiser() -> Recipe:
    """The autoencoder given noisy images and the clean ones as its target (B13).

    `eyesight train denoiser --data mnist --budget 3m`; `--set augment.noise=0.5` makes it harder.
    It is judged on noisy images, too.
    """
    return replace(
        autoencoder(),
        name="denoiser",
        summary="reconstructs a clean image from a noisy one",
        result="PSNR 22.70 dB on MNIST's test set with noise, one seed, after 60 s on two cores",
        system="B13-denoiser",
        augment=Augment(noise=0.3),
        model=Model("autoencoder", code=64),
    )


def segment() -> Recipe:
    """A class for every pixel, from scratch (B13): convolutions and skip connections only.

    `eyesight train segment` learns the drawn set; your own images and masks:
    `eyesight train segment --data FOLDER --budget 5m`. Nothing is resampled unless asked
    (`augment.zoom`, `augment.rotate`): thin objects and edges depend on single pixels.
    """
    return Recipe(
        name="segment",
        summary="semantic segmentation, from scratch",
        result="mean IoU .948 on the drawn set, one seed, 3 minutes on two cores",
        system="B13-segmentation",
        source=f"{BOOK}; {OURS}",
        data=Data("shapes", target="mask", scaling="standard", channels=3),
        augment=Augment(flip="random", crop=6, brightness=(0.8, 1.25), contrast=(0.8, 1.25)),
        model=Model("skips"),
        loss=Loss("cross_entropy"),
        optim=Optim(
            "muon",
            lr=0.1,
            momentum=0.85,
            bias_scale=0.1,
            head_scale=0.1,
            weight_decay=0.0,
            schedule="linear",
            warmup=0.1,
        ),
        training=Training(epochs=12, batch=32, min_steps=800, monitor="score"),
    )


def segment_transfer() -> Recipe:
    """A class for every pixel on a pretrained backbone (B13), its first stages frozen.

    `eyesight train segment_transfer --data FOLDER --budget 5m`; with
    `--set transfer.freeze=all` only the layers that join the stages train.
    """
    return replace(
        segment(),
        name="segment_transfer",
        summary="semantic segmentation with a pretrained backbone",
        result="mean IoU .794 on the drawn set with EfficientNet-lite0, one seed, 2 minutes",
        system="B13-segmentation-transfer",
        data=Data("shapes", target="mask", channels=3, resize="none"),
        model=Model(BACKBONE, weights="imagenet", head="skips 64"),
        optim=Optim("adamw", lr=0.002, weight_decay=1e-3, schedule="one_cycle", warmup=0.15),
        training=replace(segment().training, batch=16),
        transfer=Transfer(freeze="conv4", views=0, statistics="keep"),
    )
