"""From which probability on an answer may be called sure: chosen on validation pictures, never on the test set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eyesight.metrics import correct
from eyesight.predictions import Predictions

WANTED = 0.99  # accuracy of what is called sure
LEAST = 0.5  # below this the other classes together are as likely as the one named


@dataclass(frozen=True)
class Threshold:
    """Answers of probability `value` or more were right in `accuracy` of the cases, and `share` of `n` pictures got one."""

    value: float
    accuracy: float
    share: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def choose(validation: Predictions, wanted: float = WANTED) -> Threshold | None:
    """The lowest probability above which at least `wanted` of the answers are right; None without labelled pictures.

    A classifier that is better than `wanted` on everything is asked to leave out half of its mistakes instead.
    """
    known = validation.labelled()
    if not len(known):
        return None
    confidence, right = known.confidence.astype(np.float64), correct(known.probabilities, known.labels)
    wanted = max(wanted, (1 + float(right.mean())) / 2)
    order = np.argsort(-confidence, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    whole = np.append(np.diff(confidence[order]) < 0, True)  # equal probabilities are accepted together or not at all
    good = np.flatnonzero((shares >= wanted) & whole)
    value = max(LEAST, float(confidence[order[good[-1]]])) if len(good) else 1.0
    sure = confidence >= value
    return Threshold(value, float(right[sure].mean()) if sure.any() else 0.0, float(sure.mean()), len(known))
