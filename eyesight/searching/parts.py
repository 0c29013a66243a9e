"""The images of a search: to learn from, to choose by, and apart from choosing; never the test.

The images that choose come from the training part of the run that will be left: one of several
folds of it, so that classes are in proportion and copies and groups stay together. Where the data
has a validation part of its own, half of that chooses. The images apart are the run's own
validation images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from eyesight.data import dataset
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.recipe import Data, Recipe
from eyesight.system.progress import Reporter

EACH_SECOND = 3  # of the budget: images that choose, about …
CHOOSING = (300, 1500)  # … but from so many to so many, …
LEAST_FOLDS = 5  # … and a fifth of the training images at most
MOST_FOLDS = 1000


@dataclass(frozen=True, eq=False)
class Parts:
    """The images of a search as one recipe prepares them; `data` is what the run will be given."""

    data: Dataset
    train: Images
    choosing: Images
    apart: Images

    @property
    def trial(self) -> Dataset:
        """What a trial is given: for validation what judges it, and no test image."""
        first, second = self.choosing, self.apart
        judged = replace(
            first,
            rows=torch.cat([first.rows, second.rows]),
            labels=torch.cat([first.labels, second.labels]),
            ids=first.ids + second.ids,
        )
        nothing = first.subset(np.zeros(0, dtype=np.int64))
        return replace(self.data, train=self.train, validation=judged, test=nothing)


@dataclass(eq=False)
class Division:
    """Divides the images of every recipe of a search alike; each preparation is opened once."""

    budget: float
    reporter: Reporter
    opened: dict[Data, Parts] = field(default_factory=dict)
    chosen: frozenset[str] | None = None  # the ids of the images that choose

    @property
    def most(self) -> int:
        """Images that choose, and images apart, at most about."""
        low, high = CHOOSING
        return int(min(high, max(low, EACH_SECOND * self.budget)))

    def parts(self, recipe: Recipe) -> Parts:
        """The images as the recipe prepares them; raises UserError as a training does."""
        if recipe.data not in self.opened:
            self.opened[recipe.data] = self._open(recipe.data)
        return self.opened[recipe.data]

    def _open(self, data: Data) -> Parts:
        talk = self.reporter.message
        progress = self.reporter.counter("preparing images")
        images = dataset.load(data, talk=talk, progress=progress)
        validation = images.validation
        if (images.store.splits == "validation").any():
            halves = np.random.default_rng(0).permutation(len(validation))
            middle = len(halves) // 2
            choosing = validation.subset(np.sort(halves[:middle][: self.most]))
            apart = validation.subset(np.sort(halves[middle:][: self.most]))
            return Parts(images, images.train, choosing, apart)
        if self.chosen is None:
            self.chosen = self._choose(data, images)
        is_chosen = np.array([name in self.chosen for name in images.train.ids], dtype=bool)
        return Parts(
            images,
            images.train.subset(np.flatnonzero(~is_chosen)),
            images.train.subset(np.flatnonzero(is_chosen)),
            validation.subset(np.arange(min(self.most, len(validation)))),
        )

    def _choose(self, data: Data, images: Dataset) -> frozenset[str]:
        """One fold of the images outside the test part, less the validation images."""
        folds = round(len(images.train) / self.most)
        folds = min(MOST_FOLDS, max(LEAST_FOLDS, folds))
        folded = dataset.load(replace(data, fold=f"1/{folds}"))
        return frozenset(folded.validation.ids)
