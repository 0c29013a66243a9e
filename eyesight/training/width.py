"""The width of a network that a budget allows.

A narrow network that sees every image eight times is more accurate than a wide one that sees it
three times. Figures are in LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from eyesight import tasks
from eyesight.data.images import Images
from eyesight.models import registry
from eyesight.recipe import Recipe
from eyesight.system.device import default_device
from eyesight.training import precision
from eyesight.training.loop import plan

NARROWED = ("fast_objects", "fast_glyphs")  # the networks whose widths were compared
WIDTHS = (1.0, 0.6, 0.4, 0.25)
PASSES = 6.0  # over the training images, that a width should allow
TRAINING_SHARE = 0.85  # of the time that is left; the rest is for evaluation and saving
TRIAL_SHARE = 0.02  # of the time that is left, for measuring one width
PART = 8  # a batch of this fraction is timed


@dataclass(frozen=True)
class Width:
    """A width, and how often the images are seen with it and with the full width."""

    value: float
    passes: float
    at_full_width: float

    def __str__(self) -> str:
        return (
            f"width {self.value:g}: the time allows about {self.passes:.1f} passes over the images "
            f"with it, and {self.at_full_width:.1f} at full width"
        )


def is_open(recipe: Recipe) -> bool:
    """Whether a budget chooses the width of the recipe's network."""
    timed = recipe.training.budget is not None
    return timed and recipe.model.name in NARROWED and recipe.model.width is None


def fitted(recipe: Recipe, images: Images, seconds: float) -> Recipe:
    """The recipe with the width that `seconds` allow; as it is where that is not open."""
    if not is_open(recipe):
        return recipe
    return with_width(recipe, choose(recipe, images, seconds).value)


def with_width(recipe: Recipe, value: float) -> Recipe:
    """The recipe with this width of its network."""
    return replace(recipe, model=replace(recipe.model, width=value))


def choose(recipe: Recipe, images: Images, seconds: float) -> Width:
    """The largest width that allows `PASSES` over the images in `seconds`, or the smallest."""
    available = TRAINING_SHARE * max(0.0, seconds)
    limit = TRIAL_SHARE * max(0.0, seconds)
    full = 0.0
    for value in WIDTHS:
        each = seconds_per_image(with_width(recipe, value), images, limit)
        passes = available / (each * len(images))
        full = full or passes
        if passes >= PASSES or value == WIDTHS[-1]:
            break
    return Width(value, passes, full)


def seconds_per_image(recipe: Recipe, images: Images, limit: float) -> float:
    """Seconds of a training step for one image, measured for about `limit` seconds at most."""
    training = recipe.training
    network = registry.build(recipe.model, images.shape, tasks.of(recipe).outputs(images))
    network = network.to(default_device())
    batch = plan(training, len(images))[0]
    arithmetic = precision.choose(training.precision, network, recipe.model, batch, limit=limit)
    part = max(2, batch // PART)
    each = precision.seconds(network, part, arithmetic, limit / precision.SLOW) / part
    smaller = training.small_until * (1 - training.small**2)  # the time saved by small images
    return each * (1 - smaller)
