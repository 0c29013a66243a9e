"""Handwritten digits: the textbook's networks, and our own for speed."""

from __future__ import annotations

from eyesight.recipe import Augment, Data, Model, Optim, Recipe, Training

BOOK = "a textbook chapter on convolutional networks"
OURS = "our own, for two processor cores"


def digits() -> Recipe:
    """Our own digits: a residual network with a stride-2 stem, warped pictures, four epochs.

    `eyesight train digits`; `--set training.epochs=18 --set model.depth=3` takes five times as long and errs less.
    """
    return Recipe(
        name="digits",
        summary="handwritten digits, our fastest",
        source=OURS,
        result="99.53 ± 0.03 % on MNIST's test set, five seeds, 27 s of training and evaluation on two cores",
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
        ),
        training=Training(epochs=4, batch=128, min_steps=800, keep="last", views="shifts"),
    )


def lenet5() -> Recipe:
    """LeNet-5 on MNIST (B1): 61,706 parameters, batch 128; in print Adam 0.001, 30 epochs of 25 s, 99.04 %.

    Here twelve epochs with a rate that rises and falls: see `result`. As printed:
    `eyesight train lenet5 --set optim.schedule=constant --set optim.lr=0.001 --set training.epochs=30`
    """
    return Recipe(
        name="lenet5",
        summary="LeNet-5 on handwritten digits",
        system="B1",
        source=BOOK,
        result="99.26 ± 0.03 % on MNIST's test set, three seeds, 41 s of training and evaluation on two cores",
        data=Data("mnist", validation=0.1),
        model=Model("lenet5"),
        optim=Optim("adam", lr=0.005, schedule="one_cycle"),
        training=Training(epochs=12, batch=128, monitor="top1", precision="float32"),
    )


def lenet5_1998() -> Recipe:
    """LeNet-5 as published in 1998 (B1): 32×32 pictures, sparse third layer, trained subsampling, scaled tanh.

    `eyesight train lenet5_1998`
    """
    return Recipe(
        name="lenet5_1998",
        summary="LeNet-5 as LeCun et al. published it in 1998",
        result="98.99 % after 60 s on two cores, of MNIST's test pictures, one seed",
        system="B1",
        source="LeCun, Bottou, Bengio, Haffner 1998",
        data=Data("mnist", size=28, pad=2, validation=0.1, scaling="standard"),
        model=Model("lenet5_1998"),
        optim=Optim("sgd", lr=0.02, momentum=0.9, schedule="cosine"),
        training=Training(epochs=20, batch=128),
    )


def digits_cnn() -> Recipe:
    """The digit network "v2" (B3): 594,922 parameters, batch 128, 100 epochs; 99.58 % in print.

    `eyesight train digits_cnn`
    """
    return Recipe(
        name="digits_cnn",
        summary="the textbook's digit network with dropout",
        result="99.35 % after 60 s on two cores, of MNIST's test pictures, one seed",
        system="B3",
        source=BOOK,
        data=Data("mnist", validation=0.1),
        model=Model("dropout_cnn"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=100, batch=128),
    )
