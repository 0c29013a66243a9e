"""Score labels with three methods.

The first is a ridge classifier with closed-form leave-one-out predictions: each image is predicted
by a classifier trained on all others, at the cost of one training. The second is the mean logit
margin of a small head over its first epochs (after Pleiss et al. 2020, area under the margin):
labels that are learned late are suspicious. The third is five-fold logistic regression, with
sharper probabilities than the ridge classifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyesight.auditing import logistic

PENALTIES = (
    3e-3,
    3e-2,
    3e-1,
)  # of the ridge; the one with the best leave-one-out likelihood is taken
CHUNK = 4096  # images at a time
TINY = 1e-6  # of a probability
# Lower limit of 1 − leverage, by which predictions are divided. With more features than images,
# 1 − leverage is tiny. In float32 the limit must be so high that an image's own label is not fully
# removed.
MINIMUM_REMAINDER = {torch.float32: 1e-4, torch.float64: 1e-10}
HIDDEN = 512
EPOCHS = 6  # over which the margin is averaged; with more, wrong labels are memorised
STEPS = 300  # of the head at least, so that few images get more epochs
MOST_EPOCHS = 20
BATCH = 256
SMOOTHING = 0.1


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Features with mean 0 and deviation 1 in every column."""

    mean: Tensor
    deviation: Tensor

    @staticmethod
    def of(values: Tensor) -> Standardiser:
        """The statistics of float16 features n,D."""
        total = torch.zeros(values.shape[1], dtype=torch.float64)
        squares = torch.zeros(values.shape[1], dtype=torch.float64)
        for part in torch.split(values, CHUNK):
            numbers = part.double()
            total += numbers.sum(0)
            squares += numbers.square().sum(0)
        mean = total / len(values)
        variance = (squares / len(values) - mean.square()).clamp_min(0)
        return Standardiser(mean.float(), variance.sqrt().float() + 1e-3)

    def __call__(self, values: Tensor) -> Tensor:
        """Float16 n,D to float32 n,D."""
        return (values.float() - self.mean) / self.deviation


@dataclass(frozen=True, eq=False)
class Suspicion:
    """The scores of n labels.

    `score` (n) is in [0, 1], higher is more suspicious. `suggested` (n) is the most probable class
    other than the given one. `probabilities` (n,K) are the calibrated leave-one-out ones, or the
    geometric mean of them and of `logistic` (n,K), the out-of-fold probabilities of logistic
    regression, which is None where there was no time for it. `margin` (n) is the mean margin over
    the epochs.
    """

    score: Tensor
    suggested: Tensor
    probabilities: Tensor
    margin: Tensor
    logistic: Tensor | None = None


def judge(
    values: Tensor, labels: Tensor, classes: int, seed: int = 0, deadline: float = math.inf
) -> Suspicion:
    """Score each label from features float16 n,D and labels int64 n.

    Logistic regression is left out where it would not end before `deadline`, which is one of
    time.monotonic().
    """
    standardise = Standardiser.of(values)
    ridge = Ridge.of(values, standardise, labels, classes)
    probabilities = ridge.leave_one_out()
    margins, learnt = learning_margin(values, standardise, labels, classes, seed)
    regression = logistic.out_of_fold(
        lambda rows: standardise(values[rows]), ridge.gram, labels, classes, deadline, seed
    )
    return combined(labels, probabilities, margins, learnt, regression)


def combined(
    labels: Tensor,
    probabilities: Tensor,
    margins: Tensor,
    learnt: Tensor,
    regression: Tensor | None,
) -> Suspicion:
    """Combine the scores of all methods; `learnt` are the mean probabilities of the head.

    The score is that of the mean log odds of the given class. Unlike a mean of
    probabilities, log odds distinguish certainly wrong from probably wrong labels. It is 0.5 for
    the only image of a class: no method had another one to learn the class from.
    """
    odds = [log_odds(probabilities, labels), margins]
    judged = probabilities
    if regression is not None:
        odds.append(log_odds(regression, labels))
        judged = (probabilities.clamp_min(TINY).log() + regression.clamp_min(TINY).log()) / 2
        judged = judged.softmax(1)
    score = torch.sigmoid(-torch.stack(odds).mean(0))
    score[torch.bincount(labels)[labels] == 1] = 0.5
    others = (judged + learnt).scatter(1, labels[:, None], -1.0)
    return Suspicion(score, others.argmax(1), judged, margins, regression)


def log_odds(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The log odds n of the given class."""
    given = probabilities.gather(1, labels[:, None])[:, 0]
    return given.clamp(TINY, 1 - TINY).logit()


@dataclass(frozen=True, eq=False)
class Ridge:
    """A ridge classifier of features float16 n,D, as its normal equations."""

    values: Tensor
    standardise: Standardiser
    labels: Tensor
    targets: Tensor  # n,K, centred
    mean: Tensor  # K, of the targets
    gram: Tensor
    moments: Tensor

    @staticmethod
    def of(values: Tensor, standardise: Standardiser, labels: Tensor, classes: int) -> Ridge:
        """The normal equations of features and labels."""
        targets = functional.one_hot(labels, classes).float()
        mean = targets.mean(0)
        gram, moments = normal_equations(values, standardise, targets - mean)
        return Ridge(values, standardise, labels, targets - mean, mean, gram, moments)

    def leave_one_out(self) -> Tensor:
        """Probabilities n,K of each image by the classifier trained on all the others."""
        best = torch.empty(0)
        best_loss = math.inf
        for penalty in PENALTIES:
            scores = ridge_scores(
                self.values, self.standardise, self.targets, self.gram, self.moments, penalty
            )
            probabilities, loss = calibrated(scores + self.mean, self.labels)
            if loss < best_loss:
                best_loss = loss
                best = probabilities
        return best


def leave_one_out(
    values: Tensor, standardise: Standardiser, labels: Tensor, classes: int
) -> Tensor:
    """Probabilities n,K of each image by a ridge classifier trained on all the others."""
    return Ridge.of(values, standardise, labels, classes).leave_one_out()


def normal_equations(
    values: Tensor, standardise: Standardiser, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """XᵀX and XᵀY of the standardised features."""
    width = values.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64)
    moments = torch.zeros(width, targets.shape[1], dtype=torch.float64)
    for rows in torch.split(torch.arange(len(values)), CHUNK):
        inputs = standardise(values[rows])
        gram += inputs.T @ inputs
        moments += inputs.T @ targets[rows]
    return gram, moments


def ridge_scores(
    values: Tensor,
    standardise: Standardiser,
    targets: Tensor,
    gram: Tensor,
    moments: Tensor,
    penalty: float,
) -> Tensor:
    """Leave-one-out predictions n,K: (f − h·y) / (1 − h) with the leverage h of each image.

    The targets are centred; the mean is learnt, too, and adds 1/n to the leverage. Without that the
    targets of all others, which sum to the negative of an image's own, would give it away.
    """
    precision = torch.float64 if len(values) <= len(gram) else torch.float32
    coefficients, lower = factorised(gram, moments, penalty * len(values), precision)
    scores = torch.empty_like(targets)
    for rows in torch.split(torch.arange(len(values)), CHUNK):
        inputs = standardise(values[rows]).to(precision)
        solved = torch.linalg.solve_triangular(lower, inputs.T, upper=False)
        leverage = solved.square().sum(0) + 1 / len(values)
        leverage = leverage.clamp_max(1 - MINIMUM_REMAINDER[precision])[:, None]
        left_out = (inputs @ coefficients - leverage * targets[rows]) / (1 - leverage)
        scores[rows] = left_out.float()
    return scores


def factorised(
    gram: Tensor, moments: Tensor, penalty: float, precision: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The coefficients D,K of a ridge, and the Cholesky factor of its XᵀX + penalty."""
    penalised = gram.clone()
    penalised.diagonal().add_(penalty)
    factor = torch.linalg.cholesky(penalised)
    return torch.cholesky_solve(moments, factor).to(precision), factor.to(precision)


def calibrated(scores: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Softmax n,K at the temperature with the lowest loss on the labels, and that loss."""
    temperatures = torch.logspace(-2, 0.5, 40)
    losses = torch.stack(
        [functional.cross_entropy(scores / temperature, labels) for temperature in temperatures]
    )
    best = int(losses.argmin())
    return (scores / temperatures[best]).softmax(1), float(losses[best])


def learning_margin(
    values: Tensor, standardise: Standardiser, labels: Tensor, classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The mean margin n over the epochs of a small head, and its mean probabilities n,K."""
    margins = torch.zeros(len(values))
    probabilities = torch.zeros(len(values), classes)
    epochs = 0
    for logits in head_epochs(values, standardise, labels, classes, seed):
        margins += margin(logits, labels)
        probabilities += logits.softmax(1)
        epochs += 1
    return margins / epochs, probabilities / epochs


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the given class minus the largest other one, n."""
    given = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -math.inf)
    return given[:, 0] - others.amax(1)


def head_epochs(
    values: Tensor, standardise: Standardiser, labels: Tensor, classes: int, seed: int
) -> Iterator[Tensor]:
    """Logits n,K of all images after each epoch of a head with one hidden layer."""
    batch = max(8, min(BATCH, len(values) // 8))
    steps = max(1, len(values) // batch)
    epochs = min(MOST_EPOCHS, max(EPOCHS, math.ceil(STEPS / steps)))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(values.shape[1], HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, classes),
        )
        optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, epochs * steps)
        for _ in range(epochs):
            head.train()
            order = torch.randperm(len(values), generator=generator)
            for rows in torch.split(order[: steps * batch], batch):
                logits = head(standardise(values[rows]))
                loss = functional.cross_entropy(logits, labels[rows], label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            yield predict(head.eval(), values, standardise)


@torch.inference_mode()
def predict(head: nn.Module, values: Tensor, standardise: Standardiser) -> Tensor:
    """Logits n,K of all images."""
    return torch.cat([head(standardise(part)) for part in torch.split(values, CHUNK)])
