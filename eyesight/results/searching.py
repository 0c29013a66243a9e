"""What a search tried, and how much of its best score may be the luck of choosing.

Whoever is best of many on some images is so partly by chance. The bootstrap of Tsamardinos et al.
2018 measures that without another training: it chooses again on images drawn with replacement, and
scores the choice on those that were not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from eyesight.results.metrics import mc_nemar, wilson
from eyesight.system.json_value import JsonObject

Hits = npt.NDArray[np.bool_]  # whether each image was classified correctly, N
SAMPLES = 1000  # bootstrap samples


@dataclass(frozen=True)
class TrialRecord:
    """One trial as a run keeps it; `score` is the accuracy on the images that choose."""

    name: str
    round: int  # from 1
    budget: float  # seconds that the trial was given
    seconds: float  # that it took
    score: float | None  # None where it failed or was not tried
    forecast: float | None  # of the score after all the time that is left, by two trials
    dropped: str  # why; empty for the winner

    @property
    def kept(self) -> bool:
        """Whether nothing was better."""
        return not self.dropped


@dataclass(frozen=True)
class Luck:
    """The winner's last trial on the images that chose, and on others that chose nothing."""

    images: int
    score: float
    optimism: float  # by which choosing among the last trials raises the best score, by bootstrap
    apart_images: int
    apart: float | None
    interval: tuple[float, float] | None  # of `apart`, 95 %

    @property
    def sentence(self) -> str:
        """For people."""
        text = (
            f"the best trial reached {self.score:.2%} on the {self.images:,} images used to "
            f"choose; about {100 * self.optimism:.1f} points of that are selection bias"
        )
        if self.apart is None or self.interval is None:
            return text
        low, high = self.interval
        return (
            f"{text}. On {self.apart_images:,} other images it reached {self.apart:.2%} "
            f"({low:.2%} to {high:.2%})"
        )


@dataclass(frozen=True)
class SearchRecord:
    """The contents of `search.json`."""

    winner: str
    reason: str
    budget: float
    seconds: float  # of the search, before the winner was trained
    looked_at: tuple[str, ...]  # what was seen of the data, and what followed
    trials: tuple[TrialRecord, ...]
    luck: Luck | None

    def to_dict(self) -> JsonObject:
        """As plain JSON values."""
        return cast(JsonObject, asdict(self))

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> SearchRecord:
        """What `to_dict` gave; raises KeyError or TypeError for anything else."""
        own: Any = dict(values)
        own["trials"] = tuple(TrialRecord(**trial) for trial in own["trials"])
        own["looked_at"] = tuple(own["looked_at"])
        if own["luck"] is not None:
            interval = own["luck"]["interval"]
            own["luck"] = Luck(**{**own["luck"], "interval": tuple(interval) if interval else None})
        return SearchRecord(**own)


def optimism(hits: Sequence[Hits], samples: int = SAMPLES) -> float:
    """By how much choosing the best of some classifiers raises its accuracy on the same images.

    `hits` has an array N for each. The mean over bootstrap samples of the accuracy of the best on
    the images drawn, less that on the images not drawn.
    """
    table = np.stack(hits).astype(np.float64)
    count = table.shape[1]
    if len(table) < 2 or not count:
        return 0.0
    random = np.random.default_rng(0)
    gaps = []
    for _ in range(samples):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        outside = times == 0
        if not outside.any():
            continue
        inside_scores = table @ times / count
        best = int(np.argmax(inside_scores))
        gaps.append(inside_scores[best] - table[best, outside].mean())
    return float(np.mean(gaps)) if gaps else 0.0


def luck(chosen: Hits, others: Sequence[Hits], apart: Hits) -> Luck:
    """How lucky the choice of `chosen` among itself and `others` may have been."""
    interval = None
    score = None
    if len(apart):
        score = float(apart.mean())
        interval = wilson(int(apart.sum()), len(apart))
    gained = optimism([chosen, *others])
    return Luck(len(chosen), float(chosen.mean()), gained, len(apart), score, interval)


def forecast(
    scores: tuple[float, float], times: tuple[float, float], left: float, share: float
) -> float:
    """The score after `left` seconds from the scores of a short and a longer trial.

    The error falls as a power of the time, with a `share` of the measured exponent: learning curves
    flatten, those of pretrained networks early.
    """
    errors = [max(1e-4, 1 - score) for score in scores]
    if not times[0] < times[1] or left <= times[1]:
        return scores[1]
    exponent = np.log(errors[0] / errors[1]) / np.log(times[1] / times[0])
    exponent = share * min(1.0, max(0.0, float(exponent)))
    return float(1 - errors[1] * (times[1] / left) ** exponent)


def clearly_better(first: Hits, second: Hits) -> bool:
    """Whether `first` is ahead of `second` by more than the standard error of their difference."""
    tested = mc_nemar(first, second)
    discordant = tested.only_first + tested.only_second
    return bool(tested.only_first - tested.only_second > discordant**0.5)
