"""The width of a network that a budget allows.

A narrow network that sees every image eight times is more accurate than a wide one that sees it
three times. Figures are in LOG.md.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace

import torch

from eyesight import tasks
from eyesight.data.images import Images
from eyesight.models import registry
from eyesight.models.layers import Network
from eyesight.recipe import Recipe, Training
from eyesight.system import cache
from eyesight.system.device import default_device
from eyesight.training import budget, precision
from eyesight.training.loop import plan

NETWORKS = ("fast_objects", "fast_glyphs")  # whose widths were compared
WIDTHS = (1.0, 0.6, 0.4, 0.25)
PASSES = 6.0  # over the training images, that a width should allow
GAIN = 1.2  # times as many passes, that a narrower network must allow
EVALUATION_SHARE = 0.1  # of the time, for evaluating at the end
TRIAL_SHARE = 0.02  # of the time, for measuring a training step of one width
PART = 8  # a batch of this fraction is timed first: a whole step may be too long
REMEMBERED = 3600.0  # seconds, so that the seeds and the folds of a comparison get one width


@dataclass(frozen=True)
class Width:
    """A width, and how often the images are seen with it and with the widest network."""

    value: float
    passes: float
    passes_of_widest: float

    def __str__(self) -> str:
        return (
            f"width {self.value:g}: the budget allows about {self.passes:.1f} passes over the "
            f"images, and only {self.passes_of_widest:.1f} with the full width; "
            "--set model.width=1 keeps the full width"
        )


def chosen_by_budget(recipe: Recipe) -> bool:
    """Whether the recipe has a budget, and a network whose width is not set."""
    return has_widths(recipe) and recipe.model.width is None


def has_widths(recipe: Recipe) -> bool:
    """Whether the recipe has a budget, and a network that may be narrowed to fit it."""
    return recipe.training.budget is not None and recipe.model.name in NETWORKS


def fitted(recipe: Recipe, images: Images, seconds: float) -> Recipe:
    """The recipe with the width that `seconds` allow, or as it is if its width is set."""
    if not chosen_by_budget(recipe):
        return recipe
    return with_width(recipe, choose(recipe, images, seconds).value)


def with_width(recipe: Recipe, value: float) -> Recipe:
    """The recipe with this width of its network; None stays for the full width."""
    if value == (recipe.model.width or 1.0):
        return recipe
    return replace(recipe, model=replace(recipe.model, width=value))


def choose(recipe: Recipe, images: Images, seconds: float) -> Width:
    """The largest width that allows `PASSES` over the images in `seconds`, or the smallest.

    No width is larger than that of the recipe. The choice is remembered for an hour.
    """
    key = key_of(recipe, images)
    match cache.read_note("width", key):
        case [float(when), float(value), float(passes), float(widest)]:
            if 0 <= time.time() - when < REMEMBERED:
                return Width(value, passes, widest)
    chosen = measured(recipe, images, seconds)
    note = [time.time(), chosen.value, chosen.passes, chosen.passes_of_widest]
    cache.write_note("width", key, note)
    return chosen


def key_of(recipe: Recipe, images: Images) -> list[object]:
    """What the choice of a width depends on."""
    training = replace(recipe.training, seed=0)
    machine = [platform.node(), platform.processor(), torch.__version__, torch.get_num_threads()]
    size = f"{len(images):.1e}"  # the folds of a data set differ by an image
    asked = [repr(recipe.model), repr(training)]
    return [*machine, str(default_device()), *asked, *images.shape, size]


def measured(recipe: Recipe, images: Images, seconds: float) -> Width:
    """The width by the speed of a few training steps."""
    began = time.monotonic()
    full = recipe.model.width or 1.0
    best: Width | None = None
    for value in (full, *(width for width in WIDTHS if width < full)):
        each = seconds_per_image(with_width(recipe, value), images, seconds)
        left = seconds - (time.monotonic() - began)
        passes = training_seconds(recipe, left) / (each * len(images))
        if best is not None and passes < GAIN * best.passes:
            return best
        best = Width(value, passes, best.passes_of_widest if best else passes)
        if passes >= PASSES:
            break
    assert best is not None
    return best


def training_seconds(recipe: Recipe, seconds: float) -> float:
    """What is left for training steps of so many seconds."""
    saving = budget.saving_seconds(seconds, recipe.data.target) if seconds > 0 else 0.0
    return (1 - EVALUATION_SHARE) * max(0.0, seconds - saving)


def seconds_per_image(recipe: Recipe, images: Images, seconds: float) -> float:
    """Seconds of a training step for one image, measured for a small share of `seconds`."""
    training = recipe.training
    network = network_for(recipe, images)
    batch = plan(training, len(images))[0]
    arithmetic = precision.choose(
        training.precision,
        network,
        recipe.model,
        batch,
        limit=budget.TRIAL_SHARE * max(0.0, seconds),
    )
    patience = TRIAL_SHARE * max(0.0, seconds) / precision.SLOW
    timed = max(2, batch // PART)
    step = precision.seconds(network, timed, arithmetic, patience)
    if step * batch / timed <= patience:
        timed, step = batch, precision.seconds(network, batch, arithmetic, patience)
    return step / timed / acceleration(training)


def network_for(recipe: Recipe, images: Images) -> Network:
    """The network in the layout in which it is trained."""
    with torch.random.fork_rng():
        network = registry.build(recipe.model, images.shape, tasks.of(recipe).outputs(images))
    network.to(default_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def acceleration(training: Training) -> float:
    """How many times as many images are seen because the first ones are made smaller."""
    return 1 + training.small_until * (1 / training.small**2 - 1)
