"""Checks of the network: how its layers are joined, and what they make of images and steps."""

from __future__ import annotations

import math

from eyesight.diagnosis import check_curves
from eyesight.diagnosis.evidence import ENOUGH_STEPS, Finding, Patient, chance_loss

DEAD = 0.95  # share of a layer's rectified units that are always 0; healthy wide layers have half
FAR = 3.0  # mean of a network's input that no initialisation is made for
FLAT = 0.05  # and deviations
WILD = 20.0
DRIFT_MEAN = 2.0  # deviations from a batch norm's mean that images of the same kind hardly reach
DRIFT_RATIO = 6.0  # and times its variance
# Relative spread of the answers over different pictures: below, the pictures make no difference
STEADY = 0.02
EXPLODES = 2.0  # times the loss of a blind guess, after a dozen steps
PEAKS = 5.0  # at the worst of them
# Times below the rate at which a trial's loss fell fastest; Adam at 1e-4 may be 400 times below and
# train well
CREEPS = 1000.0
# Learning rates that somebody has used with success.
PLAUSIBLE = {"sgd": (1e-5, 20.0), "muon": (1e-5, 2.0), "adagrad": (1e-5, 0.5)}
PLAUSIBLE_ELSE = (1e-6, 0.03)


def double_softmax(patient: Patient) -> Finding | None:
    """The answers are probabilities already, and the loss makes them so again.

    Told by the network, or by the log alone.
    """
    fits = check_curves.floor_fits(patient)
    if not (patient.softmax or (patient.softmax is None and fits)):
        return None
    classes = len(patient.classes)
    parts = ["the losses or probabilities follow the formula of two softmaxes"]
    if patient.softmax:
        parts = ["the network's outputs are already probabilities"]
    if patient.recipe.loss.name == "cross_entropy" and classes > 1:
        floor = check_curves.double_softmax_loss(1.0, classes, patient.recipe.loss.smoothing)
        formula = f"ln(e + {classes - 1}) − 1"
        if patient.recipe.loss.smoothing:
            formula = "its formula"
        parts.append(
            f"with {classes} classes the loss then cannot fall below {formula} = "
            f"{floor:.3f}, even for perfect predictions"
        )
        losses = patient.measured("train_loss")
        if losses.size:
            parts.append(f"the lowest training loss was {losses.min():.3f}")
    if fits:
        parts.append(fits)
    if patient.held_out is not None:
        surest = float(patient.held_out.confidence.max())
        parts.append(f"the highest confidence is {surest:.1%}")
    return Finding(
        "double_softmax",
        "Softmax is applied twice",
        "warning",
        "; ".join(parts),
        "--set model.softmax=false (the network must output logits, because the loss applies "
        "softmax itself)",
        "The inputs of the second softmax lie between 0 and 1, so its confidence stays low and "
        "gradients are small.",
    )


def linear_stack(patient: Patient) -> Finding | None:
    """Consecutive linear layers: equivalent to a single layer, but their scales multiply."""
    runs = patient.runs
    if not runs or not check_curves.settings(patient):
        return None
    layers = sum(map(len, runs))
    optim = patient.recipe.optim
    deep = layers - len(runs) >= 4
    rows = ", ".join(str(len(run)) for run in runs)
    evidence = (
        f"{layers} layers form {len(runs)} groups of {rows} without activations in between: each "
        "group is equivalent to a single layer"
    )
    grown = _grown(patient)
    if grown:
        evidence += f"; {grown}"
    trial = patient.trial
    if trial:
        growth = 1 + trial.step
        evidence += (
            f"; the first step of {optim.name} at {optim.lr:g} is {trial.step:.2g} times as "
            "large as the weights "
            f"(spectral norm, median over convolutions), so the product of {layers} layers may "
            f"grow by a factor of {_power(growth, layers)} "
            f"({growth:.2f}^{layers}); in {len(trial.own)} trial steps the largest logit "
            f"grew by a factor of {trial.growth:,.3g} "
            f"to {trial.largest:,.3g}, and the loss went from {trial.own[0]:.3g} to at most "
            f"{max(trial.own):.3g}"
        )
    return Finding(
        "linear_stack",
        "Consecutive layers without activations act as one layer",
        "warning" if deep else "note",
        evidence,
        f"{check_curves.settings(patient)}",
        "A composition of linear layers is linear, so the depth adds no capacity. But the output "
        "scales with the product of all weights, "
        "so steps that suit one layer are far too large for the product.",
    )


def _grown(patient: Patient) -> str:
    """The growth of activations from the first to the last linear layer, as text.

    Empty below a factor of 100.
    """
    stacked = [name for run in patient.runs for name in run]
    scales = {}
    if patient.probe is not None:
        scales = {row.name: row.deviation for row in patient.probe.layers}
    if stacked[0] not in scales or stacked[-1] not in scales:
        return ""
    first = scales[stacked[0]]
    last = scales[stacked[-1]]
    if not patient.trained or last < 100 * first:
        return ""
    return (
        f"in the trained network activations have a standard deviation of {first:.2g} after "
        f"{stacked[0]} and of {last:.2g} after {stacked[-1]}"
    )


def _power(base: float, exponent: int) -> str:
    if exponent * math.log(max(base, 1e-9)) < 20:
        return f"{base**exponent:,.0f}"
    return f"{base**exponent:.0e}"


def dead_units(patient: Patient) -> Finding | None:
    """A ReLU layer in which nearly all units are 0 for every image."""
    if not patient.trained or patient.probe is None or len(patient.probe.answers) < 20:
        return None
    dead = [row for row in patient.probe.layers if row.dead is not None and row.dead >= DEAD]
    if not dead:
        return None
    return Finding(
        "dead_units",
        "Dead units",
        "fatal" if any(row.dead == 1.0 for row in dead) else "warning",
        "; ".join(
            f"{row.dead:.1%} of the units of {row.name} are 0 for all of "
            f"{len(patient.probe.answers)} images"
            for row in dead
        ),
        f"{check_curves.lower(patient)}; or --set optim.clip=1",
        "A ReLU unit that is 0 for every image gets no gradient and does not recover.",
    )


def ignores_input(patient: Patient) -> Finding | None:
    """The probabilities hardly depend on the image."""
    held = patient.held_out
    if held is None or len(held) < 20 or patient.steps < ENOUGH_STEPS or len(held.classes) < 2:
        return None
    values = held.probabilities.astype("float64")
    spread = float((values.std(0) / values.mean(0).clip(1e-6)).max())
    if spread > STEADY:
        return None
    usual = values.mean(0).argmax()
    return Finding(
        "ignores_input",
        "Predictions do not depend on the image",
        "fatal",
        f"over {len(held)} held-out images no class probability varies by more than "
        f"{spread:.2%} of its mean: every image is predicted as "
        f"{held.classes[usual]!r} with probability {values.mean(0)[usual]:.1%} (the most frequent "
        f"class has {patient.chance:.1%} of the images)",
        check_curves.remedy(patient),
        "Only the bias of the last layer affects the output; the layers before it no longer pass "
        "on a signal.",
    )


def input_scaling(patient: Patient) -> Finding | None:
    """The input of the first layer or batch normalisation has an unexpected scale."""
    probe = patient.probe
    if probe is None:
        return None
    mean, deviation = probe.normalised
    parts = []
    if abs(mean) > FAR or not FLAT <= deviation <= WILD:
        parts.append(
            f"the input of the first layer has mean {mean:.3g} and standard deviation "
            f"{deviation:.3g}; expected 0 and 1"
        )
    if probe.drift and (
        probe.drift[1] > DRIFT_MEAN or not 1 / DRIFT_RATIO < probe.drift[2] < DRIFT_RATIO
    ):
        name, distance, ratio = probe.drift
        parts.append(
            f"the running statistics of {name} do not match these inputs, whose mean is "
            f"{distance:.2g} standard deviations away with {ratio:.2g} times the variance"
        )
    if not parts:
        return None
    remedy = "use the preprocessing that the pretrained network was trained with"
    if patient.recipe.data.scaling == "unit":
        remedy = "--set data.scaling=standard"
    return Finding(
        "input_scaling",
        "The pixel scaling does not suit the network",
        "warning",
        "; ".join(parts),
        remedy,
        "Weights are initialised, or were trained, for inputs of a certain scale. On another scale "
        "activations and gradients have the wrong size.",
    )


def frozen_moved(patient: Patient) -> Finding | None:
    """Frozen parameters or running statistics have changed."""
    if (
        not patient.frozen
        or patient.before is None
        or patient.network is None
        or not patient.trained
    ):
        return None
    from eyesight.diagnosis import probes

    changes = probes.moved(patient.before(), patient.network.state_dict(), patient.frozen)
    if not changes:
        return None
    worst = sorted(changes.items(), key=lambda change: -change[1])[:3]
    statistics = sum("running_" in name or "num_batches" in name for name in changes)
    evidence = f"{len(changes)} frozen tensors changed"
    if statistics:
        evidence += f", {statistics} of them running statistics of batch normalisation"
    moves = ", ".join(f"{name} {change:.2g}" for name, change in worst)
    return Finding(
        "frozen_moved",
        "Frozen layers changed",
        "warning",
        f"{evidence}; the largest changes, relative to the largest value: {moves}",
        "put frozen batch normalisation in evaluation mode, and exclude frozen parameters from the "
        "optimiser",
        "In training mode batch normalisation updates its running statistics even if no gradient "
        "flows.",
    )


def learning_rate_trial(patient: Patient) -> Finding | None:
    """Before any run: the learning rate is implausible, or a trial of some steps failed."""
    if patient.epochs or check_curves.failed(patient):
        return None
    optim = patient.recipe.optim
    trial = patient.trial
    low, high = PLAUSIBLE.get(optim.name, PLAUSIBLE_ELSE)
    if not low <= optim.lr <= high:
        size = "low"
        if optim.lr > high:
            size = "high"
        evidence = (
            f"{optim.name} is normally used with learning rates from {low:g} to {high:g}; this "
            f"recipe uses {optim.lr:g}{check_curves.suggestion(patient)}"
        )
    elif trial and _verdict(patient):
        size = _verdict(patient)
        guess = chance_loss(patient.recipe.loss, len(patient.classes))
        evidence = (
            f"in {len(trial.own)} steps of {optim.name} at {optim.lr:g} the loss went from "
            f"{trial.own[0]:.3g} to {trial.own[-1]:.3g} "
            f"(at most {max(trial.own):.3g}, with uniform guessing at {guess:.3g}); as the rate "
            f"increased, it fell fastest at {trial.best:.1g}"
        )
        if trial.breaks:
            evidence += f" and diverged at {trial.breaks:.1g}"
    else:
        return None
    best = math.sqrt(low * high)
    if trial:
        best = trial.best
    rate = best / 3
    if size == "high":
        rate = min(best, optim.lr) / 3
    return Finding(
        f"learning_rate_{size}",
        f"The learning rate is probably far too {size}",
        "warning",
        evidence,
        f"--set optim.lr={rate:.1g}",
        "Steps that are too large overshoot the minimum; steps that are too small do not reach it "
        "in time.",
    )


def _verdict(patient: Patient) -> str:
    """Either "high", "low" or nothing, for how the trial went at the recipe's own rate."""
    trial = patient.trial
    optim = patient.recipe.optim
    assert trial
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    own = trial.own
    late = sum(own[-4:]) / len(own[-4:])
    # Such recipes never begin at their full rate.
    softly = bool(optim.warmup) or optim.schedule == "one_cycle"
    start = max(guess, own[0])
    exploded = (late > EXPLODES * start or max(own) > PEAKS * start) and not softly
    if not math.isfinite(late) or exploded or (trial.breaks and optim.lr > 3 * trial.breaks):
        return "high"
    if optim.lr < trial.best / CREEPS and late > 0.995 * own[0]:
        return "low"
    return ""
