"""The weights of a blend: greedy selection with replacement on validation answers.

Caruana et al. 2004: beginning with the best, whoever lowers the loss most joins once more. Of all
blends on the way the most accurate is taken, the best member alone among them, so that on the
images that chose no blend is worse than its best member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eyesight.results.calibration import softmax
from eyesight.results.metrics import Floats, Labels, correct, log_loss
from eyesight.system.json_value import JsonObject

ROUNDS = 30  # members that join at most, one and the same several times
TINY = 1e-12
Space = Literal["probability", "log"]


@dataclass(frozen=True)
class Selection:
    """The weights of all members, 0 for those left out, and what was reached on the images."""

    weights: tuple[float, ...]
    accuracy: float
    loss: float
    best: int  # the best member alone
    best_accuracy: float
    images: int


@dataclass(frozen=True)
class MemberRecord:
    """A member as a blend's run keeps it."""

    run: str  # its folder
    name: str
    weight: float
    validation: float | None  # accuracy on the images that chose
    test: float | None


@dataclass(frozen=True)
class Gain:
    """A blend and its best member on the same images, by McNemar's test."""

    images: int
    origin: str  # which images, in words
    accuracy: float
    best: float  # the best member's accuracy
    only_blend: int  # images that only the blend got right
    only_best: int
    p: float

    @property
    def points(self) -> float:
        """The difference in percentage points."""
        return 100 * (self.accuracy - self.best)


@dataclass(frozen=True)
class BlendRecord:
    """What a blend's run keeps of how it was made."""

    members: tuple[MemberRecord, ...]
    best: str  # the member that was best on the images that chose
    space: Space
    images: int  # that chose the weights
    accuracy: float | None  # on them
    gain: Gain | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> JsonObject:
        """As plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> BlendRecord:
        """What `to_dict` gave; raises KeyError or TypeError for anything else."""
        own: dict[str, Any] = dict(values)
        own["members"] = tuple(MemberRecord(**member) for member in own["members"])
        own["notes"] = tuple(own.get("notes", ()))
        if own.get("gain") is not None:
            own["gain"] = Gain(**own["gain"])
        return BlendRecord(**own)


def mixed(
    probabilities: Sequence[Floats], weights: Sequence[float], space: Space
) -> npt.NDArray[np.float32]:
    """What a blend with these weights says, N,K, before it is calibrated."""
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    total = np.zeros(np.shape(probabilities[0]))
    for share, values in zip(shares, probabilities, strict=True):
        if space == "log":
            total += share * np.log(np.maximum(values, TINY))
        else:
            total += share * np.asarray(values, dtype=np.float64)
    if space == "log":
        return softmax(total)
    return np.asarray(total, dtype=np.float32)


def select(
    probabilities: Sequence[Floats],
    labels: Labels,
    space: Space = "probability",
    rounds: int = ROUNDS,
) -> Selection:
    """The weights of members with these answers N,K about the same labelled images."""
    count = len(probabilities)
    alone = [_judge(values, labels) for values in probabilities]
    best = max(range(count), key=lambda place: alone[place])
    votes = [0] * count
    votes[best] = 1
    chosen, reached = tuple(votes), alone[best]
    for _ in range(rounds):
        trials = []
        for place in range(count):
            trial = [*votes]
            trial[place] += 1
            trials.append((_judge(mixed(probabilities, trial, space), labels), trial))
        judged, votes = max(trials, key=lambda trial: trial[0][1])
        if judged > reached:
            chosen, reached = tuple(votes), judged
    total = sum(chosen)
    weights = tuple(vote / total for vote in chosen)
    return Selection(weights, reached[0], -reached[1], best, alone[best][0], len(labels))


def _judge(probabilities: Floats, labels: Labels) -> tuple[float, float]:
    """Accuracy and the negative loss: the better, the larger."""
    return float(correct(probabilities, labels).mean()), -log_loss(probabilities, labels)
