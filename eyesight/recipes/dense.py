"""Networks that give more than a class: autoencoders, which restore a picture, and segmentation, which gives every pixel a class."""

from __future__ import annotations

from dataclasses import replace

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training, Transfer
from eyesight.recipes.digits import BOOK, OURS
from eyesight.recipes.transfer import BACKBONE


def autoencoder() -> Recipe:
    """A picture through a bottleneck of 32 numbers and back (B13); what it restores badly is unlike what it has learnt.

    `eyesight train autoencoder --data mnist --budget 3m`; any folder of pictures of one size will do, with classes or without.
    """
    return Recipe(
        name="autoencoder",
        summary="restores a picture from 32 numbers, and tells what is unlike the others",
        result="mean squared error .0031 (PSNR 25.97 dB) on MNIST's test digits, one seed, 3 minutes on two cores",
        system="B13",
        source=BOOK,
        data=Data("mnist", target="picture", validation=0.05),
        model=Model("autoencoder", code=32),
        loss=Loss("mse"),
        optim=Optim("adam", lr=0.003, schedule="one_cycle", warmup=0.1),
        training=Training(epochs=30, batch=256, min_steps=1000),
    )


def denoiser() -> Recipe:
    """The same network given noisy pictures and the clean ones as its target (B13); it is judged on noisy pictures, too.

    `eyesight train denoiser --data mnist --budget 3m`; `--set augment.noise=0.5` makes it harder.
    """
    return replace(
        autoencoder(),
        name="denoiser",
        summary="restores the clean picture from a noisy one",
        result="PSNR 22.70 dB after 60 s on two cores, on MNIST's test digits with noise, one seed",
        augment=Augment(noise=0.3),
        model=Model("autoencoder", code=64),
    )


def segment() -> Recipe:
    """A class for every pixel (B13): convolutions only, skip connections, the last convolution emits the class map; from scratch.

    `eyesight train segment` learns the drawn set; `eyesight train segment --data FOLDER --budget 5m` one's own pictures and masks.
    Nothing is resampled unless asked (`augment.zoom`, `augment.rotate`): thin things and edges live from single pixels.
    """
    return Recipe(
        name="segment",
        summary="a class for every pixel, from scratch",
        result="mean IoU .948 on the drawn set, one seed, 3 minutes on two cores",
        system="B13",
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
    """A class for every pixel on a pretrained backbone (B13), its first stages frozen; skip connections from the end of every stage.

    `eyesight train segment_transfer --data FOLDER --budget 5m`; `--set transfer.freeze=all` trains what joins the stages only.
    """
    return replace(
        segment(),
        name="segment_transfer",
        summary="a class for every pixel, on a pretrained network",
        result="mean IoU .794 on the drawn set with EfficientNet-lite0, one seed, 2 minutes on two cores",
        data=Data("shapes", target="mask", channels=3, resize="none"),
        model=Model(BACKBONE, weights="imagenet", head="skips 64"),
        optim=Optim("adamw", lr=0.002, weight_decay=1e-3, schedule="one_cycle", warmup=0.15),
        training=replace(segment().training, batch=16),
        transfer=Transfer(freeze="conv4", views=0, statistics="keep"),
    )
