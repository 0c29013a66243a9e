"""Sets of classes with a guarantee: in 95 of 100 images the true class is among these.

Split conformal prediction with adaptive sets (APS, Romano et al. 2020; the penalty of a class's
rank is that of RAPS, Angelopoulos et al. 2021). The score of a class is the probability of all more
probable classes: nothing for the first one, so that a set is never empty. It holds for images from
where the calibrating ones come from, whatever the classifier; other cameras or other shares of the
classes break it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from eyesight.results.metrics import Floats, Labels

LEVELS = (0.90, 0.95, 0.99)
USUAL = 0.95  # the level of the sets that an exported file gives
SLACK = 1e-6  # of a score: two runtimes add probabilities in different orders
PENALTIES = (0.0, 0.001, 0.01, 0.1)  # of a class's rank, from which the smallest sets are chosen


class Coverage(TypedDict):
    """How often the sets of one level held the true class of the test images."""

    level: float
    coverage: float
    expected: list[float]  # the 95 % range of coverage for so many images, by the beta-binomial
    size: float  # mean number of classes in a set
    size_interval: list[float]
    n: int


class SetsJson(TypedDict):
    """The fields of `PredictionSets`."""

    scores: list[float]
    labels: list[int]
    penalty: float


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """The scores of the true classes of n calibrating images, from which every level follows."""

    scores: npt.NDArray[np.float64]  # n
    labels: npt.NDArray[np.int64]  # n
    penalty: float = 0.0

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def fit(probabilities: Floats, labels: Labels, penalty: float = 0.0) -> PredictionSets:
        """Calibrate on labelled images that chose neither the weights nor the temperature."""
        scores = class_scores(probabilities, penalty)
        own = scores[np.arange(len(labels)), labels]
        return PredictionSets(own, np.asarray(labels, dtype=np.int64), penalty)

    def threshold(self, level: float) -> float:
        """The largest score of a class in a set; infinite when so few images cannot promise it."""
        return quantile(self.scores, level)

    def thresholds(self, level: float, classes: int) -> npt.NDArray[np.float64]:
        """The same for each class by itself, K: every class then has its own guarantee."""
        own = [self.scores[self.labels == k] for k in range(classes)]
        return np.array([quantile(scores, level) for scores in own])

    def sets(
        self, probabilities: Floats, level: float = USUAL, *, by_class: bool = False
    ) -> npt.NDArray[np.bool_]:
        """Which classes are in the set of each image, bool N,K."""
        limit: float | npt.NDArray[np.float64] = self.threshold(level)
        if by_class:
            limit = self.thresholds(level, probabilities.shape[1])
        chosen = class_scores(probabilities, self.penalty) <= limit + SLACK
        chosen[np.arange(len(chosen)), probabilities.argmax(axis=1)] = True
        return np.asarray(chosen, dtype=np.bool_)

    def to_dict(self) -> SetsJson:
        """As plain JSON values."""
        return {
            "scores": self.scores.round(7).tolist(),
            "labels": self.labels.tolist(),
            "penalty": self.penalty,
        }

    @staticmethod
    def from_dict(values: SetsJson) -> PredictionSets:
        """What `to_dict` gave."""
        scores = np.array(values["scores"], dtype=np.float64)
        labels = np.array(values["labels"], dtype=np.int64)
        return PredictionSets(scores, labels, float(values["penalty"]))


def class_scores(probabilities: Floats, penalty: float = 0.0) -> npt.NDArray[np.float64]:
    """The probability of all more probable classes, plus `penalty` times their number, N,K."""
    values = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    above = np.cumsum(ranked, axis=1) - ranked + penalty * np.arange(values.shape[1])
    scores = np.empty_like(above)
    np.put_along_axis(scores, order, above, axis=1)
    return scores


def quantile(scores: npt.NDArray[np.float64], level: float) -> float:
    """The conformal quantile: the ⌈(n + 1) level⌉-th smallest score, infinite beyond the last."""
    place = math.ceil((len(scores) + 1) * level - 1e-9)
    if place > len(scores):
        return math.inf
    return float(np.sort(scores)[place - 1])


def choose_penalty(probabilities: Floats, labels: Labels, level: float = USUAL) -> float:
    """The penalty with the smallest sets, on images that will not calibrate."""
    sizes = {}
    for penalty in PENALTIES:
        sets = PredictionSets.fit(probabilities, labels, penalty).sets(probabilities, level)
        sizes[penalty] = float(sets.sum(axis=1).mean())
    return min(PENALTIES, key=lambda penalty: (sizes[penalty], penalty))


def coverage(sets: PredictionSets, probabilities: Floats, labels: Labels, level: float) -> Coverage:
    """How often the sets held the true class, beside what so many images should show.

    With n calibrating images the coverage of N test images is beta-binomial: of n + 1 ranks the
    threshold takes the ⌈(n + 1) level⌉-th.
    """
    from scipy.stats import betabinom

    chosen = sets.sets(probabilities, level)
    n = len(labels)
    held = chosen[np.arange(n), labels]
    sizes = chosen.sum(axis=1)
    place = min(len(sets), math.ceil((len(sets) + 1) * level - 1e-9))
    low, high = betabinom.ppf((0.025, 0.975), n, place, len(sets) + 1 - place)
    half = 1.96 * float(sizes.std()) / math.sqrt(n)
    mean = float(sizes.mean())
    return {
        "level": level,
        "coverage": float(held.mean()),
        "expected": [float(low) / n, float(high) / n],
        "size": mean,
        "size_interval": [mean - half, mean + half],
        "n": n,
    }
