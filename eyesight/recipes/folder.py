"""A default for one's own pictures: a short table of rules picks backbone, resolution, freezing and augmentation, and says why.

| what is seen                                   | what follows                                                              |
|------------------------------------------------|---------------------------------------------------------------------------|
| weights at hand                                | the first of `PREFERRED` whose weights lie on this machine                |
| pictures of 160 pixels or more                 | 224 pixels; smaller ones: 160; under 64: 96                               |
| time for less than two looks at every picture  | the resolution falls to 160, 128, 96 until there is time                  |
| fewer than 20 pictures a class                 | head only, six versions of each picture, strong augmentation              |
| up to 20,000 pictures                          | head, then the last stage; four versions, light augmentation              |
| more                                           | head, then the last stage; each picture and its mirror image              |
| most classes are ImageNet's by name            | a gentler rate: the head begins with what the weights know of them        |

The epoch to keep is chosen by accuracy: the loss, with label smoothing, may go on falling where accuracy falls too.
Pictures are mirrored: `--set augment.flip=none` where left and right matter.
What a person sets stays as they set it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from eyesight.recipe import (
    Augment,
    Data,
    Loss,
    Model,
    Optim,
    Recipe,
    Training,
    Transfer,
    differences,
)
from eyesight.recipes.digits import OURS

AUTO = "auto"  # the model's name, and where a second stage begins, until the pictures have been looked at
PREFERRED = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "EfficientNetB0",
    "ResNet50",
    "DenseNet121",
)
PACE = 90.0  # pictures a second at 224 pixels, from which the time needed is guessed: 180 on two cores with AMX, a third of it without
SIDES = (224, 160, 128, 96)
GENTLE = 0.0003  # rate of a head that knows most of its classes: a larger one makes it forget (see LOG.md, dogs)


@dataclass(frozen=True)
class Seen:
    """What is known of the pictures before anything is trained: how many, of how many classes, and their usual side in pixels.

    `known` of the classes are ImageNet's by name.
    """

    pictures: int
    classes: int
    side: int
    known: int = 0


def folder() -> Recipe:
    """Whatever pictures are given: `choose` decides when they have been counted.

    `eyesight train folder --data FOLDER --budget 3m`
    """
    return Recipe(
        name="folder",
        summary="your own pictures: looks at them and picks backbone, resolution, freezing and augmentation",
        result="94.8 % of 500 held-out photographs of ten breeds of dogs, one seed, 3 minutes on two cores; ImageNet holds these pictures",
        source=OURS,
        data=Data(resize="crop", channels=3),
        augment=Augment(flip="random"),
        model=Model(AUTO),
        loss=Loss(smoothing=0.1),
        optim=Optim("adam", lr=0.002, schedule="cosine", layer_decay=0.7),
        training=Training(epochs=20, batch=64, min_steps=400, monitor="score"),
        transfer=Transfer(
            thaw=AUTO
        ),  # so that no second stage can be asked for with transfer.thaw=
    )


def choose(recipe: Recipe, seen: Seen, at_hand: Collection[str]) -> tuple[Recipe, list[str]]:
    """The recipe with every open choice made, and the reasons; `at_hand` are the networks whose weights are on this machine."""
    name = next((name for name in PREFERRED if name in at_hand), PREFERRED[0])
    why = [
        f"{name}: "
        + (
            "its weights are at hand"
            if name in at_hand
            else "no weights are at hand, and these are the easiest to get"
        )
    ]
    side, reason = resolution(seen, recipe.training.budget)
    why.append(
        f"{recipe.data.size} pixels, as asked" if recipe.data.size else f"{side} pixels: {reason}"
    )
    transfer, changes, reason = freezing(seen, recipe.augment)
    why.append(reason)
    data, model = (
        replace(recipe.data, size=recipe.data.size or side),
        Model(name, weights="imagenet", head="average dropout.3"),
    )
    optim = recipe.optim
    if 2 * seen.known > seen.classes:
        optim, transfer = replace(optim, lr=GENTLE), replace(transfer, thaw_lr=1e-4)
        why.append(
            f"a gentler rate, {GENTLE}: {seen.known} of {seen.classes} classes are ImageNet's by name"
        )
    chosen = replace(
        recipe, data=data, model=model, augment=changes, optim=optim, transfer=transfer
    )
    for path, value in differences(recipe, folder()).items():
        group, field = path.split(".")
        if group in ("model", "augment", "optim", "transfer"):
            chosen = replace(chosen, **{group: replace(getattr(chosen, group), **{field: value})})
    return chosen, why


def resolution(seen: Seen, budget: float | None) -> tuple[int, str]:
    """The side in pixels, and why."""
    side = 224 if seen.side >= 160 else 160 if seen.side >= 64 else 96
    reason = f"the pictures are usually {seen.side} wide"
    for smaller in SIDES:
        if budget is None or smaller > side:
            continue
        side = smaller
        if 2 * seen.pictures * (side / 224) ** 2 / PACE <= 0.5 * budget:
            break
        reason = (
            f"more would not let {seen.pictures:,} pictures be seen twice in half of {budget:.0f} s"
        )
    return side, reason


def freezing(seen: Seen, asked: Augment) -> tuple[Transfer, Augment, str]:
    """How much trains, what changes the pictures, and why."""
    each = seen.pictures / max(1, seen.classes)
    if each < 20:
        strong = replace(asked, zoom=0.2, rotate=10.0, shift=0.1, brightness=(0.8, 1.2))
        return (
            Transfer("all", views=6),
            strong,
            f"head only, six versions: {each:.0f} pictures a class are too few to change the backbone",
        )
    thaw = Transfer("all", thaw="conv5", thaw_epochs=6, thaw_share=0.6, thaw_lr=2e-4)
    if seen.pictures <= 20_000:
        light = replace(asked, zoom=0.1, shift=0.05)
        return (
            replace(thaw, views=4),
            light,
            f"head, then the last stage, four versions: {each:.0f} pictures a class",
        )
    return (
        replace(thaw, views=2),
        asked,
        f"head, then the last stage: {seen.pictures:,} pictures need little augmentation",
    )
