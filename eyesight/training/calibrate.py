"""Calibration of a trained classifier on validation images, before it is saved.

The validation images are split in two: one part chooses the epoch and fits the temperature, the
other calibrates the prediction sets and the limit for unfamiliar images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from eyesight.classifier import Classifier
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.results import conformal
from eyesight.results import unlike as unlikeness
from eyesight.results.calibration import LEAST, UNDETECTED, Calibration, choose_temperature, softmax
from eyesight.results.conformal import PredictionSets
from eyesight.results.unlike import REFERENCES, Unlike

MOST = 1000  # images that calibrate the sets
DIVIDED_FROM = 200  # validation images; fewer all choose the epoch, and there are no sets
NO_VALIDATION = "no validation images"
NO_TEMPERATURE = (
    "a temperature does not lower the log loss on validation images that were not used to fit "
    "it: confidence is not calibrated"
)
FEW = f"fewer than {unlikeness.LEAST} training or validation images"
Rows = npt.NDArray[np.int64]


def divided(count: int) -> tuple[Rows, Rows]:
    """Rows of the validation images that choose and fit, and of those that calibrate the sets."""
    order = np.random.default_rng(0).permutation(count)
    calibrating = 0
    if count >= DIVIDED_FROM:
        calibrating = min(count // 2, MOST)
    return np.sort(order[calibrating:]), np.sort(order[:calibrating])


def choosing(data: Dataset) -> Dataset:
    """The data, reduced to the validation images that may choose the epoch."""
    rows, _ = divided(len(data.validation))
    return replace(data, validation=data.validation.subset(rows))


def references(train: Images, most: int = REFERENCES) -> Images:
    """Evenly spread training images as references for unfamiliar images."""
    count = min(most, len(train))
    return train.subset(np.linspace(0, len(train) - 1, count).astype(np.int64))


def calibrate(classifier: Classifier, data: Dataset, most: int = REFERENCES) -> Calibration:
    """Fit temperature, prediction sets and the limit for unfamiliar images on validation images.

    At most so many training images are references. With too few images a part is left out, with a
    note.
    """
    validation = data.validation
    if not len(validation):
        lost = f"confidence is not calibrated, there are no prediction sets, and {UNDETECTED}"
        reasons = {"sets": NO_VALIDATION, "unlike": NO_VALIDATION}
        return Calibration(note=f"{NO_VALIDATION}: {lost}", reasons=reasons)
    logits, features = _outputs(classifier, validation)
    labels = validation.labels.numpy()
    fitting, calibrating = divided(len(validation))
    temperature = choose_temperature(logits[fitting], labels[fitting])
    images = int((labels[fitting] >= 0).sum())
    notes = []
    reasons = {}
    if images < LEAST:
        images = 0
        notes.append(f"fewer than {LEAST} validation images: confidence is not calibrated")
    elif temperature == 1.0:
        notes.append(NO_TEMPERATURE)
    sets = None
    if len(calibrating):
        probabilities = softmax(logits, temperature)
        penalty = conformal.choose_penalty(probabilities[fitting], labels[fitting])
        sets = PredictionSets.fit(probabilities[calibrating], labels[calibrating], penalty)
    else:
        reasons["sets"] = f"fewer than {DIVIDED_FROM} validation images"
        notes.append(f"{reasons['sets']}: no prediction sets")
    rows = fitting
    if len(calibrating):
        rows = calibrating
    _, reference = _outputs(classifier, references(data.train, most))
    unlike = Unlike.fit(reference, features[rows], logits[rows])
    if unlike is None:
        reasons["unlike"] = FEW
        notes.append(f"{FEW}: {UNDETECTED}")
    return Calibration(temperature, images, sets, unlike, "; ".join(notes), reasons)


def _outputs(
    classifier: Classifier, images: Images
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits N,K and features N,D of images."""
    parts = []
    for start in range(0, len(images), images.chunk):
        index = torch.arange(start, min(start + images.chunk, len(images)))
        parts.append(classifier.logits_and_features(images.take(index).cpu().numpy()))
    logits = np.concatenate([logits for logits, _ in parts])
    return logits, np.concatenate([features for _, features in parts])
