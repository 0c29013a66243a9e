"""What a classifier answers about images: probabilities, sets, and whether to rely on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyesight.results.calibration import Calibration, softmax
from eyesight.results.conformal import USUAL
from eyesight.results.metrics import Floats


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers about N images over K classes; None where the classifier was not calibrated."""

    probabilities: npt.NDArray[np.float32]  # N,K, calibrated
    logits: npt.NDArray[np.float32] | None = None  # N,K, as the network gives them
    set: npt.NDArray[np.bool_] | None = None  # N,K at 95 %
    unlike: npt.NDArray[np.float32] | None = None  # N: above 0 is unlike the training images

    def __len__(self) -> int:
        return len(self.probabilities)


def answers(
    calibration: Calibration, logits: Floats, features: Floats, level: float = USUAL
) -> Answers:
    """The answers for images with these logits N,K and features N,D."""
    probabilities = softmax(logits, calibration.temperature)
    sets = None
    unlike = None
    if calibration.sets is not None:
        sets = calibration.sets.sets(probabilities, level)
    if calibration.unlike is not None:
        unlike = calibration.unlike.scores(features, logits) - calibration.unlike.limit
    return Answers(probabilities, np.asarray(logits, dtype=np.float32), sets, unlike)


def words(names: list[str], *, unlike: bool, level: float = USUAL) -> str:
    """One sentence to a person: the set, most probable first, or that it is like nothing learnt."""
    if unlike:
        return "unlike the training images: do not rely on this prediction"
    if len(names) <= 1:
        return ""
    others = " or ".join(names[1:3])
    more = len(names) - 3
    if more > 0:
        others += f" or {more} more"
    return f"or {others}: for {100 * level:g} of 100 images the correct class is among these"
