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
SPENT = 0.9  # of a budget that was used up; a step that would end late is not begun
STANDSTILL = 0.02  # relative fall of the loss over the last third


def not_finite(patient: Patient) -> Finding | None:
    """The loss overflowed or became not-a-number."""
    lost = [name for name in patient.lost if "loss" in name or "gradient" in name]
    if not re.search(r"no longer a number|\bnan\b", patient.failure, re.IGNORECASE) and not lost:
        return None
    before = [f"{value:.3g}" for value in patient.curve("train_loss") if math.isfinite(value)][-3:]
    evidence = (
        patient.failure or f"the log lost {', '.join(lost)}, which were infinite or no numbers"
    )
    if before:
        evidence += f"; the training losses before were {', '.join(before)}"
    else:
        evidence += "; it did not survive its first epoch"
    gradient = _last(patient, "gradient")
    if gradient is not None:
        evidence += f"; the last gradient had norm {gradient:.3g}"
    return Finding(
        "not_finite",
        "The numbers overflowed",
        "fatal",
        evidence,
        f"{lower(patient)}; or --set optim.clip=1",
        "One step that is too large makes the next gradient larger still, until the numbers no "
        "longer fit.",
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
        f"{patient.failure}; by then it had finished {epochs}",
        patient.hint or "repeat it: `eyesight train RUN`",
        "What the network had learnt by then, if anything, did not cause this and cannot mend it.",
    )


def too_short(patient: Patient) -> Finding | None:
    """The budget was spent before training had well begun."""
    budget = patient.recipe.training.budget
    top1 = patient.measured("train_top1")
    progress = patient.curve("progress")
    stopped = (
        len(progress) > 0 and progress[-1] < SPENT
    )  # by training.patience, which is not the budget's fault
    if (
        budget is None
        or not len(top1)
        or patient.steps >= ENOUGH_STEPS
        or top1[-1] >= FIT
        or stopped
    ):
        return None
    return Finding(
        "too_short",
        "The budget ended before the training had well begun",
        "warning",
        f"{budget:g} s had time for {plural(patient.steps, 'step')} of "
        f"{patient.recipe.training.batch} pictures; "
        f"accuracy on training pictures was {top1[-1]:.1%}",
        "a longer --budget; with the recipe's own length, --set training.budget=none; or a "
        "smaller network or smaller pictures "
        "(--set data.size=N)",
        f"Hardly any network shows what it can do within its first {ENOUGH_STEPS} steps, "
        "whatever their size.",
    )


def plural(count: int, noun: str) -> str:
    """A number with its noun: `no epochs`, `1 epoch`, `2 epochs`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count or 'no'} {noun}s"


def diverged(patient: Patient) -> Finding | None:
    """The loss ended far above where it had been, and above that of a blind guess."""
    loss = patient.measured("train_loss")
    if len(loss) < 2 or len(patient.classes) < 2:
        return None
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    lowest = int(loss.argmin())
    if not (loss[-1] > WORSE_THAN_CHANCE * loss[lowest] and loss[-1] > 1.2 * guess):
        return None
    return Finding(
        "diverged",
        "The loss grew instead of falling",
        "fatal",
        f"the training loss was {loss[lowest]:.3g} in epoch {lowest + 1} and {loss[-1]:.3g} in "
        f"epoch {len(loss)}; "
        f"a blind guess has {guess:.3g}",
        remedy(patient),
        "Steps longer than the valley is wide land higher on the other side each time.",
    )


def collapse(patient: Patient) -> Finding | None:
    """Nearly every image gets the same answer, or the accuracy fell to chance for good."""
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
            f"training accuracy was {top1[: fell - 1].max():.1%}, fell to {top1[fell - 1]:.1%} "
            f"in epoch {fell} and stayed"
        )
        parts.append(f"the loss went from {loss[fell - 2]:.3g} to {loss[fell - 1]:.3g}")
        parts.append(_gradients(patient, fell))
    if share is not None:
        parts.append(f"{share[1]:.1%} of the held-out pictures are called {share[0]!r}")
    if len(loss) and abs(loss[-1] / guess - 1) < 0.05:
        parts.append(
            f"the last loss, {loss[-1]:.3f}, is that of a blind guess, ln "
            f"{len(patient.classes)} = {guess:.3f}"
        )
    if patient.trained:
        for name, amount in dead_layers(patient):
            parts.append(f"{amount:.0%} of the units of {name} are 0 for every picture")
    return Finding(
        "collapse",
        "The network gives one answer to everything",
        "fatal",
        "; ".join(part for part in parts if part),
        remedy(patient),
        "Once steps that are too large have pushed a whole layer of units below 0 for every "
        "picture, no gradient passes it; only the "
        "last bias still learns, and the best it can say is how frequent each class is.",
    )


def collapse_epoch(patient: Patient) -> int | None:
    """The epoch in which an accuracy well above chance fell to chance for good.

    None when it did not.
    """
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
    """The class that nearly all held-out pictures are said to be, with its share.

    None when there is no such class.
    """
    held = patient.held_out
    if held is None or len(held) < 20 or len(held.classes) < 2 or patient.steps < ENOUGH_STEPS:
        return None
    predicted = np.bincount(held.predicted, minlength=len(held.classes)) / len(held)
    true = np.bincount(held.labels, minlength=len(held.classes)) / len(held)
    if predicted.max() < ONE_CLASS or true.max() > ONE_CLASS_TRUE:
        return None
    return held.classes[int(predicted.argmax())], float(predicted.max())


def dead_layers(patient: Patient) -> list[tuple[str, float]]:
    """Layers most of whose rectified units are 0 for every probe picture, with the share."""
    if patient.probe is None:
        return []
    layers = []
    for row in patient.probe.layers:
        if row.dead is not None and row.dead > 0.5:
            layers.append((row.name, row.dead))
    return layers


def learning_rate_high(patient: Patient) -> Finding | None:
    """The first epoch ended worse than a blind guess, or the loss swings up and down."""
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
            f"the first epoch's mean loss was {loss[0]:.3g}, worse than a blind guess, "
            f"which has {guess:.3g}"
        )
    elif len(rises) >= 4 and rises.mean() >= SWINGS:
        evidence = (
            f"in {rises.sum()} of {len(rises)} epochs the training loss grew by more "
            f"than {SWING:.0%}"
        )
    else:
        return None
    gradient = _peak(patient, "gradient")
    if gradient is not None:
        evidence += f"; the gradient's norm was up to {gradient:.3g}"
    return Finding(
        "learning_rate_high",
        "The learning rate looks far too high",
        "warning",
        f"{evidence}; {patient.recipe.optim.name} ran at "
        f"{patient.recipe.optim.lr:g}{suggestion(patient)}",
        remedy(patient),
        "Steps that are too long jump over every valley they are meant to go down into.",
    )


def learning_rate_low(patient: Patient) -> Finding | None:
    """The loss falls, but so slowly and evenly that training has hardly begun."""
    loss = patient.measured("train_loss")
    if (
        len(loss) < 4
        or len(patient.classes) < 2
        or patient.softmax
        or floor_fits(patient)
        or too_short(patient)
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
    evidence += f", evenly by {falls.mean() / loss[0]:.1%} an epoch"
    if np.isfinite(top1).all():
        evidence += f"; accuracy is {top1[-1]:.1%} and was {top1[0]:.1%}"
    better = patient.recipe.optim.lr * 10
    if patient.trial:
        better = patient.trial.best
    return Finding(
        "learning_rate_low",
        "The learning rate looks far too low",
        "warning",
        f"{evidence}; a blind guess has {guess:.4g}; {patient.recipe.optim.name} ran at "
        f"{patient.recipe.optim.lr:g}{suggestion(patient)}",
        f"--set optim.lr={better:.1g}",
        "Each step is a small part of the way that its gradient allows, so the epochs are over "
        "before the descent begins.",
    )


def overfitting(patient: Patient) -> Finding | None:
    """Validation got worse for a long while, while training got better."""
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
        "It learns the training pictures by heart",
        "warning",
        f"validation loss was lowest, {held.min():.3g}, in epoch {best} of {len(held)} and "
        f"ended at {held[-1]:.3g}, while training loss "
        f"fell to {train[-1]:.3g}; accuracy is {gap[0]:.1%} on training and {gap[1]:.1%} on "
        "validation pictures",
        "more pictures, or augmentation (--set augment.shift=0.1 --set augment.rotate=10), "
        "more dropout, "
        "--set optim.weight_decay=5e-4 with adamw, or stop in time with --set "
        f"training.patience={max(3, len(held) // 10)}{keep}",
        "A network with room to spare stores its training pictures one by one instead of what "
        "they have in common.",
    )


def underfitting(patient: Patient) -> Finding | None:
    """Training and validation stand still together at a low accuracy, well above chance."""
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
        "It cannot fit even its training pictures",
        "warning",
        f"accuracy is {top1[-1]:.1%} on training and {held[-1]:.1%} on validation pictures, and "
        f"over the last {third} epochs "
        f"the training loss changed by {still:.1%} only",
        "a larger network (--set model.width=2 where it has one), less dropout (--set "
        "model.dropout=0.5), less augmentation, "
        f"or a higher rate at first: --set optim.lr={patient.recipe.optim.lr * 3:g} --set "
        "optim.schedule=cosine",
        "Where more training does not help and new pictures are no harder than old ones, the "
        "network or its freedom is too small.",
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
    most = f"e / (e + {classes - 1}) = {bound:.2%} at most"
    return (
        f"{right:.1%} of {len(held):,} answers are right, and none is given more than "
        f"{surest:.2%}: {most}"
    )


def _formula(
    part: str, epoch: int, top1: float, loss: float, classes: int, smoothing: float
) -> str:
    right, wrong = (double_softmax_loss(value, classes, smoothing) for value in (1.0, 0.0))
    return (
        f"with {top1:.1%} right the loss would be {top1:.3f}·{right:.3f} + "
        f"{1 - top1:.3f}·{wrong:.3f} = "
        f"{top1 * right + (1 - top1) * wrong:.3f}, and the log has {loss:.3f} ({part}, epoch "
        f"{epoch})"
    )


def double_softmax_loss(top1: float, classes: int, smoothing: float = 0.0) -> float:
    """The cross-entropy of certain answers after two softmaxes: ln(e + K − 1) − target."""
    at_right = 1 - smoothing + smoothing / classes
    at_wrong = smoothing / classes
    return math.log(math.e + classes - 1) - top1 * at_right - (1 - top1) * at_wrong


def lower(patient: Patient) -> str:
    """The setting for a tenth of the learning rate, or for what a trial found."""
    rate = patient.recipe.optim.lr / 10
    if patient.trial:
        rate = min(rate, patient.trial.best)
    return f"--set optim.lr={rate:.2g}"


def suggestion(patient: Patient) -> str:
    """What the trial says of the rate, as the end of a sentence."""
    if patient.trial is None:
        return ""
    return f"; in a trial the loss fell fastest at {patient.trial.best:.1g}"


def remedy(patient: Patient) -> str:
    """For a collapse: activations and normalisation where they lack, or smaller steps."""
    if not patient.runs:
        return f"{lower(patient)} with --set optim.warmup=0.1, and --set optim.clip=1"
    return (
        f"put activations between the layers, and normalise: {settings(patient)}; a smaller "
        "rate only delays it"
    )


def settings(patient: Patient) -> str:
    """The settings this model has against a stack of linear layers."""
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
    return f"the gradient's norm went from {norms[fell - 2]:.3g} to {norms[fell - 1]:.3g}"


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
