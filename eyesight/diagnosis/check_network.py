"""What the network itself gives away: how its layers are joined, what they do to pictures, what a few steps do to them."""

from __future__ import annotations

import math

from eyesight.diagnosis import check_curves
from eyesight.diagnosis.evidence import ENOUGH_STEPS, Finding, Patient, chance_loss

DEAD = 0.95  # share of a layer's rectified units that are always 0; wide layers of healthy networks may have half
FAR, FLAT, WILD = (
    3.0,
    0.05,
    20.0,
)  # mean and deviations of a network's input that no initialisation is made for
DRIFT_MEAN, DRIFT_RATIO = (
    2.0,
    6.0,
)  # how far from a batch norm's memory other pictures of the same kind hardly come
STEADY = 0.02  # relative spread of the answers over different pictures: below, the pictures make no difference
EXPLODES, PEAKS = (
    2.0,
    5.0,
)  # times the loss of a blind guess: after a dozen steps, and at the worst of them
CREEPS = 1000.0  # times below the rate at which a trial's loss fell fastest; Adam at 1e-4 may be 400 times below and train well
PLAUSIBLE = {
    "sgd": (1e-5, 20.0),
    "muon": (1e-5, 2.0),
    "adagrad": (1e-5, 0.5),
}  # learning rates somebody has used with success; others:
PLAUSIBLE_ELSE = (1e-6, 0.03)


def double_softmax(patient: Patient) -> Finding | None:
    """The answers are probabilities already, and the loss makes them so again; told by the network, or by the log alone."""
    fits = check_curves.floor_fits(patient)
    if not (patient.softmax or (patient.softmax is None and fits)):
        return None
    classes = len(patient.classes)
    parts = [
        "the network's answers are probabilities already"
        if patient.softmax
        else "losses or answers follow the formula of two"
    ]
    if patient.recipe.loss.name == "cross_entropy" and classes > 1:
        floor = check_curves.double_softmax_loss(1.0, classes, patient.recipe.loss.smoothing)
        formula = (
            f"ln(e + {classes - 1}) − 1" if not patient.recipe.loss.smoothing else "its formula"
        )
        parts.append(
            f"over {classes} classes the loss can then never fall below {formula} = {floor:.3f}, however good the answers are"
        )
        if (lowest := patient.measured("train_loss")).size:
            parts.append(f"the lowest training loss was {lowest.min():.3f}")
    parts += [fits] if fits else []
    parts += [f"the surest answer is given {sure:.1%}" for sure in _surest(patient)]
    return Finding(
        "double_softmax",
        "Softmax is applied twice",
        "warning",
        "; ".join(parts),
        "--set model.softmax=false (end the network in plain logits: the loss applies the softmax itself)",
        "The second softmax sees numbers from 0 to 1 only, so it can never be sure, and the gradient stays weak.",
    )


def _surest(patient: Patient) -> list[float]:
    held = patient.held_out
    return [float(held.confidence.max())] if held is not None else []


def linear_stack(patient: Patient) -> Finding | None:
    """Several linear layers in a row, which are worth one but multiply one another's scale."""
    runs = patient.runs
    if not runs or not check_curves.settings(patient):
        return None
    layers = sum(map(len, runs))
    optim = patient.recipe.optim
    deep = layers - len(runs) >= 4
    rows = ", ".join(str(len(run)) for run in runs)
    evidence = f"{layers} layers stand in {len(runs)} unbroken rows of {rows}: each row could be a single layer"
    evidence += f"; {grown}" if (grown := _grown(patient)) else ""
    if trial := patient.trial:
        growth = 1 + trial.step
        evidence += (
            f"; the first step of {optim.name} at {optim.lr:g} is {trial.step:.2g} times as strong as the weights themselves "
            f"(spectral norm, median over convolutions), so the product of {layers} may grow {_power(growth, layers)} times "
            f"({growth:.2f}^{layers}); in {len(trial.own)} steps of a trial the largest answer grew {trial.growth:,.3g} times "
            f"to {trial.largest:,.3g}, and the loss went from {trial.own[0]:.3g} to at most {max(trial.own):.3g}"
        )
    return Finding(
        "linear_stack",
        "Layers without activation between them are one layer",
        "warning" if deep else "note",
        evidence,
        f"{check_curves.settings(patient)}",
        "Linear after linear is linear: depth adds nothing to what can be learnt, but the output is a product of all the weights, "
        "which nothing bounds, so steps that suit one layer are far too large for the product.",
    )


def _grown(patient: Patient) -> str:
    """How the values grow from the first layer of the rows to the last, where training has made that more than a hundredfold."""
    stacked = [name for run in patient.runs for name in run]
    scales = {row.name: row.deviation for row in (patient.probe.layers if patient.probe else ())}
    if stacked[0] not in scales or stacked[-1] not in scales:
        return ""
    first = scales[stacked[0]]
    last = scales[stacked[-1]]
    if not patient.trained or last < 100 * first:
        return ""
    return f"in the trained network the values have a deviation of {first:.2g} after {stacked[0]} and of {last:.2g} after {stacked[-1]}"


def _power(base: float, exponent: int) -> str:
    return (
        f"{base**exponent:,.0f}"
        if exponent * math.log(max(base, 1e-9)) < 20
        else f"{base**exponent:.0e}"
    )


def dead_units(patient: Patient) -> Finding | None:
    """A rectified layer nearly all of whose units are 0 whatever the picture."""
    if not patient.trained or patient.probe is None or len(patient.probe.answers) < 20:
        return None
    dead = [row for row in patient.probe.layers if row.dead is not None and row.dead >= DEAD]
    if not dead:
        return None
    return Finding(
        "dead_units",
        "Units are dead",
        "fatal" if any(row.dead == 1.0 for row in dead) else "warning",
        "; ".join(
            f"{row.dead:.1%} of the units of {row.name} are 0 for all of {len(patient.probe.answers)} pictures"
            for row in dead
        ),
        f"{check_curves.lower(patient)}; or --set optim.clip=1",
        "A rectified unit that is below 0 for every picture has no gradient and never comes back.",
    )


def ignores_input(patient: Patient) -> Finding | None:
    """The probabilities hardly depend on the picture."""
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
        "The pictures make no difference to the answer",
        "fatal",
        f"over {len(held)} held-out pictures no class's probability varies by more than {spread:.2%} of itself: every picture is "
        f"{held.classes[usual]!r} with {values.mean(0)[usual]:.1%} (the most frequent class has {patient.chance:.1%} of the pictures)",
        check_curves.remedy(patient),
        "What is left is the bias of the last layer; everything before it has stopped passing anything on.",
    )


def input_scaling(patient: Patient) -> Finding | None:
    """The numbers that enter the first layer, or its first batch norm, are not of the size the network was made for."""
    probe = patient.probe
    how = patient.recipe.data.scaling
    if probe is None:
        return None
    mean, deviation = probe.normalised
    parts = []
    if abs(mean) > FAR or not FLAT <= deviation <= WILD:
        parts.append(
            f"what enters the first layer has mean {mean:.3g} and deviation {deviation:.3g}; 0 and 1 would be right"
        )
    if probe.drift and (
        probe.drift[1] > DRIFT_MEAN or not 1 / DRIFT_RATIO < probe.drift[2] < DRIFT_RATIO
    ):
        name, distance, ratio = probe.drift
        parts.append(
            f"{name} remembers other inputs: these lie {distance:.2g} deviations away, with {ratio:.2g} times the variance"
        )
    if not parts:
        return None
    return Finding(
        "input_scaling",
        "The pixels are scaled in a way the network does not expect",
        "warning",
        "; ".join(parts),
        "--set data.scaling=standard"
        if how == "unit"
        else "give the pretrained network the preprocessing it was trained with",
        "Weights are drawn, or were trained, for inputs of one scale; on another, activations and steps are out of proportion.",
    )


def frozen_moved(patient: Patient) -> Finding | None:
    """What was to stay as it was has changed."""
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
    return Finding(
        "frozen_moved",
        "Frozen layers moved",
        "warning",
        f"{len(changes)} tensors that were frozen changed"
        + (f", {statistics} of them the running statistics of batch norms" if statistics else "")
        + "; most: "
        + ", ".join(f"{name} by {change:.2g} of its largest value" for name, change in worst),
        "freeze batch norms too (evaluation mode), and leave frozen parameters out of the optimiser",
        "Batch norm in training mode goes on averaging whatever passes, also where no gradient flows.",
    )


def learning_rate_trial(patient: Patient) -> Finding | None:
    """Before any run: the learning rate is outside what anybody uses, or a trial of some steps went wrong or nowhere."""
    if patient.epochs or check_curves.failed(patient):
        return None
    optim = patient.recipe.optim
    trial = patient.trial
    low, high = PLAUSIBLE.get(optim.name, PLAUSIBLE_ELSE)
    if not low <= optim.lr <= high:
        size = "high" if optim.lr > high else "low"
        evidence = f"{optim.name} is used with rates from {low:g} to {high:g}; this recipe says {optim.lr:g}{check_curves.suggestion(patient)}"
    elif trial and (size := _verdict(patient)):
        guess = chance_loss(patient.recipe.loss, len(patient.classes))
        evidence = (
            f"in {len(trial.own)} steps of {optim.name} at {optim.lr:g} the loss went from {trial.own[0]:.3g} to {trial.own[-1]:.3g} "
            f"(at most {max(trial.own):.3g}; a blind guess has {guess:.3g}); at rising rates it fell fastest at {trial.best:.1g}"
            + (f" and blew up at {trial.breaks:.1g}" if trial.breaks else "")
        )
    else:
        return None
    best = trial.best if trial else math.sqrt(low * high)
    return Finding(
        f"learning_rate_{size}",
        f"The learning rate looks far too {size}",
        "warning",
        evidence,
        f"--set optim.lr={min(best, optim.lr) / 3 if size == 'high' else best / 3:.1g}",
        "Too long a step jumps over the valley it is meant to go down into; too short a one never gets there.",
    )


def _verdict(patient: Patient) -> str:
    """Either "high", "low" or nothing, for how the trial went at the recipe's own rate."""
    trial = patient.trial
    optim = patient.recipe.optim
    assert trial
    guess = chance_loss(patient.recipe.loss, len(patient.classes))
    own = trial.own
    late = sum(own[-4:]) / len(own[-4:])
    softly = (
        optim.warmup or optim.schedule == "one_cycle"
    )  # such recipes never begin at their full rate
    start = max(guess, own[0])
    exploded = (late > EXPLODES * start or max(own) > PEAKS * start) and not softly
    if not math.isfinite(late) or exploded or (trial.breaks and optim.lr > 3 * trial.breaks):
        return "high"
    return "low" if optim.lr < trial.best / CREEPS and late > 0.995 * own[0] else ""
