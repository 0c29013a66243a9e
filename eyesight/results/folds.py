"""Several folds of a cross-validation as one: every image judged by a run that did not see it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from eyesight.errors import UserError, listed
from eyesight.results.predictions import Predictions
from eyesight.results.records import Summary

NORMAL = 1.96  # two-sided 95 %
SHOWN = 3


class FoldsRecord(TypedDict):
    """The contents of `folds.json`: the folds' runs and what they reached."""

    runs: list[str]
    scores: list[float]
    mean: float
    sd: float
    out_of_fold: Summary


def out_of_fold(folds: Sequence[Predictions]) -> Predictions:
    """The validation predictions of runs on disjoint folds, joined.

    Raises UserError where the runs have other classes, or share a validation image.
    """
    classes = folds[0].classes
    ids: list[str] = []
    for fold in folds:
        if fold.classes != classes:
            raise UserError(
                f"the runs have different classes: {listed(list(fold.classes), SHOWN)} and "
                f"{listed(list(classes), SHOWN)}",
                "use runs on folds of the same data",
            )
        ids += fold.ids
    shared = [name for name, count in Counter(ids).items() if count > 1]
    if shared:
        raise UserError(
            f"{len(shared):,} images are validation images of several runs, such as {shared[0]}",
            "train each with its own fold: --set data.fold=1/5, 2/5 …",
        )
    labels = np.concatenate([fold.labels for fold in folds])
    probabilities = np.concatenate([fold.probabilities for fold in folds])
    return Predictions(tuple(ids), labels, probabilities, classes)


def gap(share: float, judged: int, on_leaderboard: int) -> float:
    """How far a score on `on_leaderboard` other images of the same kind may lie from `share`.

    Half of the 95 % interval of the difference of two shares, the other being of `judged` images.
    """
    variance = share * (1 - share)
    return NORMAL * math.sqrt(variance / judged + variance / on_leaderboard)
