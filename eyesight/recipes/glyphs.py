"""Recipes for printed characters: the term project's network, and our own for ten minutes."""

from __future__ import annotations

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training
from eyesight.recipes.digits import OURS


def glyphs() -> Recipe:
    """Our own character network: a stride-2 stem, three pooled stages, warped images.

    `eyesight train glyphs --budget 10m`
    """
    return Recipe(
        name="glyphs",
        summary="52 characters in many fonts, fastest recipe",
        result="94.31 % on unseen font families, 95.10 % ignoring case, one seed, 10 minutes",
        source=OURS,
        data=Data("glyphs", size=90, channels=1, scaling="standard"),
        augment=Augment(rotate=6, shift=0.04, zoom=0.12, shear=10, elastic=0.02),
        model=Model("fast_glyphs"),
        loss=Loss(smoothing=0.1),
        optim=Optim(
            "sgd",
            lr=0.1,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            schedule="linear",
            warmup=0.15,
            clip=1.0,  # without it a training of 82 steps ends at 21 to 33 % instead of 92 %
        ),
        training=Training(epochs=10, batch=128, min_steps=800, keep="last"),
    )


def bottleneck() -> Recipe:
    """The term project's bottleneck network (F3): 2,636,148 parameters, He-uniform weights.

    Adam 0.001, halved every 3 epochs; batch 64; 7 epochs or ten minutes (F2), whichever ends
    first, with `--budget 10m`. In print 95.00 % on validation, 94.73 % on training images.

    `eyesight train bottleneck`, or `--data FOLDER` with the images of Chars74K
    """
    return Recipe(
        name="bottleneck",
        summary="the term project's network on 52 characters in many fonts",
        result="93.87 % on unseen font families, 94.33 % ignoring case, one seed, 10 minutes",
        system="F3",
        source="a term project on font characters",
        data=Data("glyphs", size=90, channels=1),
        model=Model("bottleneck", initialise="he"),
        optim=Optim("adam", lr=0.001, schedule="step", step_epochs=3, step_factor=0.5),
        training=Training(epochs=7, batch=64, keep="last"),
    )
