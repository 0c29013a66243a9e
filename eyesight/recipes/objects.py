"""Recipes for ten classes of objects in 32×32 photographs: published networks, and our own."""

from __future__ import annotations

from dataclasses import replace

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training
from eyesight.recipes.digits import BOOK, KERAS_ADAM, OURS

TEAM = "a team report on a 10-class competition"
OBJECTS = Data("cifar10", validation=0.1)
JPEG = "CIFAR-10's test images as JPEG, one seed, after 60 s on two cores"
SIMPLE_AUGMENTATION = Augment(
    flip="random",
    rotate=30.0,
    shift=0.2,
    zoom=0.3,
    brightness=(0.8, 1.0),
)


def objects() -> Recipe:
    """Our own object network: whitened input, filters that begin as the identity, Muon.

    `eyesight train objects --budget 10m`
    """
    return Recipe(
        name="objects",
        summary="ten classes of objects in small photographs, fastest recipe",
        result="90.66 ± 0.12 % of CIFAR-10's test images as JPEG, three seeds, 10 minutes",
        source=OURS,
        data=Data("cifar10", size=32, channels=3, scaling="standard", validation=0.02),
        augment=Augment(flip="alternating", crop=4),
        model=Model("fast_objects"),
        loss=Loss(smoothing=0.2),
        optim=Optim(
            "muon",
            lr=0.12,
            momentum=0.6,
            bias_scale=0.22,
            head_scale=2.8,
            weight_decay=1.5e-3,
            schedule="linear",
        ),
        training=Training(
            epochs=16,
            batch=500,
            min_steps=400,
            small=0.75,
            keep="last",
            views="flip_shifts",
        ),
    )


def dropout_cnn() -> Recipe:
    """The textbook's network with dropout (B2): 890,410 parameters, batch 128, 100 epochs.

    Its curves, beside those of `dropout_cnn_without`, show what dropout prevents.

    `eyesight train dropout_cnn`
    """
    return Recipe(
        name="dropout_cnn",
        summary="the textbook's network with dropout on ten classes of objects",
        result=f"58.72 % of {JPEG}",
        system="B2",
        source=BOOK,
        data=OBJECTS,
        model=Model("dropout_cnn"),
        optim=KERAS_ADAM,
        training=Training(epochs=100, batch=128, keep="last"),
    )


def dropout_cnn_without() -> Recipe:
    """The same network without its dropout (B2), to see it overfit.

    `eyesight train dropout_cnn_without`
    """
    return replace(
        dropout_cnn(),
        name="dropout_cnn_without",
        summary="the same network without dropout, which overfits",
        result=f"66.62 % of {JPEG}",
        system="B2-without",
        model=Model("dropout_cnn", dropout=0.0),
    )


def basic_cnn() -> Recipe:
    """The team's first network (O2): 549,898 parameters, batch 128, 40 epochs.

    In print .71 on validation after 20 epochs, .73 after 40.

    `eyesight train basic_cnn`
    """
    return Recipe(
        name="basic_cnn",
        summary="the team's first network on ten classes of objects",
        result="74.60 % on validation, CIFAR-10, 40 epochs",
        system="O2",
        source=TEAM,
        data=OBJECTS,
        model=Model("basic_cnn"),
        optim=KERAS_ADAM,
        training=Training(epochs=40, batch=128, keep="last"),
    )


def basic_cnn_augmented() -> Recipe:
    """The first network with simple augmentation (O3): turned, shifted, zoomed, darkened, mirrored.

    In print .718 on the test set after 20 epochs, .737 after 40.

    `eyesight train basic_cnn_augmented`
    """
    return replace(
        basic_cnn(),
        name="basic_cnn_augmented",
        summary="the team's first network with simple augmentation",
        result=f"46.64 % of {JPEG}",
        system="O3",
        augment=SIMPLE_AUGMENTATION,
    )


def mixup_cnn() -> Recipe:
    """The team's mixup network (O4, O5): 4,823,114 parameters.

    In print .837 on the test set after 20 epochs, .848 after 40. Pairs are drawn anew in every
    batch with Beta(.2, .2), where the team mixed 75,000 images once; the batch is that of O2.

    `eyesight train mixup_cnn`
    """
    return Recipe(
        name="mixup_cnn",
        summary="the team's network with batch normalisation and mixup",
        result=f"36.15 % of {JPEG}",
        system="O4 O5",
        source=TEAM,
        data=OBJECTS,
        augment=Augment(mixup=0.2),
        model=Model("mixup_cnn"),
        optim=KERAS_ADAM,
        training=Training(epochs=40, batch=128, keep="last"),
    )


def deep_mixup_cnn() -> Recipe:
    """The team's deepest mixup network (O6): 10,925,386 parameters.

    In print .8728 on the test set after 20 epochs, .8752 after 40, the team's best.

    `eyesight train deep_mixup_cnn`
    """
    return replace(
        mixup_cnn(),
        name="deep_mixup_cnn",
        summary="the team's deeper network with mixup, their best",
        result=f"10.06 %, chance, of {JPEG}: too short",
        system="O6",
        model=Model("deep_mixup_cnn"),
    )


def allconv() -> Recipe:
    """The textbook's network without pooling (B13), All-CNN-C of Springenberg et al. 2014.

    1,369,738 parameters. Momentum and weight decay are the paper's, and the learning rate is one
    of its four; it reached 92.75 % on shifted and mirrored images in 350 epochs. The shorter
    cosine schedule with a warm-up and the clipping are ours: at 0.05 every unit of the last
    layer died.

    `eyesight train allconv`
    """
    return Recipe(
        name="allconv",
        summary="an all-convolutional network on ten classes of objects",
        result=f"17.49 % of {JPEG}",
        system="B13",
        source=f"{BOOK}; Springenberg et al. 2014",
        data=replace(OBJECTS, scaling="standard"),
        augment=Augment(flip="random", crop=4),
        model=Model("allconv"),
        optim=Optim(
            "sgd",
            lr=0.01,
            momentum=0.9,
            weight_decay=0.001,
            schedule="cosine",
            warmup=0.1,
            clip=1.0,
        ),
        training=Training(epochs=100, batch=128),
    )
