"""Checks of the curves and the predictions of a training: pure functions of numbers.

Every threshold is loose on purpose: a doctor who cries wolf is not asked twice.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from eyesight.diagnosis.evidence import ENOUGH_STEPS, Finding, Patient, chance_loss

ONE_CLASS = 0.95  # share of all answers that makes a collapse …
ONE_CLASS_TRUE = 0.7  # … unless this share of the pictures is of one class anyway
LEARNT = 0.3  # of the way from chance to 100 %: above it, the network had learnt something …
LOST = 0.1  # … below it, it has forgotten
WORSE_THAN_CHANCE = 1.5  # times the loss of a blind guess
SWING = 0.2  # growth of the loss from one epoch to the next that healthy training hardly shows …
SWINGS = 0.4  # … in this share of the epochs
CRAWL = 0.25  # of a blind guess's loss: a training that took off less has hardly begun
GAP = 0.1  # accuracy on training pictures minus validation
FIT = 0.8  # a training accuracy that is nothing to worry about
FEW_STEPS = 20  # say nothing of the learning rate
SPENT = 0.9  # of a budget that was used up; a step that would end late is not begun
STANDSTILL = 0.02  # relative fall of the loss over the last third


def not_finite(patient: Patient) -> Finding | None:
    """The loss overflowed or became not-a-number."""
    lost = [name for name in patient.lost if "loss" in name or "gradient" in name]
    if not re.search(r"no longer a number|\bnan\b", patient.failure, re.IGNORECASE) and not lost:
        return None
    before = [f"{value:.3g}" for value in patient.curve("train_loss") if math.isfinite(value)][-3:]
    evidence = patient.failure or f"{', '.join(lost)} in the log became infinite or NaN"
    if before:
        evidence += f"; the training losses before that were {', '.join(before)}"
    else:
        evidence += "; this happened in the first epoch"
    gradient = _last(patient, "gradient")
    if gradient is not None:
        evidence += f"; the last gradient had norm {gradient:.3g}"
    return Finding(
        "not_finite",
        "The loss or gradient became infinite or NaN",
        "fatal",
        evidence,
        f"{lower(patient)}; or --set optim.clip=1",
        "A step that is too large makes the next gradient even larger, until the numbers overflow.",
    )


def failed(patient: Patient) -> Finding | None:
    """The run ended with an error that has nothing to do with its numbers.

    A budget without time for a step, a full disk.
    """
    if not patient.failure or not_finite(patient):
        return None
    epochs = plural(len(patient.epochs), "epoch")
    return Finding(
        "failed",
        "The run ended with an error",
        "fatal",
        f"{patient.failure}; {epochs} had finished",
        patient.hint or "train again: `eyesight train RUN`",
        "The error is unrelated to what the network learned.",
    )


def too_short(patient: Patient) -> Finding | None:
    """The budget allowed only a few steps."""
    budget = patient.recipe.training.budget
    top1 = patient.measured("train_top1")
    progress = patient.curve("progress")
    # Then training.patience or training.max_epochs ended it, not the budget.
    stopped = len(progress) > 0 and progress[-1] < SPENT
    limit = patient.recipe.training.max_epochs
    seen = patient.curve("pictures")
    reached = bool(limit) and seen.sum() >= limit * sum(patient.per_class)
    if (
        budget is None
        or not len(top1)
        or patient.steps >= ENOUGH_STEPS
        or top1[-1] >= FIT
        or stopped
        or reached
    ):
        return None
    return Finding(
        "too_short",
        "The budget was too short to train",
        "warning",
        f"a budget of {budget:g} s allowed {plural(patient.steps, 'step')}; "
        f"accuracy on training images was {top1[-1]:.1%}",
        "use a longer --budget, the recipe's own length (--set training.budget=none), a "
        "smaller network or smaller images "
        "(--set data.size=N)",
        f"Hardly any network converges within {ENOUGH_STEPS} steps, whatever the batch size.",
    )


def plural(count: int, noun: str) -> str:
    """A number with its noun: `no epochs`, `1 epoch`, `2 epochs`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count or 'no'} {noun}s"


def diverged(patient: Patient) -> Finding | None:
    """The loss ended far above its minimum, and above that of uniform guessing."""
    loss = patient.measured("train_loss")
    if len(loss) < 2 or len(patient.classes) < 2:
        return None
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    lowest = int(loss.argmin())
    if not (loss[-1] > WORSE_THAN_CHANCE * loss[lowest] and loss[-1] > 1.2 * guess):
        return None
    return Finding(
        "diverged",
        "The loss increased instead of decreasing",
        "fatal",
        f"the training loss was {loss[lowest]:.3g} in epoch {lowest + 1} and {loss[-1]:.3g} in "
        f"epoch {len(loss)}; "
        f"uniform guessing has {guess:.3g}",
        remedy(patient),
        "Steps that are too large overshoot the minimum and end at a higher loss each time.",
    )


def collapse(patient: Patient) -> Finding | None:
    """Nearly every image gets the same prediction, or accuracy dropped to chance for good."""
    fell = collapse_epoch(patient)
    share = one_class(patient)
    if fell is None and share is None:
        return None
    parts = []
    loss = patient.curve("train_loss")
    guess = chance_loss(patient.recipe.loss, max(2, len(patient.classes)))
    if fell is not None:
        top1 = patient.curve("train_top1")
        parts.append(
            f"training accuracy was {top1[: fell - 1].max():.1%}, dropped to {top1[fell - 1]:.1%} "
            f"in epoch {fell} and did not recover"
        )
        parts.append(f"the loss went from {loss[fell - 2]:.3g} to {loss[fell - 1]:.3g}")
        parts.append(_gradients(patient, fell))
    if share is not None:
        parts.append(f"{share[1]:.1%} of the held-out images are predicted as {share[0]!r}")
    if len(loss) and abs(loss[-1] / guess - 1) < 0.05:
        parts.append(
            f"the last loss, {loss[-1]:.3f}, is that of uniform guessing, ln "
            f"{len(patient.classes)} = {guess:.3f}"
        )
    if patient.trained:
        for name, amount in dead_layers(patient):
            parts.append(f"{amount:.0%} of the units of {name} are 0 for every image")
    return Finding(
        "collapse",
        "The network predicts the same class for every image",
        "fatal",
        "; ".join(part for part in parts if part),
        remedy(patient),
        "If steps that are too large push all units of a ReLU layer below 0 for every image, no "
        "gradient passes the layer. Only the bias of the last layer still learns, and the best "
        "it can learn are the class frequencies.",
    )


def collapse_epoch(patient: Patient) -> int | None:
    """The epoch in which accuracy dropped from well above chance to chance for good, or None."""
    top1 = patient.measured("train_top1")
    chance = patient.chance
    if len(top1) < 2 or not chance:
        return None
    low = top1 <= chance + LOST * (1 - chance)
    first = 0  # of the last unbroken stretch at chance
    if not low.all():
        first = len(top1) - int(np.argmin(low[::-1]))
    if not 0 < first < len(top1) or top1[:first].max() < chance + LEARNT * (1 - chance):
        return None
    return first + 1


def one_class(patient: Patient) -> tuple[str, float] | None:
    """The class predicted for nearly all held-out images and its share, or None."""
    held = patient.held_out
    if held is None or len(held) < 20 or len(held.classes) < 2 or patient.steps < ENOUGH_STEPS:
        return None
    predicted = np.bincount(held.predicted, minlength=len(held.classes)) / len(held)
    true = np.bincount(held.labels, minlength=len(held.classes)) / len(held)
    if predicted.max() < ONE_CLASS or true.max() > ONE_CLASS_TRUE:
        return None
    return held.classes[int(predicted.argmax())], float(predicted.max())


def dead_layers(patient: Patient) -> list[tuple[str, float]]:
    """Layers in which most ReLU units are 0 for every probe image, with the share."""
    if patient.probe is None:
        return []
    layers = []
    for row in patient.probe.layers:
        if row.dead is not None and row.dead > 0.5:
            layers.append((row.name, row.dead))
    return layers


def learning_rate_high(patient: Patient) -> Finding | None:
    """The first epoch ended worse than uniform guessing, or the loss oscillates."""
    loss = patient.measured("train_loss")
    if not len(loss) or len(patient.classes) < 2 or patient.steps / len(loss) < 10:
        return None
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    rises = (loss[1:] > (1 + SWING) * loss[:-1]) & (loss[1:] > 0.05 * guess)
    held = patient.measured("validation_loss")
    begun = (
        too_short(patient) is None or not len(held) or held[-1] >= guess
    )  # a mean of few steps is that of the first ones
    if loss[0] > WORSE_THAN_CHANCE * guess and begun:
        evidence = (
            f"the first epoch's mean loss was {loss[0]:.3g}, worse than uniform guessing "
            f"({guess:.3g})"
        )
    elif len(rises) >= 4 and rises.mean() >= SWINGS:
        evidence = (
            f"in {rises.sum()} of {len(rises)} epochs the training loss increased by more "
            f"than {SWING:.0%}"
        )
    else:
        return None
    gradient = _peak(patient, "gradient")
    if gradient is not None:
        evidence += f"; the gradient norm was up to {gradient:.3g}"
    return Finding(
        "learning_rate_high",
        "The learning rate is probably far too high",
        "warning",
        f"{evidence}; {patient.recipe.optim.name} used a learning rate of "
        f"{patient.recipe.optim.lr:g}{suggestion(patient)}",
        remedy(patient),
        "Steps that are too large overshoot the minimum.",
    )


def learning_rate_low(patient: Patient) -> Finding | None:
    """The loss decreases so slowly and evenly that training has hardly begun.

    A rate cannot be judged by a few steps.
    """
    loss = patient.measured("train_loss")
    if (
        len(loss) < 4
        or len(patient.classes) < 2
        or patient.softmax
        or floor_fits(patient)
        or too_short(patient)
        or patient.steps < FEW_STEPS
    ):
        return None
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    falls = -np.diff(loss)
    half = len(falls) // 2
    even = (falls > 0).mean() >= 0.8 and falls[half:].mean() > 0.4 * falls[:half].mean()
    if (
        not even
        or (loss[0] - loss[-1]) > CRAWL * guess
        or loss[-1] < 0.6 * guess
        or loss[-1] > 1.2 * guess
    ):
        return None
    top1 = patient.curve("train_top1")
    evidence = f"in {len(loss)} epochs the training loss went from {loss[0]:.4g} to {loss[-1]:.4g}"
    evidence += f", evenly by {falls.mean() / loss[0]:.1%} per epoch"
    if np.isfinite(top1).all():
        evidence += f"; accuracy went from {top1[0]:.1%} to {top1[-1]:.1%}"
    better = patient.recipe.optim.lr * 10
    if patient.trial:
        better = patient.trial.best
    return Finding(
        "learning_rate_low",
        "The learning rate is probably far too low",
        "warning",
        f"{evidence}; uniform guessing has {guess:.4g}; {patient.recipe.optim.name} used a rate of "
        f"{patient.recipe.optim.lr:g}{suggestion(patient)}",
        f"--set optim.lr={better:.1g}",
        "Each step is much smaller than it could be, so training ends before the loss has come "
        "down.",
    )


def overfitting(patient: Patient) -> Finding | None:
    """Validation loss increased for many epochs while training loss decreased."""
    held = patient.measured("validation_loss")
    train = patient.measured("train_loss")
    if len(held) < 6 or len(train) < 6:
        return None
    best = int(held.argmin()) + 1
    gap = _gap(patient)
    if (
        best > 0.6 * len(held)
        or held[-1] < 1.15 * held.min()
        or train[-1] > 0.6 * held[-1]
        or gap is None
    ):
        return None
    keep = ""
    if patient.recipe.training.keep == "last":
        keep = " --set training.keep=best"
    return Finding(
        "overfitting",
        "The network overfits the training images",
        "warning",
        f"validation loss was lowest, {held.min():.3g}, in epoch {best} of {len(held)} and "
        f"ended at {held[-1]:.3g}, while training loss "
        f"fell to {train[-1]:.3g}; accuracy is {gap[0]:.1%} on training and {gap[1]:.1%} on "
        "validation images",
        "use more images, or augmentation (--set augment.shift=0.1 --set augment.rotate=10), "
        "more dropout, "
        "--set optim.weight_decay=5e-4 with adamw, or stop earlier with --set "
        f"training.patience={max(3, len(held) // 10)}{keep}",
        "A network with excess capacity memorises single training images instead of what they have "
        "in common.",
    )


def underfitting(patient: Patient) -> Finding | None:
    """Training and validation accuracy are both flat, low and well above chance."""
    top1 = patient.measured("train_top1")
    held = patient.measured("validation_top1")
    loss = patient.measured("train_loss")
    if len(loss) < 8 or len(top1) != len(loss) or len(held) != len(loss):
        return None
    third = -(-len(loss) // 3)
    still = (loss[-third - 1] - loss[-1]) / loss[-third - 1]
    low = patient.chance + LOST * (1 - patient.chance) < top1[-1] < FIT
    if not low or not -STANDSTILL < still < STANDSTILL or held[-1] < top1[-1] - 0.05:
        return None
    return Finding(
        "underfitting",
        "The network underfits its training images",
        "warning",
        f"accuracy is {top1[-1]:.1%} on training and {held[-1]:.1%} on validation images, and "
        f"over the last {third} epochs "
        f"the training loss changed by only {still:.1%}",
        "use a larger network (--set model.width=2 if it has this option), less dropout (--set "
        "model.dropout=0.5), less augmentation, "
        f"or a higher initial learning rate: --set optim.lr={patient.recipe.optim.lr * 3:g} --set "
        "optim.schedule=cosine",
        "If more training does not help and validation images are no harder than training images, "
        "the network is too small or too strongly regularised.",
    )


def floor_fits(patient: Patient) -> str:
    """The evidence for a second softmax without the network; empty without any.

    Losses that follow its formula, or probabilities that never exceed its bound.
    """
    recipe = patient.recipe.loss
    classes = len(patient.classes)
    if (
        recipe.name != "cross_entropy" or classes < 5
    ):  # with fewer classes the floor lies where healthy losses lie
        return ""
    for part in ("validation", "train"):
        loss = patient.measured(f"{part}_loss")
        top1 = patient.measured(f"{part}_top1")
        if len(loss) and len(loss) == len(top1) and top1[-1] > 0.6:
            expected = np.array(
                [double_softmax_loss(value, classes, recipe.smoothing) for value in top1]
            )
            # Answers that are still soft cost a little more than the formula, never less.
            close = (loss > expected * 0.995) & (loss < expected * 1.05)
            if close[-1] and close[top1 > 0.6].all():
                return _formula(
                    part, len(loss), float(top1[-1]), float(loss[-1]), classes, recipe.smoothing
                )
    return _bounded(patient, classes)


def _bounded(patient: Patient, classes: int) -> str:
    held = patient.held_out
    if held is None or len(held) < 200:
        return ""
    right = float((held.predicted == held.labels).mean())
    surest = float(held.confidence.max())
    bound = math.e / (math.e + classes - 1)
    if right < max(0.3, 3 * patient.chance) or surest > bound * 1.001:
        return ""
    most = f"two softmaxes allow at most e / (e + {classes - 1}) = {bound:.2%}"
    return (
        f"{right:.1%} of {len(held):,} predictions are correct, but no confidence exceeds "
        f"{surest:.2%}: {most}"
    )


def _formula(
    part: str, epoch: int, top1: float, loss: float, classes: int, smoothing: float
) -> str:
    right, wrong = (double_softmax_loss(value, classes, smoothing) for value in (1.0, 0.0))
    return (
        f"with an accuracy of {top1:.1%} the loss would be {top1:.3f}·{right:.3f} + "
        f"{1 - top1:.3f}·{wrong:.3f} = "
        f"{top1 * right + (1 - top1) * wrong:.3f}, and the log shows {loss:.3f} ({part}, epoch "
        f"{epoch})"
    )


def double_softmax_loss(top1: float, classes: int, smoothing: float = 0.0) -> float:
    """Cross-entropy of fully confident predictions after two softmaxes: ln(e + K − 1) − target."""
    at_right = 1 - smoothing + smoothing / classes
    at_wrong = smoothing / classes
    return math.log(math.e + classes - 1) - top1 * at_right - (1 - top1) * at_wrong


def lower(patient: Patient) -> str:
    """The setting for a tenth of the learning rate, or for the best rate of a trial."""
    rate = patient.recipe.optim.lr / 10
    if patient.trial:
        rate = min(rate, patient.trial.best)
    return f"--set optim.lr={rate:.2g}"


def suggestion(patient: Patient) -> str:
    """The trial's best learning rate, as the end of a sentence."""
    if patient.trial is None:
        return ""
    return f"; in trial steps the loss decreased fastest at {patient.trial.best:.1g}"


def remedy(patient: Patient) -> str:
    """The remedy for a collapse: activations and normalisation if missing, else smaller steps."""
    if not patient.runs:
        return f"{lower(patient)} with --set optim.warmup=0.1, and --set optim.clip=1"
    return (
        f"add activations and normalisation between the layers: {settings(patient)}; a smaller "
        "learning rate only delays the collapse"
    )


def settings(patient: Patient) -> str:
    """The settings of this model that break up a stack of linear layers."""
    from eyesight.models.registry import options

    available = options(patient.recipe.model.name)
    changes = []
    for name, value in (("activation", "relu"), ("normalise", "true")):
        if name in available:
            changes.append(f"--set model.{name}={value}")
    return " ".join(changes)


def _gradients(patient: Patient, fell: int) -> str:
    norms: NDArray[np.float64] = patient.curve("gradient")
    if not np.isfinite(norms[fell - 2 : fell]).all():
        return ""
    return f"the gradient norm went from {norms[fell - 2]:.3g} to {norms[fell - 1]:.3g}"


def _gap(patient: Patient) -> tuple[float, float] | None:
    """The last training and validation accuracy, if they differ by more than chance explains."""
    train = patient.measured("train_top1")
    held = patient.measured("validation_top1")
    if not len(train) or not len(held):
        return None
    count = 100
    if patient.validation is not None:
        count = len(patient.validation)
    error = math.sqrt(max(held[-1] * (1 - held[-1]), 1e-4) / max(1, count))
    if train[-1] - held[-1] <= max(GAP, 3 * error):
        return None
    return float(train[-1]), float(held[-1])


def _last(patient: Patient, name: str) -> float | None:
    values = patient.curve(name)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return float(values[-1])


def _peak(patient: Patient, name: str) -> float | None:
    values = patient.curve(name)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return float(values.max())
