"""Whether a classifier's confidence can be believed, and the temperature that mends it.

Guo et al. 2017: dividing the logits by one number, fitted on validation images, makes what is said
with 80 % right in 80 % of the cases. It never changes which class is the most probable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from eyesight.results.conformal import PredictionSets, SetsJson
from eyesight.results.metrics import BINS, Floats, Labels, bin_of, correct, log_loss, reliability
from eyesight.results.unlike import Arrays, Unlike

FOLDS = 5  # of validation images, to see whether a temperature helps
LEAST = 50  # validation images below which a temperature would be noise
RANGE = (0.05, 20.0)  # of temperatures
SAMPLES = 1000  # bootstrap samples
UNDETECTED = "images unlike the training images are not detected"
EARLIER = "trained by an earlier version (train again)"
UNRESERVED = "every image was used to train some members"


class CalibrationJson(TypedDict, total=False):
    """The fields of `Calibration`; empty for a classifier that was never calibrated."""

    temperature: float
    images: int
    sets: SetsJson | None
    note: str
    reasons: dict[str, str]
    unlike: dict[str, list[float]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What validation images say about a classifier's answers; it travels with the weights.

    The temperature is fitted on images that chose the epoch, too; the sets and the limit of
    `unlike` on others, which chose nothing.
    """

    temperature: float = 1.0
    images: int = 0  # that the temperature was fitted on, or that it did not help
    sets: PredictionSets | None = None
    unlike: Unlike | None = None
    note: str = ""  # what is missing, and why
    reasons: Mapping[str, str] = field(default_factory=dict)  # why "sets" or "unlike" is missing

    def reason(self, missing: str) -> str:
        """Why "sets" or "unlike" is missing; the whole note if no reasons were kept."""
        return self.reasons.get(missing, self.note)

    def to_dict(self, *, arrays: bool = False) -> CalibrationJson:
        """As plain JSON values; the arrays of `unlike` only if asked for."""
        values: CalibrationJson = {
            "temperature": self.temperature,
            "images": self.images,
            "sets": None,
            "note": self.note,
            "reasons": dict(self.reasons),
        }
        if self.sets is not None:
            values["sets"] = self.sets.to_dict()
        if arrays and self.unlike is not None:
            tensors = self.unlike.tensors()
            values["unlike"] = {name: array.tolist() for name, array in tensors.items()}
        return values

    @staticmethod
    def from_dict(values: CalibrationJson, arrays: Arrays | None = None) -> Calibration:
        """What `to_dict` gave, with the arrays of `unlike`; without values, no calibration."""
        if not values:
            return Calibration()
        sets = None
        if values["sets"] is not None:
            sets = PredictionSets.from_dict(values["sets"])
        if "unlike" in values:
            arrays = {name: np.array(row, np.float32) for name, row in values["unlike"].items()}
        unlike, note = None, values["note"]
        reasons = dict(values.get("reasons", {}))
        if arrays:
            unlike = Unlike.read(arrays)
            if unlike is None:
                reasons["unlike"] = EARLIER
                note = "; ".join([*filter(None, [note]), f"{EARLIER}: {UNDETECTED}"])
        temperature, images = float(values["temperature"]), int(values["images"])
        return Calibration(temperature, images, sets, unlike, note, reasons)


@dataclass(frozen=True)
class Error:
    """The expected calibration error with two 95 % ranges by bootstrap, over images."""

    value: float
    interval: tuple[float, float]  # of the error itself
    perfect: tuple[float, float]  # that a perfectly calibrated classifier of these answers shows


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The error among the most confident answers, by the share of images that are answered."""

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    area: float  # under the curve, smaller is better (Geifman and El-Yaniv 2017)


def softmax(logits: Floats, temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """Probabilities N,K of logits N,K divided by `temperature`."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    values = np.exp(scaled)
    return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float32)


def choose_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature fitted on labelled logits N,K, or 1 where it would not help.

    It helps if temperatures fitted on four fifths of the images lower the log loss of the others.
    1, too, where fewer than 50 images have a label, or where one class alone occurs.
    """
    chosen = labels >= 0
    if chosen.sum() < LEAST:
        return 1.0
    logits, labels = logits[chosen], labels[chosen]
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    fitted = np.empty_like(logits, dtype=np.float32)
    for number in range(FOLDS):
        held_out = fold == number
        temperature = fit_temperature(logits[~held_out], labels[~held_out])
        fitted[held_out] = softmax(logits[held_out], temperature)
    if log_loss(fitted, labels) >= log_loss(softmax(logits), labels):
        return 1.0
    return fit_temperature(logits, labels)


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature with the lowest cross-entropy on labelled logits N,K.

    1 where one class alone occurs.
    """
    from scipy.optimize import minimize_scalar

    chosen = labels >= 0
    if len(np.unique(labels[chosen])) < 2:
        return 1.0
    logits = np.asarray(logits, dtype=np.float64)[chosen]
    # As Platt (1999): as if one of n + 2 labels were another, or images without a mistake would
    # make every answer certain.
    doubt = 1 / (len(logits) + 2)
    own = logits[np.arange(len(logits)), labels[chosen]]
    own = (1 - doubt) * own + doubt * logits.mean(axis=1)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        most = scaled.max(axis=1)
        normaliser = most + np.log(np.exp(scaled - most[:, None]).sum(axis=1))
        return float((normaliser - own / np.exp(log_temperature)).mean())

    fit = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(fit.x))


def at_temperature(probabilities: Floats, temperature: float) -> npt.NDArray[np.float32]:
    """What probabilities N,K at temperature 1 become at another, or back again with its inverse."""
    tiny = np.finfo(np.float32).tiny
    return softmax(np.log(np.maximum(probabilities, tiny)), temperature)


def calibration_error(probabilities: Floats, labels: Labels, bins: int = BINS) -> Error:
    """The expected calibration error, its interval, and what perfect calibration would show."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = correct(probabilities, labels)
    place = bin_of(confidence, bins)
    n = len(labels)
    random = np.random.default_rng(0)
    own, perfect = np.empty(SAMPLES), np.empty(SAMPLES)
    for sample in range(SAMPLES):
        rows = random.integers(0, n, n)
        own[sample] = _error(confidence[rows], hits[rows], place[rows], bins)
        simulated = random.random(n) < confidence
        perfect[sample] = _error(confidence, simulated, place, bins)
    value = reliability(probabilities, labels, bins).error
    return Error(value, _middle(own), _middle(perfect))


def _error(
    confidence: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    place: npt.NDArray[np.int64],
    bins: int,
) -> float:
    gaps = np.bincount(place, weights=confidence - hits, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _middle(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def risk_coverage(probabilities: Floats, labels: Labels) -> RiskCoverage:
    """What answering only the most confident images buys."""
    confidence = probabilities.max(axis=1)
    wrong = ~correct(probabilities, labels)
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    risk = np.cumsum(wrong[order]) / answered
    return RiskCoverage(answered / len(order), risk, float(risk.mean()))


def before_and_after(
    probabilities: Floats, labels: Labels, temperature: float
) -> dict[str, dict[str, float]]:
    """Calibration error and log loss of calibrated answers, and of the same at temperature 1."""
    raw = at_temperature(probabilities, 1 / temperature)
    return {
        name: {"ece": reliability(values, labels).error, "loss": log_loss(values, labels)}
        for name, values in (("before", raw), ("after", probabilities))
    }
