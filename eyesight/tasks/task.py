"""A task is what the head emits and how that is scored; nothing else depends on it.

A score comes from a tally of numbers that add up, so that batches, passes and processes may be
summed in any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.models.layers import Network
from eyesight.recipe import Augment, Recipe
from eyesight.recipe import Loss as LossChoice
from eyesight.results.any_task import Results
from eyesight.results.scores import MEASURES, Measure
from eyesight.tasks.losses import Loss

Answers = Callable[
    [Tensor], Tensor
]  # uint8 or 0..1 pictures N,C,H,W to what the network says of them
SAMPLES, WORST = 40, 60  # pictures kept for pages


class Task(ABC):
    """Stateless; one of each kind, named by `target` as in `data.target`."""

    target: ClassVar[str]
    losses: ClassVar[tuple[str, ...]]
    blends: ClassVar[bool] = False  # whether two pictures may be mixed into one
    windows: ClassVar[bool] = False  # whether a part of a picture will do for a whole one
    views: ClassVar[bool] = (
        False  # whether answers to several versions of a picture may be averaged
    )

    @property
    def measure(self) -> Measure:
        """By what it is scored."""
        return MEASURES[self.target]

    def check(self, recipe: Recipe, network: Network) -> None:
        """Raise UserError for a network, loss or augmentation of another task."""
        if network.emits != self.target:
            raise UserError(
                f"the network {recipe.model.name} gives a {network.emits} for a picture, "
                f"and the recipe asks for a {self.target}",
                f"choose another model.name, or --set data.target={network.emits}",
                code=2,
            )
        if recipe.loss.name not in self.losses:
            names = ", ".join(self.losses)
            raise UserError(
                f"the loss {recipe.loss.name} does not fit a {self.target} as target",
                f"known: {names}",
                code=2,
            )
        if not self.blends and (recipe.augment.mixup or recipe.augment.cutmix):
            raise UserError(
                f"a {self.target} as target cannot be blended",
                "--set augment.mixup=0 --set augment.cutmix=0",
                code=2,
            )
        if not self.windows and recipe.augment.window < 1:
            raise UserError(
                f"a part of a picture does not do with a {self.target} as target",
                "--set augment.window=1",
                code=2,
            )
        if not self.views and recipe.training.views != "one":
            raise UserError(
                f"views cannot be averaged with a {self.target} as target",
                "--set training.views=one",
                code=2,
            )
        if not self.views and recipe.training.small < 1:
            raise UserError(
                f"a {self.target} as target cannot shrink for a part of the training",
                "--set training.small=1",
                code=2,
            )

    @abstractmethod
    def outputs(self, images: Images) -> int:
        """How many numbers the head emits, for a picture or for each of its pixels."""

    @abstractmethod
    def loss(self, choice: LossChoice, images: Images) -> Loss:
        """A function of (outputs, targets) that returns a scalar.

        `images` are those to train on.
        """

    @abstractmethod
    def change(
        self,
        pixels: Tensor,
        targets: Tensor,
        images: Images,
        policy: Augment,
        random: torch.Generator,
        epoch: int,
        index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """A training batch: augmented images from 0 to 1, and their targets."""

    @abstractmethod
    def eval_batch(
        self, pixels: Tensor, targets: Tensor, images: Images, policy: Augment
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets for scoring; deterministic."""

    def fitted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The targets at the places for which a network that learns gives something."""
        return targets

    @abstractmethod
    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What a batch adds to the score: a vector of float64."""

    @abstractmethod
    def score(self, tally: list[float]) -> float:
        """The score, greater is better, from the sum of all tallies."""

    @abstractmethod
    def infer(
        self,
        network: Network,
        images: Images,
        answers: Answers,
        *,
        batch: int | None = None,
        noise: float = 0.0,
    ) -> Results:
        """The results for held-out images, each inferred once: `Predictions` or their like."""

    @abstractmethod
    def gallery(
        self, train: Images, test: Images, results: Results, answers: Answers, noise: float
    ) -> dict[str, np.ndarray]:
        """The pixels that pages show."""


def in_turn(labels: npt.NDArray[np.int64], most: int = SAMPLES) -> npt.NDArray[np.int64]:
    """Places of at most `most` pictures, class after class in turn."""
    turns = (
        np.concatenate([np.arange(n) for n in np.bincount(labels) if n])
        if len(labels)
        else np.zeros(0, int)
    )
    return np.argsort(labels, kind="stable")[np.lexsort((np.sort(labels), turns))][:most].astype(
        np.int64
    )


def device_of(network: Network) -> torch.device:
    """Where the network lies."""
    return network.normalise.mean.device


def scaled(pixels: Tensor) -> Tensor:
    """uint8 pictures as floats from 0 to 1 in channels-last order."""
    return pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
