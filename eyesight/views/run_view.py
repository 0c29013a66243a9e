"""What the report and the web pages show of a run, from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from eyesight.data.prepare import Pixels
from eyesight.results import metrics, slices
from eyesight.results.calibration import Calibration, CalibrationJson
from eyesight.results.metrics import ClassRow, Pair
from eyesight.results.predictions import Predictions, read_arrays, readable
from eyesight.results.slices import Slice
from eyesight.runs import Run
from eyesight.system.json_value import parse_json


@dataclass(frozen=True)
class Judgement:
    """The tables about labelled predictions, with class names for people."""

    class_names: tuple[str, ...]
    rows: list[ClassRow]
    pairs: list[Pair]


@dataclass(frozen=True)
class Mistake:
    """A misclassified test image: `place` in the run's gallery, and the two probabilities."""

    place: int
    id: str
    true: str
    predicted: str
    probability: float  # of the predicted class
    probability_of_true: float


@dataclass(frozen=True)
class Finding:
    """A finding of the doctor, as it was stored in the run."""

    title: str
    evidence: str
    remedy: str
    severity: str
    id: str = ""  # of the kind of finding
    why: str = ""


def labelled(run: Run) -> Predictions | None:
    """The labelled test predictions of a classifier; None without any, and for other tasks."""
    if run.target != "class" or not has_predictions(run):
        return None
    predictions = run.predictions().labelled()
    if not len(predictions):
        return None
    return predictions


def has_predictions(run: Run) -> bool:
    """Whether the run has predicted its test images."""
    return (run.path / "predictions.npz").is_file()


def judgement(predictions: Predictions | None) -> Judgement:
    """The tables about labelled predictions; empty without any."""
    if predictions is None:
        return Judgement((), [], [])
    names = readable(predictions.classes)
    rows = metrics.per_class(predictions.probabilities, predictions.labels, names)
    pairs = metrics.confused_pairs(predictions.probabilities, predictions.labels, names)
    return Judgement(names, rows, pairs)


def mistakes(run: Run, most: int) -> list[Mistake]:
    """The most costly mistakes of those whose pixels the run keeps, at most `most`."""
    indices = run.gallery().get("mistakes_index", np.zeros(0, dtype=np.int64))
    if not len(indices) or not has_predictions(run):
        return []
    predictions = run.predictions()
    names = readable(predictions.classes)
    rows = []
    for place, index in enumerate(indices[:most]):
        true = int(predictions.labels[index])
        predicted = int(predictions.predicted[index])
        probabilities = predictions.probabilities[index]
        rows.append(
            Mistake(
                place=place,
                id=predictions.ids[index],
                true=names[true],
                predicted=names[predicted],
                probability=float(probabilities[predicted]),
                probability_of_true=float(probabilities[true]),
            )
        )
    return rows


def calibration(run: Run) -> Calibration:
    """How the run's classifier was calibrated; nothing of it for runs of before."""
    description = run.read_json("classifier/classifier.json", missing_ok=True)
    return Calibration.from_dict(cast(CalibrationJson, description.get("calibration") or {}))


def worst_slices(run: Run, predictions: Predictions | None, most: int = 10) -> list[Slice]:
    """The slices of the test images on which the classifier is worst; none for runs of before."""
    file = run.path / "properties.npz"
    if predictions is None or not file.is_file():
        return []
    measured = read_arrays(file)
    whole = run.predictions()
    labelled = whole.labels >= 0
    return slices.find(predictions, {key: measured[key][labelled] for key in measured})[:most]


def samples(run: Run, most: int) -> list[tuple[Pixels, str]]:
    """Training images that the run keeps, uint8 C,H,W, with their class names."""
    gallery = run.gallery()
    if run.target == "mask" or "samples_pixels" not in gallery:  # a mask is no name
        return []
    names = readable(run.data.get("classes") or ())
    shown = []
    for pixels, label in zip(gallery["samples_pixels"], gallery["samples_labels"], strict=True):
        name = ""
        if 0 <= label < len(names):
            name = names[label]
        shown.append((pixels, name))
    return shown[:most]


def findings(run: Run) -> list[Finding]:
    """What the doctor stored in the run; nothing when it was not asked or its file is damaged."""
    try:
        stored = parse_json((run.path / "doctor.json").read_bytes())
    except (OSError, ValueError):
        return []
    if isinstance(stored, dict):
        stored = stored.get("findings")
    if not isinstance(stored, list):
        return []
    keys = ("title", "evidence", "remedy", "severity", "id", "why")
    entries = [entry for entry in stored if isinstance(entry, dict)]
    return [Finding(*(str(entry.get(key, "")) for key in keys)) for entry in entries]
