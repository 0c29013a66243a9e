"""The best epoch, early stopping and the results of stages; without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict, cast

from eyesight.recipe import Training
from eyesight.results.records import Event, StageResult, number


class Monitored(TypedDict):
    """The monitored values of an epoch."""

    loss: float
    score: float


def best_epoch(history: Sequence[Monitored], training: Training) -> int:
    """The number, from 1, of the last epoch that improved the monitored value by `min_delta`.

    Ties in the score are broken by the smaller loss. NaN is never better. Returns 0 without epochs.
    """
    best, number = -math.inf, 0
    smallest_loss = math.inf
    for place, values in enumerate(history, 1):
        value = monitored(values, training)
        improved = value > best + training.min_delta or number == 0
        if improved or _wins_a_tie(value == best, values["loss"], smallest_loss, training):
            best, number = value, place
            smallest_loss = _or_infinite(values["loss"])
    return number


def monitored(values: Monitored, training: Training) -> float:
    """The value to maximise; minus infinity for NaN."""
    by_loss = training.monitor in ("loss", "train_loss")
    value = -values["loss"] if by_loss else values["score"]
    return -math.inf if math.isnan(value) else value


def _wins_a_tie(equal: bool, loss: float, smallest: float, training: Training) -> bool:
    by_score = training.monitor not in ("loss", "train_loss")
    return equal and by_score and training.min_delta == 0 and loss < smallest


def _or_infinite(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def monitors_training(training: Training) -> bool:
    """Whether the training images are monitored, even if there are validation images."""
    return training.monitor in ("train_loss", "train_score")


def out_of_patience(history: Sequence[Monitored], training: Training) -> bool:
    """Whether the last `patience` epochs did not improve."""
    if training.patience == 0:
        return False
    return len(history) - best_epoch(history, training) >= training.patience


def is_perfect(history: Sequence[Monitored], epochs: int = 3) -> bool:
    """Whether all images were classified correctly in each of the last epochs."""
    last = history[-epochs:]
    return len(last) == epochs and all(values["score"] == 1.0 for values in last)


def best_of(epochs: Sequence[Event], training: Training, key: str) -> Monitored:
    """The monitored values of the best of some epochs of a log, whose scores are called `key`."""
    part = monitored_part(epochs, training)
    history = [
        Monitored(loss=_value(epoch, f"{part}_loss"), score=_value(epoch, f"{part}_{key}"))
        for epoch in epochs
    ]
    return history[best_epoch(history, training) - 1]


def _value(epoch: Event, key: str) -> float:
    value = number(epoch, key)
    return math.nan if value is None else value


def monitored_part(epochs: Sequence[Event], training: Training) -> str:
    """The part of the data that was monitored, "validation" or "train"."""
    without_validation = epochs[0]["validation_loss"] is None
    return "train" if without_validation or monitors_training(training) else "validation"


def cross_fitted(epochs: Sequence[Event]) -> tuple[float, float] | None:
    """(score, -loss) of the best of some epochs, on validation images that did not choose it.

    Each half of the validation images chooses an epoch, and the other half scores it. Choosing the
    best of many epochs on the same images would favour the longer stage. None where an epoch has no
    halves.
    """
    halves = [epoch.get("halves") for epoch in epochs]
    values = [[(score, -loss) for loss, score in pair] for pair in halves if pair]
    if not values or len(values) < len(halves):
        return None
    reached = []
    for chooses, scores in ((0, 1), (1, 0)):
        best = max(range(len(values)), key=lambda place: values[place][chooses])
        reached.append(values[best][scores])
    return sum(score for score, _ in reached) / 2, sum(loss for _, loss in reached) / 2


def keeps_first_stage(epochs: Sequence[Event]) -> bool:
    """Whether the second stage is no better than the first on images that did not choose."""
    first = cross_fitted([epoch for epoch in epochs if epoch.get("stage") == 1])
    second = cross_fitted([epoch for epoch in epochs if epoch.get("stage") == 2])
    return first is not None and second is not None and second <= first


def stage_results(epochs: Sequence[Event], training: Training, key: str) -> list[StageResult]:
    """Epochs, seconds and best values of each stage of a staged training.

    Empty for a single stage.
    """
    results = []
    stages = sorted({epoch["stage"] for epoch in epochs if "stage" in epoch})
    for stage in stages:
        own = [epoch for epoch in epochs if epoch.get("stage") == stage]
        part = monitored_part(own, training)
        best = best_of(own, training, key)
        seconds = sum(epoch["seconds"] for epoch in own)
        values: dict[str, float] = {
            "stage": stage,
            "epochs": len(own),
            "seconds": round(seconds, 3),
            f"{part}_loss": best["loss"],
            f"{part}_{key}": best["score"],
        }
        results.append(cast(StageResult, values))
    return results
