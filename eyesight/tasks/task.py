"""The interface of a task: the outputs of the head, the loss and the score.

Scores are computed from additive tallies, so batches, epochs and processes can be summed in any
order.
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

Answers = Callable[[Tensor], Tensor]  # images N,C,H,W, uint8 or from 0 to 1, to outputs
SAMPLES, WORST = 40, 60  # images stored for pages
CLASSES_SHOWN = 60  # up to this many classes have an image among the samples


class Task(ABC):
    """A task, identified by `target` as in `data.target`; stateless."""

    target: ClassVar[str]
    losses: ClassVar[tuple[str, ...]]
    blends: ClassVar[bool] = False  # whether mixup and CutMix are supported
    windows: ClassVar[bool] = False  # whether training on a window of an image is supported
    views: ClassVar[bool] = False  # whether averaging over views is supported

    @property
    def measure(self) -> Measure:
        """The score of this task."""
        return MEASURES[self.target]

    def check(self, recipe: Recipe, network: Network) -> None:
        """Raise UserError if the network, loss or augmentation does not suit this task."""
        if network.emits != self.target:
            raise UserError(
                f"the network {recipe.model.name} predicts a {network.emits}, but data.target "
                f"is {self.target}",
                f"choose another model.name, or --set data.target={network.emits}",
                code=2,
            )
        if recipe.loss.name not in self.losses:
            names = ", ".join(self.losses)
            raise UserError(
                f"the loss {recipe.loss.name} does not support the target {self.target}",
                f"known: {names}",
                code=2,
            )
        if not self.blends and (recipe.augment.mixup or recipe.augment.cutmix):
            raise UserError(
                f"mixup and CutMix do not support the target {self.target}",
                "--set augment.mixup=0 --set augment.cutmix=0",
                code=2,
            )
        if not self.windows and recipe.augment.window < 1:
            raise UserError(
                f"augment.window does not support the target {self.target}",
                "--set augment.window=1",
                code=2,
            )
        if not self.views and recipe.training.views != "one":
            raise UserError(
                f"training.views does not support the target {self.target}",
                "--set training.views=one",
                code=2,
            )
        if not self.views and recipe.training.small < 1:
            raise UserError(
                f"training.small does not support the target {self.target}",
                "--set training.small=1",
                code=2,
            )

    @abstractmethod
    def outputs(self, images: Images) -> int:
        """Number of outputs per image or per pixel."""

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
        """The targets at the resolution of the network's outputs in training."""
        return targets

    @abstractmethod
    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The additive statistics of a batch, a vector of float64."""

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
        """The results for held-out images, each inferred once, such as `Predictions`."""

    @abstractmethod
    def gallery(
        self, train: Images, test: Images, results: Results, answers: Answers, noise: float
    ) -> dict[str, np.ndarray]:
        """The images stored for pages."""


def in_turn(labels: npt.NDArray[np.int64], most: int = SAMPLES) -> npt.NDArray[np.int64]:
    """Indices of `most` images, alternating between classes; more for up to 60 classes.

    Up to 60 classes have an image each. A class's images are drawn at random, always the same ones:
    data that is stored by origin, as characters are by font, then shows many origins.
    """
    indices = [np.zeros(0, np.int64)]
    turns = [np.zeros(0, np.int64)]
    class_numbers = np.unique(labels)
    for number in class_numbers:
        own = np.flatnonzero(labels == number)
        indices.append(np.random.default_rng(abs(int(number))).permutation(own))
        turns.append(np.arange(len(own)))
    index = np.concatenate(indices)
    alternating = np.lexsort((labels[index], np.concatenate(turns)))
    return index[alternating][: max(most, min(len(class_numbers), CLASSES_SHOWN))]


def device_of(network: Network) -> torch.device:
    """The device of the network."""
    return network.normalise.mean.device


def scaled(pixels: Tensor) -> Tensor:
    """Convert uint8 images to floats from 0 to 1 in channels-last memory order."""
    return pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
