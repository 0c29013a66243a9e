"""The recipe for your own images; rules choose backbone, resolution, freezing and augmentation.

| condition | choice |
|---|---|
| available weights | the first of `PREFERRED`; with a budget of a minute or more, by a probe |
| image width | 224 pixels for images of 160 pixels or more; 160 from 64 pixels on; otherwise 96 |
| less time than two passes need, at most at the probe's pace | 160, 128, 96 pixels |
| fewer than 20 images per class | head only, six views per image, strong augmentation |
| up to 20,000 images | head, then the last stage; four views, light augmentation |
| more images | head, then the last stage; each image and its mirror image |
| most class names are in ImageNet | a lower learning rate: the head starts with its weights |

The best epoch is chosen by accuracy: with label smoothing the loss may still decrease while
accuracy drops. Images are flipped horizontally; use `--set augment.flip=none` if left and right
matter. Settings given by the user are never changed.
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

AUTO = "auto"  # the model's name, and where a second stage begins, until the images are counted
PREFERRED = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "EfficientNetB0",
    "ResNet50",
    "DenseNet121",
)
# Images a second at 224 pixels, until it is measured: 180 on two cores with AMX, 60 without.
PACE = 90.0
SIDES = (224, 160, 128, 96)
GENTLE = (
    0.0003  # a larger rate makes a head that starts with ImageNet's weights forget (LOG.md, dogs)
)
HEAD = "average dropout.3"


@dataclass(frozen=True)
class Seen:
    """Number of images, number of classes and median width in pixels of a data set.

    `imagenet_classes` is the number of classes with an ImageNet name, `held_out` about the number
    of images that are not trained on.
    """

    pictures: int
    classes: int
    side: int
    imagenet_classes: int = 0
    held_out: int = 0

    @property
    def trained_on(self) -> str:
        """For people: about how many training images each class has."""
        each = (self.pictures - self.held_out) / max(1, self.classes)
        return f"about {each:.0f} training images per class"


def folder() -> Recipe:
    """Your own images; `choose` completes the recipe when they have been counted.

    `eyesight train folder --data FOLDER --budget 3m`
    """
    return Recipe(
        name="folder",
        summary="your own images; chooses backbone, resolution and augmentation for them",
        result="94.8 % on 500 held-out photographs of ten ImageNet dog breeds, one seed, 3 minutes",
        source=OURS,
        data=Data(resize="crop", channels=3),
        augment=Augment(flip="random"),
        model=Model(AUTO),
        loss=Loss(smoothing=0.1),
        optim=Optim("adam", lr=0.002, schedule="cosine", layer_decay=0.7),
        training=Training(epochs=20, batch=64, min_steps=400, monitor="score"),
        transfer=Transfer(thaw=AUTO),  # an empty `transfer.thaw=` disables the second stage
    )


def choose(
    recipe: Recipe, seen: Seen, at_hand: Collection[str], pace: float = PACE
) -> tuple[Recipe, list[str]]:
    """Complete the recipe; return it with the reasons.

    `at_hand` are the networks whose weights are on this machine, `pace` the images that they infer
    a second at 224 pixels.
    """
    name, reason = recipe.model.name, "as set"
    if name == AUTO:
        name, reason = backbone(at_hand)
    reasons = [f"{name}: {reason}"]
    side, reason = resolution(seen, recipe.training.budget, pace)
    if recipe.data.size:
        side = recipe.data.size
        reasons.append(f"{side} pixels, as set")
    else:
        reasons.append(f"{side} pixels: {reason}")
    transfer, augment, reason = freezing(seen, recipe.augment)
    reasons.append(reason)
    optim = recipe.optim
    if 2 * seen.imagenet_classes > seen.classes:
        optim = replace(optim, lr=GENTLE)
        transfer = replace(transfer, thaw_lr=1e-4)
        share = f"{seen.imagenet_classes} of {seen.classes} class names are in ImageNet"
        reasons.append(f"learning rate {GENTLE}: {share}")
    chosen = replace(
        recipe,
        data=replace(recipe.data, size=side),
        model=Model(name, weights="imagenet", head=HEAD),
        augment=augment,
        optim=optim,
        transfer=transfer,
    )
    return _as_set(chosen, recipe), reasons


def _as_set(chosen: Recipe, asked: Recipe) -> Recipe:
    """The chosen recipe with the fields that the user set in `asked`."""
    for path, value in differences(asked, folder()).items():
        group, field = path.split(".")
        if group in ("model", "augment", "optim", "transfer"):
            part = replace(getattr(chosen, group), **{field: value})
            chosen = replace(chosen, **{group: part})
    return chosen


def backbone(at_hand: Collection[str]) -> tuple[str, str]:
    """The first preferred network with available weights, else the first; and the reason."""
    for name in PREFERRED:
        if name in at_hand:
            return name, "its weights are available"
    return PREFERRED[0], "no weights are available, and these are the easiest to install"


def resolution(seen: Seen, budget: float | None, pace: float = PACE) -> tuple[int, str]:
    """The image size in pixels, and the reason; `pace` as in `choose`."""
    side = 96
    if seen.side >= 64:
        side = 160
    if seen.side >= 160:
        side = 224
    reason = f"the median width of the images is {seen.side}"
    if budget is None:
        return side, reason
    for smaller in SIDES:
        if smaller > side:
            continue
        side = smaller
        seconds_for_two_looks = 2 * seen.pictures * (side / 224) ** 2 / pace
        if seconds_for_two_looks <= 0.5 * budget:
            break
        images = f"{seen.pictures:,} images"
        reason = f"a larger size would not allow two passes over {images} in half of {budget:.0f} s"
    return side, reason


def freezing(seen: Seen, asked: Augment) -> tuple[Transfer, Augment, str]:
    """The stages to train, the augmentation, and the reason."""
    each = seen.pictures / max(1, seen.classes)
    if each < 20:
        strong = replace(asked, zoom=0.2, rotate=10.0, shift=0.1, brightness=(0.8, 1.2))
        reason = f"head only, six views: {seen.trained_on} are too few for the backbone"
        return Transfer("all", views=6), strong, reason
    two_stages = Transfer("all", thaw="conv5", thaw_epochs=6, thaw_share=0.6, thaw_lr=2e-4)
    if seen.pictures <= 20_000:
        light = replace(asked, zoom=0.1, shift=0.05)
        reason = f"head, then the last stage, four views: {seen.trained_on}"
        return replace(two_stages, views=4), light, reason
    reason = f"head, then the last stage: {seen.pictures:,} images need little augmentation"
    return replace(two_stages, views=2), asked, reason
