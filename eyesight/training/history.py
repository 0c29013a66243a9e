"""Which epoch was the best, when to stop early, and what each stage reached; without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eyesight.recipe import Training


def best_epoch(history: Sequence[Mapping[str, float]], training: Training) -> int:
    """The number, from 1, of the epoch that last improved the monitored value by more than `min_delta`; 0 before the first.

    Of equal scores, which few validation pictures often give, the one with the smaller loss is the
    better.
    """
    best, least, number = -math.inf, math.inf, 0
    decides = training.monitor != "loss" and training.min_delta == 0
    for place, values in enumerate(history, 1):
        value = -values["loss"] if training.monitor == "loss" else values["score"]
        if (
            value > best + training.min_delta
            or number == 0
            or (decides and value == best and values["loss"] < least)
        ):
            best, least, number = value, values["loss"], place
    return number


def out_of_patience(history: Sequence[Mapping[str, float]], training: Training) -> bool:
    """Whether the last `patience` epochs brought no improvement."""
    if training.patience == 0:
        return False
    return len(history) - best_epoch(history, training) >= training.patience


def best_of(epochs: Sequence[Mapping[str, Any]], training: Training, key: str) -> dict[str, Any]:
    """The monitored values of the best of some epochs of a log, whose scores are called `key`."""
    part = monitored_part(epochs)
    history = [{"loss": epoch[f"{part}_loss"], "score": epoch[f"{part}_{key}"]} for epoch in epochs]
    return history[best_epoch(history, training) - 1]


def monitored_part(epochs: Sequence[Mapping[str, Any]]) -> str:
    """The part of the data that was monitored: "validation", or "train" where there was none."""
    return "train" if epochs[0]["validation_loss"] is None else "validation"


def stage_results(
    epochs: Sequence[Mapping[str, Any]], training: Training, key: str
) -> list[dict[str, Any]]:
    """Epochs, seconds and best values of each stage of a staged training.

    Empty for a single stage.
    """
    results = []
    numbers = sorted({epoch["stage"] for epoch in epochs if "stage" in epoch})
    for number in numbers:
        own = [epoch for epoch in epochs if epoch.get("stage") == number]
        part = monitored_part(own)
        best = best_of(own, training, key)
        seconds = sum(epoch["seconds"] for epoch in own)
        results.append(
            {
                "stage": number,
                "epochs": len(own),
                "seconds": round(seconds, 3),
                f"{part}_loss": best["loss"],
                f"{part}_{key}": best["score"],
            }
        )
    return results
