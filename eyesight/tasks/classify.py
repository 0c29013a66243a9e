"""Classification: one class per image, scored by accuracy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eyesight import augment
from eyesight.data.images import Images
from eyesight.models.layers import Network
from eyesight.recipe import Augment
from eyesight.recipe import Loss as LossChoice
from eyesight.results import metrics
from eyesight.results.any_task import Results
from eyesight.results.predictions import Predictions
from eyesight.tasks import losses
from eyesight.tasks.losses import Loss
from eyesight.tasks.task import WORST, Answers, Task, device_of, in_turn


class Classify(Task):
    """Classification; the head outputs one logit per class, the targets are labels."""

    target = "class"
    losses = ("cross_entropy", "focal", "mse")
    blends = True
    views = True

    def outputs(self, images: Images) -> int:
        """One per class."""
        return len(images.classes)

    def loss(self, choice: LossChoice, images: Images) -> Loss:
        """Cross-entropy, focal or squared error against distributions N,K."""
        return losses.build(choice, images.counts)

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
        """Augmented images and target distributions N,K."""
        return augment.augment(
            pixels, losses.one_hot(targets, len(images.classes)), policy, random, epoch, index
        )

    def eval_batch(
        self, pixels: Tensor, targets: Tensor, images: Images, policy: Augment
    ) -> tuple[Tensor, Tensor]:
        """The unchanged images and their labels."""
        return pixels.contiguous(memory_format=torch.channels_last), losses.one_hot(
            targets, len(images.classes)
        )

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The numbers of correct predictions and of images."""
        right = outputs.argmax(1) == targets.argmax(1)
        return torch.stack([right.sum(), right.new_tensor(len(targets), dtype=torch.long)]).double()

    def score(self, tally: list[float]) -> float:
        """The accuracy."""
        return tally[0] / tally[1]

    def infer(
        self,
        network: Network,
        images: Images,
        answers: Answers,
        *,
        batch: int | None = None,
        noise: float = 0.0,
    ) -> Predictions:
        """The probabilities N,K of all images."""
        device = device_of(network)
        parts = [
            answers(pixels)
            for pixels, _, _ in images.batches(
                torch.arange(len(images)), batch or images.chunk, device
            )
        ]
        values = (
            torch.cat(parts).cpu().numpy()
            if len(images)
            else np.zeros((0, len(images.classes)), np.float32)
        )
        return Predictions(images.ids, images.labels.numpy(), values, images.classes)

    def gallery(
        self, train: Images, test: Images, results: Results, answers: Answers, noise: float
    ) -> dict[str, np.ndarray]:
        """40 samples in class order, and the 60 costliest test mistakes."""
        assert isinstance(results, Predictions)
        by_turn = in_turn(train.labels.numpy())
        wrong = np.asarray(
            metrics.costly_mistakes(results.probabilities, results.labels, WORST), dtype=np.int64
        )
        return {
            "samples_pixels": train.take(torch.from_numpy(by_turn)).numpy(),
            "samples_labels": train.labels.numpy()[by_turn],
            "mistakes_pixels": test.take(torch.from_numpy(wrong)).numpy(),
            "mistakes_index": wrong,
        }
