"""Handwritten digits as 32×32×3 pictures (D1): an article's baseline, its small VGG, and VGG16 as it failed and as it works."""

from __future__ import annotations

from eyesight.recipe import Data, Model, Optim, Recipe, Training

ARTICLE = "an article on VGG and transfer learning for MNIST"
DIGITS = Data("mnist", size=28, pad=2, channels=3, validation=0.1)


def baseline_cnn() -> Recipe:
    """The article's baseline (D2) on its form of the digits (D1): two convolutions without activation.

    1,407,178 parameters, Adam, 5 epochs; batch as in Keras.

    `eyesight train baseline_cnn`
    """
    return Recipe(
        name="baseline_cnn",
        summary="the article's baseline on digits as small colour pictures",
        result="97.62 % after 60 s on two cores, of MNIST's test pictures, one seed",
        system="D1 D2",
        source=ARTICLE,
        data=DIGITS,
        model=Model("baseline_cnn"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=5, batch=32),
    )


def small_vgg() -> Recipe:
    """The article's small VGG (D3): 37,925,698 parameters, batch 100, 10 epochs, stopped when the loss stands still for 3.

    `eyesight train small_vgg`
    """
    return Recipe(
        name="small_vgg",
        summary="the article's VGG of two blocks, whose convolutions have no activation",
        result="97.18 % after 60 s on two cores, of MNIST's test pictures, one seed",
        system="D3",
        source=ARTICLE,
        data=DIGITS,
        model=Model("small_vgg"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=10, batch=100, patience=3, monitor="loss"),
    )


def vgg16_as_written() -> Recipe:
    """VGG16 as the article wrote it (D4): thirteen linear convolutions in a row, Adam 0.001; in print 0.11 from epoch 5 on.

    20,922,946 parameters. It is kept to be examined: `eyesight doctor` says why it collapses.

    `eyesight train vgg16_as_written`
    """
    return Recipe(
        name="vgg16_as_written",
        summary="the article's VGG16 without activations, which collapses to one class",
        result="11.89 % after 60 s on two cores, of MNIST's test pictures, one seed: 65 steps, and its loss is above a blind guess",
        system="D4",
        source=ARTICLE,
        data=DIGITS,
        model=Model("vgg16", activation="linear", normalise=False, initialise="glorot"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=10, batch=100),
    )


def vgg16() -> Recipe:
    """VGG16 that trains (D4): the same layers with ReLU, batch normalisation and He weights, a warm-up and a rate that fades.

    20,931,394 parameters, 8,448 of them in the normalisation.

    `eyesight train vgg16`
    """
    return Recipe(
        name="vgg16",
        summary="VGG16 from scratch on digits, with what it needs to train",
        result="34.84 % after 60 s on two cores, of MNIST's test pictures, one seed: 46 steps, too few",
        system="D4",
        source=ARTICLE,
        data=DIGITS,
        model=Model("vgg16", activation="relu", normalise=True, initialise="he"),
        optim=Optim("adam", lr=0.001, schedule="cosine", warmup=0.05),
        training=Training(epochs=10, batch=100),
    )
