"""Which recipes could win on some images, by rules that look at the images only.

| what is seen | what could win |
|---|---|
| grey images up to 40 pixels wide | `digits` |
| grey images of more than 24 pixels | `glyphs` |
| any images | `objects` at up to 64 pixels; grey ones are not mirrored |
| weights of a pretrained network at hand | `folder`, once for each network |
| up to 64 pixels, 5,000 images or more | `objects_lite0` on the first network |

How many images a network is tried on first, which network, and which recipe: the trials decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eyesight.recipe import Model, Recipe, override
from eyesight.recipes.digits import digits
from eyesight.recipes.folder import Seen, folder
from eyesight.recipes.glyphs import glyphs
from eyesight.recipes.objects import objects
from eyesight.recipes.transfer import objects_lite0

SMALL = 40  # pixels: as MNIST's and CIFAR-10's images
MIDDLE = 64
MANY = 5000  # images from which several stages of a backbone are trained at once
APART = 1000  # validation images are a tenth of all, and no more than about so many


FROM_SCRATCH = "from scratch"
PRETRAINED = "pretrained"
# Of the exponent with which the error falls between two short trials, what is left of it later.
LATER = {FROM_SCRATCH: 1.0, PRETRAINED: 0.3}
LATER_ELSEWHERE = 0.5
HEAD_ONLY = "head only"  # of the variations, the one that trains no more of the network


@dataclass(frozen=True)
class Candidate:
    """A recipe that is tried. The best of every `family` reaches the last round."""

    name: str
    recipe: Recipe
    family: str


@dataclass(frozen=True)
class Look:
    """What was seen of a data set: number, classes, usual side, and whether all are grey."""

    seen: Seen
    grey: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """For people."""
        colours = "grey" if self.grey else "in colour"
        seen = self.seen
        line = f"{seen.pictures:,} images of {seen.classes} classes, {colours}"
        return (f"{line}, median width {seen.side} pixels",)


def candidates(
    look: Look, source: str, settings: Sequence[str], budget: float, backbones: Sequence[str]
) -> list[Candidate]:
    """The candidates for the images at `source`, the settings of a person in each.

    `backbones` are the pretrained networks whose weights are at hand. Raises UserError for a
    setting that no recipe takes.
    """
    share = validation_share(look.seen.pictures)
    made = []
    possible = [*from_scratch(look), *transferred(look, backbones)]
    if look.seen.side > MIDDLE:  # photographs, whose first candidate is tried whatever the time
        possible = [*transferred(look, backbones), *from_scratch(look)]
    for name, recipe, family in possible:
        own = replace(recipe.data, source=source, validation=share)
        training = replace(recipe.training, budget=budget)
        changed = override(replace(recipe, data=own, training=training), settings)
        made.append(Candidate(name, changed, family))
    return made


def validation_share(pictures: int) -> float:
    """The fraction of the images that are held out for validation."""
    return min(0.1, max(0.02, APART / max(1, pictures)))


def from_scratch(look: Look) -> Iterator[tuple[str, Recipe, str]]:
    """The recipes that begin with nothing, at a size that suits the images."""
    side = max(1, look.seen.side)
    family = FROM_SCRATCH
    if look.grey and side <= SMALL:
        yield "digits", at_size(digits(), min(32, max(28, side))), family
    if look.grey and side > 24:
        yield "glyphs", at_size(glyphs(), min(90, max(32, side))), family
    small = at_size(objects(), 32 if side <= SMALL else min(MIDDLE, side))
    if not look.grey:
        yield "objects", small, family
        return
    grey = replace(small, data=replace(small.data, channels=1))
    unmirrored = replace(grey, augment=replace(grey.augment, flip="none"))
    unmirrored = replace(unmirrored, training=replace(unmirrored.training, views="shifts"))
    yield "objects", unmirrored, family


def at_size(recipe: Recipe, size: int) -> Recipe:
    """The recipe for images of another size."""
    return replace(recipe, data=replace(recipe.data, size=size))


def transferred(look: Look, backbones: Sequence[str]) -> Iterator[tuple[str, Recipe, str]]:
    """The recipes on pretrained networks."""
    family = PRETRAINED
    for name in backbones:
        recipe = folder()
        if look.grey and look.seen.side <= MIDDLE:  # characters more often than photographs
            recipe = replace(recipe, augment=replace(recipe.augment, flip="none"))
        yield f"folder {name}", replace(recipe, model=Model(name)), family
    small = look.seen.side <= MIDDLE and look.seen.pictures >= MANY
    if backbones and small and not look.grey:
        recipe = objects_lite0()
        model = replace(recipe.model, name=backbones[0])
        yield f"objects_lite0 {backbones[0]}", replace(recipe, model=model), family


def variations(winner: Candidate) -> list[Candidate]:
    """Other settings of the winner, each tried in turn: the part that trains, the rate, the size.

    The head alone comes first: training more of a network must earn its place.
    """
    recipe = winner.recipe
    made = []
    if recipe.transfer.thaw and winner.family == PRETRAINED:
        made.append(_varied(winner, HEAD_ONLY, ["transfer.thaw="]))
    for factor in (2.0, 0.5):
        rates = [f"optim.lr={recipe.optim.lr * factor:g}"]
        if recipe.transfer.thaw and winner.family == PRETRAINED:
            rates.append(f"transfer.thaw_lr={recipe.transfer.thaw_lr * factor:g}")
        made.append(_varied(winner, f"learning rate × {factor:g}", rates))
    size = recipe.data.size
    for other in (round(size * 0.75), round(size * 1.25)):
        made.append(_varied(winner, f"{other} pixels", [f"data.size={other}"]))
    flip = "random" if recipe.augment.flip == "none" else "none"
    made.append(_varied(winner, f"flip {flip}", [f"augment.flip={flip}"]))
    return made


def _varied(winner: Candidate, label: str, settings: Sequence[str]) -> Candidate:
    return Candidate(f"{winner.name}, {label}", override(winner.recipe, settings), winner.family)
