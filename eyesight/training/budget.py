"""Divide a time budget: estimate the cost of evaluation and reserve time for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from eyesight import augment, classifier
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.models.layers import Network
from eyesight.models.views import Views
from eyesight.recipe import Recipe
from eyesight.results.unlike import REFERENCES
from eyesight.training.clock import Clock
from eyesight.training.loop import SAMPLE
from eyesight.training.precision import HOPELESS

# Seconds for saving, the report and the end of the process, where `LOOP_SECONDS` was measured; a
# third of the budget at most.
SAVING = {"class": 8.0, "picture": 8.0, "mask": 13.0}
# Evaluate in bfloat16 if float32 would exceed this share of the time that is left.
BF16_EVAL_ABOVE = 1 / 40
# Use fewer references for unfamiliar images, then fewer validation images, and average over fewer
# views, if evaluation would exceed this share of the time that is left.
FEWER_VIEWS_ABOVE = 1 / 8
FEW_REFERENCES = 250
FEW_VALIDATION = 2000  # half of them choose the epoch, half calibrate the prediction sets
SAFETY = 1.5  # on the measured seconds of evaluation
# Reserve at most this share of the time that is left for the end: without training there is nothing
# to evaluate.
MAXIMUM_RESERVE = 0.6
# The first stage gets this share of the budget even when an estimate leaves it nothing.
MINIMUM_TRAINING = 0.05
# Trying whether bfloat16 is faster takes at most about this share of the time for training.
TRIAL_SHARE = 0.05
# Additions in a loop that shows how fast and how busy the machine is, and their seconds on one
# core of an idle AMD EPYC with AVX2 only.
LOOP = 1_000_000
LOOP_SECONDS = 0.045
FASTEST = 0.5  # times as long, even on a faster processor: its disk need not be faster
# Images that show whether bfloat16 is far slower than float32.
FEW = 2
# Images on which the saved classifier must predict the same as the one in memory.
CHECKED = 64

VIEWS: dict[Views, int] = {"one": 1, "flip": 2, "shifts": 5, "flip_shifts": 6}
FEWER: dict[Views, Views] = {"flip_shifts": "flip", "flip": "one", "shifts": "one"}


@dataclass(frozen=True)
class Evaluation:
    """How held-out images are evaluated at the end, and the estimated seconds."""

    arithmetic: str
    views: Views
    seconds: float = 0.0
    references: int = REFERENCES  # training images whose features detect unfamiliar images
    validation: int | None = None  # validation images that are used; None for all


def plan_evaluation(network: Network, data: Dataset, recipe: Recipe, left: float) -> Evaluation:
    """Plan the evaluation: float32 and all views of the recipe.

    If that would take too much of the `left` seconds of a budget, use bfloat16, then fewer
    references for unfamiliar images, then fewer validation images, then fewer views.
    """
    limit = left * FEWER_VIEWS_ABOVE
    views = recipe.training.views
    while True:
        evaluation = faster_arithmetic(network, data, recipe, views, left)
        if evaluation.seconds > limit and has_references(data, recipe):
            shorter = replace(evaluation, references=FEW_REFERENCES)
            evaluation = shortened(evaluation, shorter, data, recipe)
        if evaluation.seconds > limit and has_spare_validation(data, recipe):
            shorter = replace(evaluation, validation=FEW_VALIDATION)
            evaluation = shortened(evaluation, shorter, data, recipe)
        if views == "one" or evaluation.seconds <= limit:
            return evaluation
        views = FEWER[views]


def has_references(data: Dataset, recipe: Recipe) -> bool:
    """Whether unfamiliar images are detected, by more references than a few."""
    if recipe.data.target != "class" or not len(data.validation):
        return False
    return len(data.train) > FEW_REFERENCES


def has_spare_validation(data: Dataset, recipe: Recipe) -> bool:
    """Whether a part of the validation images is enough.

    It is not where they are the result: in a fold, and without test images.
    """
    is_result = bool(recipe.data.fold) or not len(data.test)
    return len(data.validation) > FEW_VALIDATION and not is_result


def shortened(
    evaluation: Evaluation, shorter: Evaluation, data: Dataset, recipe: Recipe
) -> Evaluation:
    """The `shorter` evaluation with its seconds, by those of the longer one."""
    share = evaluated(data, recipe, shorter) / evaluated(data, recipe, evaluation)
    return replace(shorter, seconds=share * evaluation.seconds)


def used_validation(data: Dataset, count: int | None) -> Dataset:
    """The data with `count` of its validation images, the same for every training on it."""
    total = len(data.validation)
    if count is None or count >= total:
        return data
    rows = np.sort(np.random.default_rng(0).permutation(total)[:count])
    return replace(data, validation=data.validation.subset(rows))


def faster_arithmetic(
    network: Network, data: Dataset, recipe: Recipe, views: Views, left: float
) -> Evaluation:
    """Evaluation in float32, or in bfloat16 where that is faster and float32 slow for the
    `left` seconds.
    """
    seconds = evaluation_seconds(network, data, recipe, views, "float32")
    exact = Evaluation("float32", views, seconds)
    if recipe.training.precision == "float32" or exact.seconds <= left * BF16_EVAL_ABOVE:
        return exact
    if far_slower_in_bfloat16(network, data, views):
        return exact
    seconds = evaluation_seconds(network, data, recipe, views, "bfloat16")
    rough = Evaluation("bfloat16", views, seconds)
    return min(exact, rough, key=lambda evaluation: evaluation.seconds)


def far_slower_in_bfloat16(network: Network, data: Dataset, views: Views) -> bool:
    """Whether a few images already show that bfloat16 is no help.

    Without instructions for it, as on most computers, it takes ten times as long, and so would
    the full measurement.
    """
    count = min(FEW, len(data.train))
    exact, rough = (
        seconds_each(network, data.train, count, views, arithmetic, tries=2)
        for arithmetic in ("float32", "bfloat16")
    )
    return rough > HOPELESS * exact


def evaluation_seconds(
    network: Network, data: Dataset, recipe: Recipe, views: Views, arithmetic: str
) -> float:
    """Seconds to evaluate all validation and test images, estimated from a few, times 1.5."""
    each = seconds_of_one(network, data, views, arithmetic)
    everything = Evaluation(arithmetic, views)
    return SAFETY * each * evaluated(data, recipe, everything)


def seconds_of_one(network: Network, data: Dataset, views: Views, arithmetic: str) -> float:
    """Seconds to infer one image, estimated from a few."""
    # As in evaluation, batches are as large as they can be, unless that takes long to try.
    count = 64 if max(data.train.shape[1:]) <= 64 else 16
    largest = min(data.train.chunk, len(data.train))
    count = min(count, largest)
    each = seconds_each(network, data.train, count, views, arithmetic)
    if each * largest < 0.2:
        each = min(each, seconds_each(network, data.train, largest, views, arithmetic))
    return each


def least_evaluated(data: Dataset, recipe: Recipe) -> float:
    """The number of images that are inferred after the last step if time is short."""
    validation = FEW_VALIDATION if has_spare_validation(data, recipe) else None
    least = Evaluation("float32", "one", references=FEW_REFERENCES, validation=validation)
    return evaluated(data, recipe, least)


def evaluated(data: Dataset, recipe: Recipe, evaluation: Evaluation) -> float:
    """The number of images that are inferred in all their views after the last step."""
    views = VIEWS[evaluation.views]
    validation = len(data.validation)
    if evaluation.validation is not None:
        validation = min(evaluation.validation, validation)
    # With several views the test images are evaluated once more without averaging.
    without_averaging = 0.0 if views == 1 else 1 / views
    # The last epoch scores the validation images, and training images if its batches were blends.
    scored = validation + min(SAMPLE, len(data.train)) * augment.mixes(recipe.augment)
    held_out = (1 + without_averaging) * len(data.test) + 2 * validation
    references = min(evaluation.references, len(data.train))
    return held_out + scored / views + 2 * CHECKED + references


def seconds_each(
    network: Network, images: Images, count: int, views: Views, arithmetic: str, *, tries: int = 3
) -> float:
    """Seconds to infer one image in a batch of `count`, the median of several tries.

    A momentary load does not count, one that lasts does.
    """
    batch = images.take(torch.arange(count))
    times = []
    for _ in range(tries):
        began = time.monotonic()
        classifier.probabilities(network, batch, views, arithmetic).cpu()
        times.append(time.monotonic() - began)
    return statistics.median(times) / count


def reserve_for_evaluation(clock: Clock, evaluation_seconds: float, target: str) -> None:
    """Reserve time for evaluation, saving and the report."""
    if clock.budget is None:
        return
    saving = saving_seconds(clock.budget, target)
    clock.reserve = 0.0
    clock.reserve = min(saving + evaluation_seconds, MAXIMUM_RESERVE * max(0.0, clock.left()))


def saving_seconds(budget: float, target: str) -> float:
    """Seconds of a budget for saving and the report, more on a slow or busy machine; a third at
    most.
    """
    return min(SAVING[target] * slowness(), budget / 3)


def slowness(now: Callable[[], float] = time.perf_counter) -> float:
    """How many times longer a short loop takes than where `LOOP_SECONDS` was measured.

    The processor counts as well as other processes that use it.
    """
    times = []
    for _ in range(3):  # a stall of one counts for nothing
        began = now()
        total = 0
        for number in range(LOOP):
            total += number
        times.append(now() - began)
    return max(FASTEST, min(times) / LOOP_SECONDS)


def trial_limit(clock: Clock) -> float:
    """Seconds that a trial of bfloat16 may take: a share of what is left of a budget."""
    return TRIAL_SHARE * max(0.0, clock.left())


def ensure_minimum_training(clock: Clock) -> None:
    """Reserve 5 % of the budget and one step for training, whatever the estimates say."""
    if clock.budget is not None and clock.left() < MINIMUM_TRAINING * clock.budget:
        clock.reserve = clock.budget * (1 - MINIMUM_TRAINING) - clock.elapsed()
    clock.minimum_steps = 1
