"""Recipes for handwritten digits: the textbook's networks, and our own for speed."""

from __future__ import annotations

from dataclasses import replace

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training

BOOK = "a textbook chapter on convolutional networks"
OURS = "eyesight, tuned for two processor cores"
MNIST = Data("mnist", validation=0.1)
KERAS_ADAM = Optim("adam", lr=0.001)  # Keras' defaults, constant


def digits() -> Recipe:
    """Our own digit network: a residual network with a stride-2 stem, warped images, four epochs.

    `eyesight train digits`; `--set training.epochs=18 --set model.depth=3` takes five times as
    long and makes fewer mistakes.
    """
    return Recipe(
        name="digits",
        summary="handwritten digits, fastest recipe",
        source=OURS,
        result="99.53 ± 0.03 % on MNIST's test set, five seeds, 27 s on two cores",
        data=Data("mnist", size=28, channels=1, scaling="standard", validation=0.02),
        augment=Augment(rotate=8, shift=0.05, zoom=0.1, shear=7, elastic=0.03),
        model=Model("fast_digits"),
        optim=Optim(
            "sgd",
            lr=0.22,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            schedule="linear",
            warmup=0.2,
            clip=1.0,  # without it a training of 120 steps ends at 80 to 90 % instead of 98 %
        ),
        training=Training(epochs=4, batch=128, min_steps=800, keep="last", views="shifts"),
    )


def postal_digits() -> Recipe:
    """`digits` that also knows other hands than MNIST's: what the reader of postal codes learns.

    `eyesight train postal_digits`
    """
    return replace(
        digits(),
        name="postal_digits",
        summary="handwritten digits by many writers, for the postal-code reader",
        result="99.48 % on MNIST's test set, one seed",
        data=Data("postal_digits", size=28, channels=1, scaling="standard", validation=0.02),
        loss=Loss(smoothing=0.05),
    )


def lenet5() -> Recipe:
    """LeNet-5 with our schedule: twelve epochs, a learning rate that rises and falls.

    `eyesight train lenet5`; the published settings are in `lenet5_published`.
    """
    return Recipe(
        name="lenet5",
        summary="LeNet-5 on handwritten digits, with a faster schedule",
        source=OURS,
        result="99.26 ± 0.03 % on MNIST's test set, three seeds, 41 s on two cores",
        data=MNIST,
        model=Model("lenet5"),
        optim=Optim("adam", lr=0.005, schedule="one_cycle"),
        training=Training(epochs=12, batch=128, monitor="top1", precision="float32"),
    )


def lenet5_published() -> Recipe:
    """LeNet-5 on MNIST as printed (B1): 61,706 parameters, Adam 0.001, batch 128, 30 epochs.

    In print 99.04 % after the last epoch, 99.20 % in the best, 25 s an epoch.

    `eyesight train lenet5_published`
    """
    return replace(
        lenet5(),
        name="lenet5_published",
        summary="LeNet-5 on handwritten digits, as trained in the textbook",
        result="99.07 % on MNIST's test set, one seed; published 99.04 %",
        system="B1",
        source=BOOK,
        optim=KERAS_ADAM,
        training=Training(epochs=30, batch=128, keep="last"),
    )


def lenet5_1998() -> Recipe:
    """LeNet-5 as published in 1998 (B1): sparse third layer, trained subsampling, scaled tanh.

    The input is 32×32. `eyesight train lenet5_1998`
    """
    return Recipe(
        name="lenet5_1998",
        summary="LeNet-5 as LeCun et al. published it in 1998",
        result="98.99 % on MNIST's test set, one seed, after 60 s on two cores",
        system="B1-1998",
        source="LeCun, Bottou, Bengio, Haffner 1998",
        data=Data("mnist", size=28, pad=2, validation=0.1, scaling="standard"),
        model=Model("lenet5_1998"),
        optim=Optim("sgd", lr=0.02, momentum=0.9, schedule="cosine"),
        training=Training(epochs=20, batch=128),
    )


def digits_cnn() -> Recipe:
    """The textbook's digit network "v2" (B3): 594,922 parameters, batch 128, 100 epochs.

    In print 99.58 %. `eyesight train digits_cnn`
    """
    return Recipe(
        name="digits_cnn",
        summary="the textbook's digit network with dropout",
        result="99.35 % on MNIST's test set, one seed, after 60 s on two cores",
        system="B3",
        source=BOOK,
        data=MNIST,
        model=Model("dropout_cnn"),
        optim=KERAS_ADAM,
        training=Training(epochs=100, batch=128, keep="last"),
    )
