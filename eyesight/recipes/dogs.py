"""Recipes for breeds of dogs from photographs.

The images of Stanford Dogs are part of ImageNet, so a network pretrained on ImageNet has seen
them: its accuracy here is optimistic.
"""

from __future__ import annotations

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training, Transfer
from eyesight.recipes.digits import BOOK, OURS
from eyesight.recipes.transfer import BACKBONE


def dogs() -> Recipe:
    """Our own dogs: a linear head on features of four views of each image, then the last stage.

    `eyesight train dogs --data FOLDER_OR_ARCHIVE --budget 5m`; with `--set data.box=true` images
    are cut to the dog, where the data has boxes.
    """
    return Recipe(
        name="dogs",
        summary="dog breeds: trains a head on a pretrained backbone, then its last stage",
        result="95.0 % on 500 held-out photographs of ten ImageNet breeds, one seed, 5 minutes",
        source=OURS,
        data=Data("stanford_dogs", size=224, channels=3, resize="crop", validation=0.1, test=0.2),
        augment=Augment(flip="random", zoom=0.1, shift=0.05),
        model=Model(BACKBONE, weights="imagenet", head="average dropout.3"),
        loss=Loss(smoothing=0.1),
        optim=Optim("adam", lr=0.0003, schedule="cosine", layer_decay=0.7),
        training=Training(epochs=30, batch=64, min_steps=600, monitor="top1"),
        transfer=Transfer(
            freeze="all",
            views=4,
            thaw="conv5",
            thaw_epochs=4,
            thaw_share=0.6,
            thaw_optimiser="adamw",
            thaw_lr=1e-4,
        ),
    )


def dogs_densenet121() -> Recipe:
    """DenseNet121 without its top, all of it trained (B11): FC1024, dropout .75, FC120.

    224×224, batch 16, a low learning rate, 200 epochs.

    `eyesight train dogs_densenet121 --data FOLDER_OR_ARCHIVE`
    """
    return Recipe(
        name="dogs_densenet121",
        summary="dog breeds, DenseNet121 fine-tuned as in the textbook",
        result="with EfficientNet-lite0 instead: 42.0 % on ten breeds, one epoch, 2 minutes",
        system="B11",
        source=BOOK,
        data=Data("stanford_dogs", size=224, channels=3, validation=0.1, test=0.2),
        model=Model("DenseNet121", weights="imagenet", head="flatten 1024 dropout.75"),
        optim=Optim("adam", lr=1e-6),
        training=Training(epochs=200, batch=16, keep="last"),
        transfer=Transfer(freeze="none", views=0),
    )
