"""Label scores from the training margins of a run.

A run's margins are mapped by rank to the scale of the audit's head: the smallest margin becomes the
smallest of the head, and so on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from eyesight.auditing.labels import TINY, Suspicion
from eyesight.data import dataset
from eyesight.recipe import Data
from eyesight.results import margins
from eyesight.runs import Run

FEWEST = 50  # images with margins of a run, to compare by rank


def margins_of(run: Run, data: Data) -> dict[str, float]:
    """The mean margin of each training image of a run, by id; empty if there are none.

    Raises UserError if the file is damaged.
    """
    if not (run.path / margins.FILE).is_file():
        return {}
    loaded = dataset.load(data)
    if loaded.hash != run.data.get("split"):
        return {}  # the data or its corrections have changed since: these are other images
    kept = margins.read(run.path, len(loaded.train))
    if kept is None:
        return {}
    pairs = zip(loaded.train.ids, kept.tolist(), strict=True)
    return {one: margin for one, margin in pairs if np.isfinite(margin)}


def with_run(suspicion: Suspicion, learnt: Tensor) -> Suspicion:
    """Combine label scores with the margins n of a run, NaN for missing ones.

    The new margin is the mean of the head's and the run's.
    """
    rows = torch.isfinite(learnt)
    if int(rows.sum()) < FEWEST:
        return suspicion
    own = suspicion.margin[rows]
    ranks = learnt[rows].argsort(stable=True).argsort(stable=True)
    margin = suspicion.margin.clone()
    margin[rows] = (own + own.sort().values[ranks]) / 2
    methods = 2 if suspicion.logistic is None else 3
    odds = suspicion.score[rows].logit(eps=TINY) - (margin[rows] - own) / methods
    score = suspicion.score.clone()
    score[rows] = torch.sigmoid(odds)
    return replace(suspicion, margin=margin, score=score)
