"""Decide which labels are wrong, and estimate the share of wrong labels with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eyesight.auditing.labels import Suspicion
from eyesight.auditing.record import ShareValues

RESAMPLES = 200
# Above which a label may be called wrong: surely, and where it was learnt against the given class
SURELY_WRONG = 0.95
WRONG_SCORE = 0.9
HIGH_SCORE = 0.9
AMBIGUOUS = 0.3  # the probability of the given class and of another one, at least
# Of planted errors that are confidently other: .71 to .81 on CIFAR-10, dogs and MNIST at 3 to 20 %
RECALL = 0.75
# and of labels that people got wrong, on CIFAR-10N: they confuse what looks alike
LOWEST_RECALL = 0.5
# Of `skill`. Below the first, confidently other labels are mostly hard images: of 200 correctly
# labelled dogs, patch features find .58 of the labels confidently other, with a skill of .72. Above
# the second, they are mostly wrong labels: drawn classes far apart have .86 or more, with 0 to 25 %
# of wrong labels.
LITTLE_SKILL = 0.7
ENOUGH_SKILL = 0.85
SUREST = 0.25  # of the images, by the probability of the predicted class
LEAST_ABOVE_GUESSING = 0.25  # of the way to perfection: below it, skill is mostly chance


@dataclass(frozen=True)
class Share:
    """An estimated share in [0, 1] with a 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> ShareValues:
        """Plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def confidently_other(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether each image confidently belongs to another class than the given one, n.

    It is when some class is as probable as it is on average among the images that carry it, and the
    most probable such class is not the given one. The only image of a class is never judged: it was
    predicted by a classifier that had none of that class.
    """
    classes = probabilities.shape[1]
    given = probabilities.gather(1, labels[:, None])[:, 0]
    total = torch.zeros(classes).index_add_(0, labels, given)
    counts = torch.bincount(labels, minlength=classes)
    confident = probabilities >= total / counts.clamp_min(1)
    best = probabilities.masked_fill(~confident, -1.0).argmax(1)
    return confident.any(1) & (best != labels) & (counts[labels] > 1)


def wrong_labels(suspicion: Suspicion, labels: Tensor) -> Tensor:
    """Which labels are probably wrong, bool n.

    Another class must be as probable as usual, and the score above a limit, which is lower if the
    margin is negative. If classes are few, wrong labels make every probability more moderate: half
    the probability of a guess is enough.
    """
    confident = confidently_other(suspicion.probabilities, labels)
    classes = suspicion.probabilities.shape[1]
    surely = suspicion.score > min(SURELY_WRONG, 1 - 1 / (2 * classes))
    against = (suspicion.margin < 0) & (suspicion.score > WRONG_SCORE)
    return confident & (surely | against)


def ambiguous_labels(suspicion: Suspicion, labels: Tensor) -> Tensor:
    """Which images are as probable in another class as in the given one, bool n."""
    given = suspicion.probabilities.gather(1, labels[:, None])[:, 0]
    others = suspicion.probabilities.scatter(1, labels[:, None], 0.0).amax(1)
    return (given >= AMBIGUOUS) & (others >= AMBIGUOUS)


def share_wrong(suspicion: Suspicion, labels: Tensor, seed: int = 0) -> Share:
    """Estimate the share of wrong labels from three counts with different biases.

    Confidently other labels find about RECALL of planted errors and some hard images besides; a
    score above HIGH_SCORE finds more of both. The lower end is that of the bootstrap interval of
    the labels that are called wrong. The upper end is the highest of the bootstrap intervals of all
    counts. It is at least `highest_share`: a bootstrap interval of few findings is too narrow.
    If the predictions have little skill, confidently other labels are mostly hard images: the
    estimate then approaches the share of labels that are called wrong.
    """
    confident = confidently_other(suspicion.probabilities, labels).double()
    called = wrong_labels(suspicion, labels).double()
    high = (suspicion.score > HIGH_SCORE).double()
    most = confident / LOWEST_RECALL
    counts = torch.stack([called, confident, confident / RECALL, high, most], 1)
    weight = (skill(suspicion.probabilities, labels) - LITTLE_SKILL) / (ENOUGH_SKILL - LITTLE_SKILL)
    weight = min(1.0, max(0.0, weight))
    certain = float(called.mean())
    value = certain + weight * (float(counts[:, 1:4].mean(0).median()) - certain)
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([resampled_mean(counts, generator) for _ in range(RESAMPLES)])
    low = float(means[:, 0].quantile(0.025))
    exact = highest_share(int(confident.sum()), len(confident))
    top = max(exact, float(means.amax(1).quantile(0.975)))
    return Share(value, min(low, value), max(value, min(1.0, top)))


def skill(probabilities: Tensor, labels: Tensor) -> float:
    """How well predictions n,K tell the classes apart: 0 is guessing, 1 as well as labels allow.

    Wrong labels lower the accuracy of all predictions, also of the surest. Images that are hard
    leave the surest ones correct. So accuracy is measured against that of the surest.
    """
    highest, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    count = max(1, round(SUREST * len(labels)))
    best = float(right[highest.argsort(descending=True)[:count]].mean())
    best -= math.sqrt(best * (1 - best) / count)  # the standard error: by chance, it is too high
    guessing = int(torch.bincount(labels).max()) / len(labels)
    least = max(LEAST_ABOVE_GUESSING * (1 - guessing), 1 / len(labels))
    return (float(right.mean()) - guessing) / max(best - guessing, least)


def highest_share(found: int, images: int) -> float:
    """The upper end of the exact binomial interval of what was found, for LOWEST_RECALL."""
    from scipy.special import betaincinv  # slow to import

    if found == images:
        return 1.0
    return min(1.0, float(betaincinv(found + 1, images - found, 0.975)) / LOWEST_RECALL)


def resampled_mean(counts: Tensor, generator: torch.Generator) -> Tensor:
    """The column means of as many rows drawn with replacement."""
    rows = torch.randint(len(counts), (len(counts),), generator=generator)
    return counts[rows].mean(0)
