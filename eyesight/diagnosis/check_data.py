"""Checks of images and labels: shuffled labels, unbalanced classes, leaked test images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eyesight.diagnosis import check_curves
from eyesight.diagnosis.check_curves import LOST
from eyesight.diagnosis.evidence import (
    Copied,
    Finding,
    Patient,
    Sample,
    Severity,
    chance_loss,
)

ALMOST_ALL = 0.99  # share of one class that leaves nothing to learn
RATIO = 5.0  # largest class to smallest, where the small ones are recognised worse
LARGE_RATIO = 20.0  # where they will be
BEHIND = 0.2  # recall by which small classes lie behind large ones
LEAK = 0.005  # share of held-out pictures: fewer cannot move the accuracy by more than half a point
CELLS = 8  # side of the signature by which pictures are compared
ALIKE_CELL = 2.0  # of 255: largest difference of a cell, in copies that were saved again
ALIKE = 2.5  # of 255: mean difference of a pixel
ENOUGH_TO_COMPARE = 200  # training pictures for judging the labels without the network
INFORMED = 0.9  # of the loss by frequencies alone: below it, the labels belong to the images
ERRORS = 4.0  # standard errors above chance from which a nearest-neighbour accuracy means something


def labels_constant(patient: Patient) -> Finding | None:
    """Nearly all training images have the same class."""
    if sum(patient.per_class) < 20 or patient.chance < ALMOST_ALL:
        return None
    name = patient.classes[int(np.argmax(patient.per_class))]
    return Finding(
        "labels_constant",
        "All labels are the same",
        "fatal",
        f"{max(patient.per_class):,} of {sum(patient.per_class):,} training images are labelled "
        f"{name!r}",
        "check the labels: `eyesight data DATA` counts every class",
        "A network that always predicts this class is right, and learns nothing else.",
    )


def labels_shuffled(patient: Patient) -> Finding | None:
    """The training images are learned but validation stays at chance.

    Or nothing is learned, and similar images do not share labels either.
    """
    if labels_constant(patient):
        return None
    near = neighbours(patient)
    count = 0
    if patient.validation is not None:
        count = len(patient.validation.labelled())
    stuck = no_learning(patient)
    if near and not near[2] and stuck:
        return _shuffled(f"{stuck}; {_like(near, patient)}", "warning")
    train = patient.measured("train_top1")
    held = patient.measured("validation_top1")
    if len(train) < 3 or len(held) < 3 or count < 30 or (near and near[2]):
        return None
    if learns_from_labels(patient):
        return None
    error = math.sqrt(patient.chance * (1 - patient.chance) / count)
    if (
        train[-1] < patient.chance + 0.4 * (1 - patient.chance)
        or held.max() > patient.chance + 4 * error
    ):
        return None
    evidence = (
        f"accuracy reached {train[-1]:.1%} on training images, but at most "
        f"{held.max():.1%} on {count} validation images; "
        f"always predicting the most frequent class gives {patient.chance:.1%}"
    )
    if near:
        evidence += f"; {_like(near, patient)}"
    return _shuffled(evidence, "fatal")


def learns_from_labels(patient: Patient) -> bool:
    """Whether the loss on validation images fell clearly below that of knowing only how frequent
    each class is.

    Where one class is frequent, this shows learning earlier than the accuracy does.
    """
    losses = patient.measured("validation_loss")
    counts = np.array([count for count in patient.per_class if count], dtype=np.float64)
    if patient.recipe.loss.name != "cross_entropy" or not len(losses) or len(counts) < 2:
        return False
    shares = counts / counts.sum()
    entropy = -float((shares * np.log(shares)).sum())
    return bool(losses.min() < INFORMED * entropy)


def _like(near: tuple[float, int, bool], patient: Patient) -> str:
    return (
        f"{near[0]:.1%} of {near[1]} held-out images have the label of the most similar training "
        f"image (chance {patient.chance:.1%})"
    )


def _shuffled(evidence: str, severity: Severity) -> Finding:
    return Finding(
        "labels_shuffled",
        "The labels look shuffled",
        severity,
        evidence,
        "check in the run's report whether the samples have the right labels, then check "
        "how labels are paired with files",
        "Random labels can be memorised image by image, but this does not generalise to other "
        "images.",
    )


def no_learning(patient: Patient) -> str:
    """Evidence that training accuracy stayed at chance for hundreds of steps, or empty."""
    top1 = patient.measured("train_top1")
    loss = patient.measured("train_loss")
    if (
        not len(top1)
        or not len(loss)
        or patient.steps < 300
        or len(patient.classes) < 2
        or patient.chance >= ALMOST_ALL
    ):
        return ""
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    if top1.max() > patient.chance + LOST * (1 - patient.chance) or loss[-1] < 0.9 * min(
        guess, loss[0]
    ):
        return ""
    accuracy = f"the training accuracy is {top1[-1]:.1%} (chance {patient.chance:.1%})"
    return (
        f"after {patient.steps:,} steps {accuracy} and the loss {loss[-1]:.3g} (uniform "
        f"guessing {guess:.3g})"
    )


def not_learning(patient: Patient) -> Finding | None:
    """The network learns nothing, although similar images share labels."""
    stuck = no_learning(patient)
    near = neighbours(patient)
    if not stuck or (near and not near[2]) or check_curves.collapse(patient):
        return None
    if near:
        stuck += f"; yet the labels are meaningful: {_like(near, patient)}"
    return Finding(
        "not_learning",
        "The network does not learn",
        "fatal",
        stuck,
        check_curves.remedy(patient),
        "The signal does not reach the last layer, or the steps are so large that they undo one "
        "another.",
    )


def neighbours(patient: Patient) -> tuple[float, int, bool] | None:
    """The accuracy of the nearest training image's label.

    Returns (accuracy, images compared, whether that is clearly above chance); None without enough
    images.
    """
    train = patient.samples.get("train")
    held = _held(patient)
    if train is None or len(train) < ENOUGH_TO_COMPARE:
        return None
    if held is None or len(held) < 50:
        whole = train.few(4000)
        train = Sample(whole.pixels[::2], whole.labels[::2])
        held = Sample(whole.pixels[1::2], whole.labels[1::2])
    train = train.few(4000)
    held = held.few(500)
    match = nearest(signatures(train.pixels), signatures(held.pixels))
    right = float((train.labels[match] == held.labels).mean())
    error = math.sqrt(patient.chance * (1 - patient.chance) / len(held))
    clearly = right > patient.chance + ERRORS * error or right > 2 * patient.chance + 2 * error
    return right, len(held), clearly


def _held(patient: Patient) -> Sample | None:
    """The labelled images of validation and test."""
    pixels = []
    labels = []
    for name in ("validation", "test"):
        part = patient.samples.get(name)
        if part is not None and len(part):
            labelled = part.labels >= 0
            pixels.append(part.pixels[labelled])
            labels.append(part.labels[labelled])
    if not pixels:
        return None
    return Sample(np.concatenate(pixels), np.concatenate(labels))


def class_imbalance(patient: Patient) -> Finding | None:
    """Classes of very different size, the small ones with lower recall (or likely so)."""
    counts = np.array(patient.per_class)
    if len(counts) < 2 or counts.max() < 20 or patient.chance >= ALMOST_ALL:
        return None
    ratio = counts.max() / max(1, counts.min())
    recalls = _recalls(patient)
    behind = recalls is not None and recalls[1] - recalls[0] > BEHIND
    weighted = patient.recipe.loss.class_weights != "none"
    expected = ratio >= LARGE_RATIO and not weighted and recalls is None
    if ratio < RATIO or not (behind or expected):
        return None
    small = int(counts.argmin())
    large = int(counts.argmax())
    evidence = (
        f"{patient.classes[large]!r} has {counts[large]:,} training images, "
        f"{patient.classes[small]!r} {counts[small]:,}: {ratio:.0f} to 1"
    )
    if recalls is not None:
        evidence += (
            f"; recall is {recalls[0]:.1%} on the smaller half of the classes and "
            f"{recalls[1]:.1%} on the larger"
        )
    return Finding(
        "class_imbalance",
        "Small classes are recognised worse",
        "warning" if behind else "note",
        evidence,
        "--set loss.class_weights=balanced, or --set loss.name=focal",
        "Every image has the same weight in the loss, so a small class has little influence.",
    )


def _recalls(patient: Patient) -> tuple[float, float] | None:
    """Recall on the smaller and on the larger half of the classes.

    None without ten held-out images of each.
    """
    held = patient.held_out
    counts = np.array(patient.per_class)
    if held is None or held.classes != patient.classes:
        return None
    small = np.argsort(counts, kind="stable")[: len(counts) // 2]
    of_small = np.isin(held.labels, small)
    right = held.predicted == held.labels
    if min(of_small.sum(), (~of_small).sum()) < 10:
        return None
    return float(right[of_small].mean()), float(right[~of_small].mean())


def leak(patient: Patient) -> Finding | None:
    """Held-out images that are exact or near copies of training images."""
    train = patient.samples.get("train")
    held = _held(patient)
    if train is None or held is None or not patient.thorough or len(train) < 2:
        return None
    alike = Copied(int(copies(train.pixels, held.pixels).sum()), len(held))
    copied = max(alike, patient.copies, key=lambda counted: counted.share)
    if copied.share < LEAK:
        return None
    verb = "is a copy of a training image"
    if copied.count > 1:
        verb = "are copies of training images"
    return Finding(
        "leak",
        "Held-out images occur in the training set",
        "warning",
        f"{copied.count:,} of {copied.compared:,} held-out images ({copied.share:.1%}) {verb}",
        "split by the origin of the images (one folder per split, or a split column in a CSV), "
        "and remove duplicates",
        "A memorised image is classified correctly even if nothing was learned about its class.",
    )


def signatures(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each picture's grey values in 8×8 cells, N,64, from 0 to 255.

    Smaller pictures keep their own pixels.
    """
    grey = np.stack([part.astype(np.float32).mean(0) for part in pixels])
    for axis, shape in ((1, (-1, 1)), (2, (-1,))):
        side = grey.shape[axis]
        edges = np.unique(np.linspace(0, side, min(CELLS, side) + 1).astype(int))
        sizes = np.diff(edges).reshape(shape)
        grey = np.add.reduceat(grey, edges[:-1], axis=axis) / sizes
    return grey.reshape(len(grey), -1).astype(np.float32)


def nearest(reference: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each row of `queries` the nearest row of `reference`, by Euclidean distance."""
    half = (reference**2).sum(1) / 2
    parts = np.array_split(queries, max(1, -(-len(queries) // 500)))
    rows = [(half - part @ reference.T).argmin(1) for part in parts]
    return np.concatenate(rows).astype(np.int64)


def copies(train: NDArray[np.uint8], held: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each held-out image is a training image, but for what saving it again changes.

    Alike in the cells is not enough (thin strokes average out), so those are compared by the pixel;
    empty pictures do not count.
    """
    reference = signatures(train)
    queries = signatures(held)
    match = nearest(reference, queries)
    close = np.abs(reference[match] - queries).max(1) <= ALIKE_CELL
    contrast = np.array([picture.std() for picture in held]) > 2 * ALIKE
    for place in np.flatnonzero(close & contrast):
        difference = np.abs(train[match[place]].astype(np.int16) - held[place]).mean()
        close[place] = difference <= min(ALIKE, 0.1 * held[place].std())
    return np.asarray(close & contrast, dtype=np.bool_)
