"""From which probability on an answer may be called sure.

Chosen on validation pictures, never on the test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from eyesight.results.metrics import correct
from eyesight.results.predictions import Predictions

WANTED = 0.99  # accuracy of what is called sure
LEAST = 0.5  # below this the other classes together are as likely as the one named
# Share of the pictures that must be above: a threshold that hardly any answer reaches would call
# everything unsure
FEW = 0.1


class ThresholdJson(TypedDict):
    """The fields of `Threshold`."""

    value: float
    accuracy: float
    share: float
    n: int


@dataclass(frozen=True)
class Threshold:
    """Answers of probability `value` or more were right in `accuracy` of the cases.

    And `share` of `n` pictures got one.
    """

    value: float
    accuracy: float
    share: float
    n: int

    def to_dict(self) -> ThresholdJson:
        """Plain JSON values."""
        return ThresholdJson(value=self.value, accuracy=self.accuracy, share=self.share, n=self.n)


def choose(validation: Predictions, accuracy: float = WANTED) -> Threshold | None:
    """The lowest probability above which at least `accuracy` of the answers are right.

    None where it cannot be chosen: without labelled pictures, or where only a few of them would be
    above it. A classifier that is better than `accuracy` on everything is asked to leave out half
    of its mistakes instead.
    """
    labelled = validation.labelled()
    if not len(labelled):
        return None
    confidence = labelled.confidence.astype(np.float64)
    right = correct(labelled.probabilities, labelled.labels)
    accuracy = max(accuracy, (1 + float(right.mean())) / 2)
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    whole = np.append(
        np.diff(confidence[order]) < 0, True
    )  # equal probabilities are accepted together or not at all
    good = np.flatnonzero((shares >= accuracy) & whole)
    if not len(good) or good[-1] + 1 < FEW * len(labelled):
        return None
    value = max(LEAST, float(confidence[order[good[-1]]]))
    sure = confidence >= value
    return Threshold(
        value, float(right[sure].mean()) if sure.any() else 0.0, float(sure.mean()), len(labelled)
    )
