"""Whether an exported file predicts what its classifier predicts, on real images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eyesight.classifier import Classifier
from eyesight.data import dataset
from eyesight.data.images import Images
from eyesight.data.prepare import Pixels
from eyesight.errors import UserError
from eyesight.inference.onnx_classifier import OnnxClassifier
from eyesight.runs import Run
from eyesight.system.progress import Talk, silent

MOST_CHECKED = 1000  # images that go through both
CALIBRATING = 300  # training images that int8 takes its ranges from
SAME = 1e-3  # largest difference of two probabilities that differ by rounding alone
TIE = 1e-5  # classes closer than this have no order that rounding could not change
USUAL_LOSS = 0.005  # of accuracy that int8 may cost
ROUNDING = 1e-9  # of accuracies
BATCHES = (1, 8, 250, 500, 750)  # places at which the checked images are cut into batches


@dataclass(frozen=True)
class Parity:
    """Two classifiers on the same images; accuracies are None without labels."""

    pictures: int
    origin: str  # which images they were, in words
    agreement: float  # share of images with the same most probable class
    largest_difference: float  # between two probabilities
    accuracy: float | None
    accuracy_before: float | None


@dataclass(frozen=True, eq=False)
class Held:
    """Images to check with (labels of -1 are unknown) and others to calibrate int8 with."""

    origin: str
    pixels: Pixels
    labels: npt.NDArray[np.int64]
    calibrating: Pixels


def held_out(run: Run, loaded: Classifier, data: str | None, talk: Talk = silent) -> Held:
    """The images to check with.

    Those at `data`, or the run's own test images, or those that it kept for its report. Raises
    UserError when there are none.
    """
    if data is not None:
        return _given(run, loaded, data, talk)
    try:
        own = dataset.load(run.settled.data, preparation=loaded.several_parts, talk=talk)
    except (UserError, OSError) as error:
        talk(f"the run's images are not available ({error})")
        return kept_images(run)
    if own.hash != run.data.get("split"):
        talk("the run's images have changed since training")
        return kept_images(run)
    for name, images in (("test", own.test), ("validation", own.validation)):
        if len(images):
            return _held(f"{name} images of {own.name}", images, own.train)
    return _held(f"training images of {own.name}", own.train, own.train)


def _given(run: Run, loaded: Classifier, data: str, talk: Talk) -> Held:
    """Labelled images at `data`, half to check with and half to calibrate with."""
    choice = replace(run.recipe.data, source=data)
    images = dataset.evaluation_images(choice, loaded.preparation, loaded.classes, talk=talk)
    if len(images) < 2:
        raise UserError(
            f"{data} has {len(images)} labelled images, too few to verify the export",
            "use at least two",
        )
    every = np.arange(len(images))
    return _held(data, images.subset(every[1::2]), images.subset(every[::2]))


def _held(origin: str, images: Images, others: Images) -> Held:
    chosen = _spread(len(images), min(MOST_CHECKED, 4 * images.chunk))
    calibrating = others.take(_spread(len(others), CALIBRATING)).numpy()
    pixels = images.take(chosen).numpy()
    return Held(origin, pixels, images.labels[chosen].numpy(), calibrating)


def _spread(n: int, most: int) -> Tensor:
    """At most `most` of the numbers below `n`, evenly spread."""
    return torch.linspace(0, n - 1, min(n, most)).long()


def kept_images(run: Run) -> Held:
    """The samples and mistakes in the run's gallery."""
    gallery = run.gallery()
    parts = []
    for name in ("samples_pixels", "mistakes_pixels"):
        if name in gallery and len(gallery[name]):
            parts.append(gallery[name])
    if not parts:
        raise UserError(
            f"{run.path} has no stored images to verify the exported file",
            "name labelled images with --data DATA",
        )
    return unlabelled("images stored in the run for its report", np.concatenate(parts))


def unlabelled(origin: str, pixels: Pixels) -> Held:
    """Images without labels; there is nothing to calibrate with."""
    return Held(origin, pixels, np.full(len(pixels), -1, dtype=np.int64), pixels[:0])


def compare(before: Classifier, after: OnnxClassifier, held: Held) -> Parity:
    """Run both classifiers on the same images, the second on batches of several sizes."""
    first = before.probabilities(held.pixels)
    cuts = [size for size in BATCHES if size < len(held.pixels)]
    batches = np.split(held.pixels, cuts)
    second = np.concatenate([after.probabilities(batch) for batch in batches])
    if before.network.emits != "class":
        return _of_pixels(first, second, held.origin, maps=before.network.emits == "mask")
    rows = np.arange(len(first))
    expected = first.argmax(1)
    exported = second.argmax(1)
    tied = first[rows, expected] - first[rows, exported] < TIE
    same = (expected == exported) | tied
    return Parity(
        len(first),
        held.origin,
        float(same.mean()),
        float(np.abs(first - second).max()),
        _accuracy(exported, held.labels),
        _accuracy(expected, held.labels),
    )


def _accuracy(classes: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float | None:
    labelled = labels >= 0
    if not labelled.any():
        return None
    return float((classes == labels)[labelled].mean())


def _of_pixels(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], origin: str, *, maps: bool
) -> Parity:
    """Compare outputs N,K,H,W; pixels of maps must agree in their class, or nearly tie."""
    agreement = 1.0
    if maps:
        expected = first.argmax(1)[:, None]
        exported = second.argmax(1)[:, None]
        best = np.take_along_axis(first, expected, 1)
        gap = best - np.take_along_axis(first, exported, 1)
        agreement = float((gap < SAME).all(axis=(1, 2, 3)).mean())
    difference = float(np.abs(first - second).max())
    return Parity(len(first), origin, agreement, difference, None, None)


def require_same(parity: Parity) -> None:
    """Raise UserError unless every image got the same class and nearly the same probabilities."""
    if parity.agreement < 1 or not parity.largest_difference <= SAME:
        raise UserError(
            f"the exported file predicts differently: {1 - parity.agreement:.2%} of "
            f"{parity.pictures:,} {parity.origin} get another class, probabilities differ by up "
            f"to {parity.largest_difference:.2g}; it was not kept",
            "the exporter does not support this network correctly; serve the run folder "
            "instead, or choose another network",
        )


def allowed_loss(parity: Parity, tolerance: float | None) -> float:
    """The largest accepted loss of accuracy.

    Without a `tolerance`, half a point, or one image if fewer than 200 were compared.
    """
    if tolerance is not None:
        return tolerance
    return max(USUAL_LOSS, 1 / parity.pictures)


def is_accurate(parity: Parity, tolerance: float | None) -> bool:
    """Whether int8 costs no more accuracy than is allowed."""
    if parity.accuracy is None or parity.accuracy_before is None:
        return False
    lost = parity.accuracy_before - parity.accuracy
    return lost <= allowed_loss(parity, tolerance) + ROUNDING


def require_accurate(parity: Parity, tolerance: float | None) -> None:
    """Raise UserError when int8 costs more accuracy than is allowed."""
    if parity.accuracy is None or parity.accuracy_before is None:
        raise UserError("int8 needs labelled images", "name some with --data DATA")
    lost = parity.accuracy_before - parity.accuracy
    if not is_accurate(parity, tolerance):
        raise UserError(
            f"int8 loses {100 * lost:.2f} points of accuracy ({parity.accuracy_before:.2%} to "
            f"{parity.accuracy:.2%} on {parity.pictures:,} {parity.origin}), more than the "
            f"allowed {100 * allowed_loss(parity, tolerance):.3g}; it was not kept",
            "use the float32 file, or allow more with --tolerance POINTS",
        )
