"""Semantic segmentation, scored by mean intersection over union."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eyesight import augment
from eyesight.data.images import Images
from eyesight.data.masks.images import IGNORED, Masked
from eyesight.models.layers import Network
from eyesight.recipe import Augment
from eyesight.recipe import Loss as LossChoice
from eyesight.results.any_task import Results
from eyesight.results.segmentations import Segmentations, mean_iou
from eyesight.tasks import pixel_losses
from eyesight.tasks.losses import Loss
from eyesight.tasks.task import Answers, Task, device_of

SHOWN = 12  # samples, and as many of the worst


class Segment(Task):
    """Segmentation; the network outputs a map of logits per class.

    Targets are masks of class numbers, 255 for ignored pixels.
    """

    target = "mask"
    windows = True
    losses = ("cross_entropy", "focal", "dice")

    def outputs(self, images: Images) -> int:
        """One map per class."""
        return len(images.classes)

    def loss(self, choice: LossChoice, images: Images) -> Loss:
        """The mean over labelled pixels."""
        return pixel_losses.build(choice, images.counts)

    def change(
        self,
        pixels: Tensor,
        masks: Tensor,
        images: Images,
        policy: Augment,
        random: torch.Generator,
        epoch: int,
        index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Images and masks, augmented alike; colour changes apply to images only."""
        pictures, moved = augment.move(pixels, masks, policy, random, epoch, index)
        assert moved is not None
        return augment.disturb(pictures, policy, random), moved

    def eval_batch(
        self, pixels: Tensor, masks: Tensor, images: Images, policy: Augment
    ) -> tuple[Tensor, Tensor]:
        """The unchanged images and masks."""
        return pixels.contiguous(memory_format=torch.channels_last), masks

    def fitted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Masks subsampled to the coarser maps used for large images."""
        return pixel_losses.thinned(targets, outputs.shape[2:])

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Pixel counts by true and predicted class, K·K."""
        return counted(outputs.argmax(1), targets, outputs.shape[1]).sum(0).flatten().double()

    def score(self, tally: list[float]) -> float:
        """The mean IoU."""
        side = round(len(tally) ** 0.5)
        return mean_iou(np.array(tally).reshape(side, side))

    def infer(
        self,
        network: Network,
        images: Images,
        answers: Answers,
        *,
        batch: int | None = None,
        noise: float = 0.0,
    ) -> Segmentations:
        """Pixel counts by true and predicted class for every image."""
        parts = [
            counted(answers(pixels).argmax(1), masks, len(images.classes)).cpu()
            for pixels, masks, _ in images.batches(
                torch.arange(len(images)), batch or images.chunk, device_of(network)
            )
        ]
        size = len(images.classes)
        return Segmentations(
            images.ids,
            torch.cat(parts).numpy() if parts else np.zeros((0, size, size), np.int64),
            images.classes,
        )

    def gallery(
        self, train: Images, test: Images, results: Results, answers: Answers, noise: float
    ) -> dict[str, np.ndarray]:
        """Test images with their masks and predicted masks: some evenly spread, and the worst."""
        assert isinstance(results, Segmentations)
        assert isinstance(test, Masked) and isinstance(train, Masked)
        few = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(np.int64)
        arrays = {
            "samples_pixels": train.take(torch.from_numpy(few)).numpy(),
            "samples_labels": train.labels.numpy()[few],
        }
        chosen = {
            "shown": np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(np.int64),
            "worst": results.worst(SHOWN),
        }
        for name, places in chosen.items():
            index = torch.from_numpy(places)
            pixels = test.take(index)
            maps = [answers(picture[None]).argmax(1).to(torch.uint8).cpu() for picture in pixels]
            predicted = (
                torch.cat(maps).numpy() if maps else np.zeros((0, *test.shape[1:]), np.uint8)
            )
            arrays |= {
                f"{name}_pixels": pixels.numpy(),
                f"{name}_index": places,
                f"{name}_said": predicted,
            }
            arrays |= {f"{name}_masks": test.targets(index).cpu().numpy()}
        return {**arrays, "colours": np.array(test.colours, dtype=np.uint8)}


def counted(predicted: Tensor, masks: Tensor, classes: int) -> Tensor:
    """Pixel counts by image, true and predicted class, int64 N,K,K, without ignored pixels."""
    true = masks.long()
    counts = true != IGNORED
    picture = torch.arange(len(true), device=true.device).view(-1, 1, 1).expand_as(true)
    places = ((picture * classes + true) * classes + predicted)[counts]
    return torch.bincount(places, minlength=len(true) * classes * classes).view(
        len(true), classes, classes
    )
