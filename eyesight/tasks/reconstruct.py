"""Reconstruction of the image through a bottleneck, scored by PSNR.

With noise in the recipe, reconstruction of the clean image from a noisy one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from eyesight import augment
from eyesight.data.images import Images
from eyesight.models.autoencoder import AutoEncoder
from eyesight.models.layers import Network
from eyesight.recipe import Augment
from eyesight.recipe import Loss as LossChoice
from eyesight.results import reconstructions
from eyesight.results.any_task import Results
from eyesight.results.reconstructions import Reconstructions
from eyesight.tasks.losses import Loss
from eyesight.tasks.task import SAMPLES, WORST, Answers, Task, device_of, in_turn, scaled

COMPARED = (
    2000 * 28 * 28
)  # pixel values for which SSIM is computed; it takes a millisecond per image of 28×28
SMALLEST = 1e-10  # smallest squared error, so that the PSNR of a perfect reconstruction is 100 dB


class Reconstruct(Task):
    """Reconstruction; the head outputs a logit per pixel value, the target is the image itself.

    Labels only colour figures.
    """

    target = "picture"
    losses = ("mse", "binary_cross_entropy")

    def outputs(self, images: Images) -> int:
        """One per channel."""
        return images.shape[0]

    def loss(self, choice: LossChoice, images: Images) -> Loss:
        """The mean over all values of all images."""
        return Loss(
            squared_error if choice.name == "mse" else functional.binary_cross_entropy_with_logits
        )

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
        """Images with geometric augmentation and noise; the targets are without noise."""
        clean = augment.move(pixels, None, policy, random, epoch, index)[0]
        return augment.disturb(clean.clone() if policy.cutout else clean, policy, random), clean

    def eval_batch(
        self, pixels: Tensor, targets: Tensor, images: Images, policy: Augment
    ) -> tuple[Tensor, Tensor]:
        """The images with the recipe's noise, which depends only on an image's values."""
        clean = scaled(pixels)
        return noisy(clean, policy.noise), clean

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of PSNR over images, and the number of images."""
        errors = (outputs.detach().float().sigmoid() - targets).square().mean((1, 2, 3))
        decibels = -10 * errors.clamp_min(SMALLEST).log10()
        return torch.stack([decibels.sum(), decibels.new_tensor(len(targets))]).double()

    def score(self, tally: list[float]) -> float:
        """The mean PSNR in dB."""
        return tally[0] / tally[1]

    def infer(
        self,
        network: Network,
        images: Images,
        answers: Answers,
        *,
        batch: int | None = None,
        noise: float = 0.0,
    ) -> Reconstructions:
        """Error, PSNR, SSIM (of a sample) and bottleneck of every image."""
        assert isinstance(network, AutoEncoder)
        every = max(1, len(images) * int(np.prod(images.shape)) // COMPARED)
        columns: dict[str, list[npt.NDArray[Any]]] = {
            "errors": [],
            "psnr": [],
            "ssim": [],
            "codes": [],
        }
        for pixels, _, index in images.batches(
            torch.arange(len(images)), batch or images.chunk, device_of(network)
        ):
            clean = scaled(pixels)
            asked = noisy(clean, noise)
            true, restored = clean.cpu().numpy(), answers(asked).cpu().numpy()
            columns["errors"].append(((restored.astype(np.float64) - true) ** 2).mean((1, 2, 3)))
            columns["psnr"].append(reconstructions.psnr(true, restored))
            compared = np.full(len(true), np.nan)
            chosen = np.flatnonzero(index.cpu().numpy() % every == 0)
            compared[chosen] = reconstructions.ssim(true[chosen], restored[chosen])
            columns["ssim"].append(compared)
            columns["codes"].append(network.code_of(asked).cpu().numpy())
        joined: dict[str, Any] = {
            name: np.concatenate(parts).astype(np.float32) if parts else EMPTY[name]
            for name, parts in columns.items()
        }
        return Reconstructions(
            ids=images.ids, labels=images.labels.numpy(), classes=images.classes, **joined
        )

    def gallery(
        self, train: Images, test: Images, results: Results, answers: Answers, noise: float
    ) -> dict[str, np.ndarray]:
        """Test images of every class and the most unusual ones, with their reconstructions."""
        assert isinstance(results, Reconstructions)
        samples, arrays = in_turn(train.labels.numpy()), dict[str, npt.NDArray[Any]]()
        chosen = {
            "shown": in_turn(test.labels.numpy(), SAMPLES),
            "strange": results.strangest(WORST),
        }
        for name, places in chosen.items():
            pixels = test.take(torch.from_numpy(places))
            asked = noisy(scaled(pixels), noise)
            restored = answers(asked).cpu() if len(places) else asked
            arrays |= {
                f"{name}_pixels": pixels.numpy(),
                f"{name}_index": places,
                f"{name}_restored": eight_bits(restored),
            }
            arrays |= {f"{name}_asked": eight_bits(asked)} if noise else {}
        labels = train.labels.numpy()[samples]
        return {
            **arrays,
            "samples_pixels": train.take(torch.from_numpy(samples)).numpy(),
            "samples_labels": labels,
        }


EMPTY = {"errors": np.zeros(0), "psnr": np.zeros(0), "ssim": np.zeros(0), "codes": np.zeros((0, 2))}


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error of the values, from 0 to 1."""
    return functional.mse_loss(outputs.float().sigmoid(), targets)


def noisy(clean: Tensor, noise: float) -> Tensor:
    """Add Gaussian noise of this standard deviation to images from 0 to 1.

    The noise of an image does not depend on the rest of its batch.
    """
    if not noise:
        return clean
    drawn = []
    for picture in clean:
        random = torch.Generator().manual_seed(int(picture.double().sum().item() * 1000))
        drawn.append(torch.randn(picture.shape, generator=random))
    return (clean + noise * torch.stack(drawn).to(clean.device)).clamp_(0, 1)


def eight_bits(pictures: Tensor) -> npt.NDArray[np.uint8]:
    """Convert images from 0 to 1 to uint8 N,C,H,W."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
