"""What is wrong with this training, and why: gathers everything known of a run or a recipe and asks every check in turn.

A check is a function from `Patient` to `Finding` or None and stands in `symptoms` (curves and answers), `anatomy` (the network) or
`material` (pictures and labels); a new one is a line in `CHECKS`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyesight.data.named import NAMED, given
from eyesight.diagnosis import check_curves, check_data, check_network
from eyesight.diagnosis.evidence import Finding, Patient, Sample
from eyesight.errors import UserError
from eyesight.recipe import Recipe, same_training
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, list_runs
from eyesight.system.cache import cache_dir
from eyesight.system.progress import Talk, silent

if TYPE_CHECKING:
    from torch import Tensor

    from eyesight.data.dataset import Dataset
    from eyesight.data.images import Images
    from eyesight.models.layers import Network

Check = Callable[[Patient], Finding | None]
CHECKS: tuple[Check, ...] = (
    check_curves.not_finite,
    check_curves.failed,
    check_curves.too_short,
    check_curves.diverged,
    check_curves.collapse,
    check_network.double_softmax,
    check_network.linear_stack,
    check_network.dead_units,
    check_network.ignores_input,
    check_data.not_learning,
    check_data.labels_constant,
    check_data.labels_shuffled,
    check_curves.learning_rate_high,
    check_curves.learning_rate_low,
    check_network.learning_rate_trial,
    check_network.input_scaling,
    check_network.frozen_moved,
    check_curves.overfitting,
    check_curves.underfitting,
    check_data.class_imbalance,
    check_data.leak,
)
ANY_TARGET: tuple[Check, ...] = (
    check_curves.not_finite,
    check_curves.failed,
)  # the others know what classes, labels and a blind guess are
ORDER = ("fatal", "warning", "note")
TRAINING_PICTURES, HELD_OUT_PICTURES = 20_000, 2_000  # looked at, at most
PIXEL_BYTES = 256 << 20  # and no more than this of each split


def examine(patient: Patient) -> list[Finding]:
    """What every check found, the worst first; one finding of a kind."""
    found: dict[str, Finding] = {}
    for check in CHECKS if patient.recipe.data.target == "class" else ANY_TARGET:
        if (finding := check(patient)) is not None:
            found.setdefault(finding.id, finding)
    return sorted(found.values(), key=lambda finding: ORDER.index(finding.severity))


def checked() -> list[str]:
    """The names of all checks."""
    return [check.__name__ for check in CHECKS]


def attend(run: Run, talk: Talk) -> list[Finding]:
    """After a training: the checks that cost nothing, and only if one of them finds something also those that ask the network.

    What is found is kept in the run and told; a doctor who fails is passed over, since the run is more than its diagnosis.
    """
    try:
        findings = examine(admit_run(run, None, ask_network=False))
        if findings:
            findings = examine(admit_run(run, None))
            keep(run, findings)
            if new := [
                finding for finding in findings if finding.id != "failed"
            ]:  # the error itself is told by who asked for the run
                talk(listing(new))
                talk(f"more with `eyesight doctor {run.path}`")
    except Exception as problem:  # whatever it is, the run is done and must be reported
        talk(f"the doctor could not look at {run.path}: {problem}")
        return []
    return findings


def attend_failed(recipe: Recipe, out: Path, talk: Talk) -> None:
    """After a training that failed: the same, for the newest run of this recipe in `out` if it says that it failed."""
    with suppress(UserError):  # whatever is wrong with other runs must not hide what went wrong now
        newest = next(reversed(list_runs(out)), None)
        if (
            newest is not None
            and newest.status == "failed"
            and same_training(newest.recipe, recipe)
        ):
            attend(newest, talk)


def keep(run: Run, findings: list[Finding]) -> None:
    """Write the findings into the run, where its report finds them."""
    run.write_json(
        "doctor.json",
        {"findings": [finding.to_dict() for finding in findings], "checked": checked()},
    )


def admit_run(run: Run, data: Dataset | None, *, ask_network: bool = True) -> Patient:
    """Everything a run knows of itself, with the pictures of its data where they are at hand, else with those of its gallery."""
    recipe = run.settled
    known = run.data
    log = run.log
    classes = tuple(known.get("classes", ()))
    samples = samples_of(data) if data else gallery(run)
    fresh = _fresh(recipe, _shape(known), len(classes), samples.get("train"))
    trained, facts = load_trained(run) if ask_network else (None, {})
    network = trained or (_built(fresh) if ask_network else None)
    begun = next(
        (place for place in range(len(log) - 1, -1, -1) if log[place].get("event") == "start"), 0
    )
    failure: Mapping[str, Any] = next(
        (event for event in reversed(log[begun:]) if event.get("event") == "failed"), {}
    )
    return Patient(
        name=str(run.path),
        recipe=recipe,
        classes=classes,
        per_class=tuple(known.get("per_class", {}).get("train", ())),
        epochs=tuple(run.epochs),
        failure=str(failure.get("message", "")),
        hint=str(failure.get("hint", "")),
        lost=tuple(name for event in log[begun:] for name in event.get("not_finite", ())),
        validation=_predictions(run, "validation"),
        test=_predictions(run, "test"),
        network=network,
        trained=trained is not None,
        frozen=_frozen(network, facts) if trained else (),
        before=(lambda: _tensors(fresh)) if fresh else None,
        fresh=fresh,
        samples=samples,
        copies=exact_copies(data) if data else 0.0,
        thorough=data is not None,
    )


def admit_recipe(
    recipe: Recipe, data: Dataset | None, shape: tuple[int, ...] = (), classes: int = 0
) -> Patient:
    """A recipe before its first run: its network with fresh weights, and its pictures where they are at hand."""
    if data:
        shape = data.train.shape
        names = data.store.classes
    else:
        names = tuple(f"class {number + 1}" for number in range(classes))
    samples = samples_of(data) if data else {}
    fresh = _fresh(recipe, shape, len(names), samples.get("train"))
    return Patient(
        name=recipe.name or recipe.model.name,
        recipe=recipe,
        classes=names,
        per_class=tuple(data.train.counts.tolist()) if data else (),
        network=_built(fresh),
        fresh=fresh,
        samples=samples,
        copies=exact_copies(data) if data else 0.0,
        thorough=data is not None,
    )


def at_hand(recipe: Recipe) -> bool:
    """Whether the recipe's pictures can be had without asking the network."""
    source = recipe.data.source
    if source in NAMED:
        places = (
            cache_dir() / "named" / source,
            cache_dir() / source,
        )  # what was fetched, and what was drawn
        return given(source) is not None or any(place.is_dir() for place in places)
    return bool(source) and Path(source).exists()


def open_data(recipe: Recipe, talk: Talk = silent) -> Dataset | None:
    """The recipe's pictures when they are at hand and usable; why not is told."""
    from eyesight.data import dataset

    if not at_hand(recipe):
        talk(
            f"the pictures ({recipe.data.source or 'no source'}) are not at hand, so they are not looked at; name them with --data"
        )
        return None
    try:
        return dataset.load(recipe.data, talk=talk)
    except UserError as problem:
        talk(f"the pictures are not looked at: {problem.message}")
        return None


def samples_of(data: Dataset) -> dict[str, Sample]:
    """Evenly spread pictures of every split."""
    return {
        "train": _take(data.train, TRAINING_PICTURES),
        "validation": _take(data.validation, HELD_OUT_PICTURES),
        "test": _take(data.test, HELD_OUT_PICTURES),
    }


def _take(images: Images, most: int) -> Sample:
    import torch

    most = min(most, len(images), max(1, PIXEL_BYTES // max(1, int(np.prod(images.shape)))))
    chosen = (
        torch.linspace(0, len(images) - 1, most).long()
        if most
        else torch.zeros(0, dtype=torch.long)
    )
    return Sample(images.take(chosen).numpy(), images.labels[chosen].numpy())


def gallery(run: Run) -> dict[str, Sample]:
    """The training pictures that a run keeps for its report, or nothing."""
    with suppress(UserError, KeyError):
        kept = run.gallery()
        if len(kept.get("samples_labels", ())):
            return {
                "train": Sample(kept["samples_pixels"], kept["samples_labels"].astype(np.int64))
            }
    return {}


def exact_copies(data: Dataset) -> float:
    """The share of held-out pictures whose file is, byte by byte, also a training picture."""
    digests = dict(zip(data.store.ids, data.store.digests, strict=True))
    trained = {digests[name] for name in data.train.ids}
    held = [digests[name] for name in (*data.validation.ids, *data.test.ids)]
    return sum(digest in trained for digest in held) / max(1, len(held))


def _predictions(run: Run, split: str) -> Predictions | None:
    with suppress(UserError):
        return run.predictions(split)
    return None


def load_trained(run: Run) -> tuple[Network | None, Mapping[str, Any]]:
    """The run's network and what its classifier says of itself; (None, nothing) when it has none that can be read."""
    if run.classifier_path.is_dir():
        from eyesight import classifier

        with suppress(UserError, RuntimeError, KeyError, TypeError):
            found = classifier.load(run.classifier_path)
            return found.network, found.facts
    return None, {}


def _shape(known: Mapping[str, Any]) -> tuple[int, ...]:
    how = known.get("preparation")
    return (
        (how["channels"], how["height"] + 2 * how["pad"], how["width"] + 2 * how["pad"])
        if how
        else ()
    )


def _fresh(
    recipe: Recipe, shape: tuple[int, ...], classes: int, train: Sample | None
) -> Callable[[], Network] | None:
    """Makes the recipe's network as it was before the first step; None when its input or classes are not known."""
    if not shape or classes < 1:
        return None

    def build() -> Network:
        import torch

        from eyesight.models import registry

        with torch.random.fork_rng():
            torch.manual_seed(recipe.training.seed)
            network = registry.build(
                recipe.model, shape, registry.outputs(recipe.data.target, shape, classes)
            )
        if recipe.data.scaling == "standard" and train is not None and len(train):
            pixels = torch.from_numpy(train.few(1000).pixels).double() / 255
            network.normalise.set(pixels.mean((0, 2, 3)).float(), pixels.std((0, 2, 3)).float())
        return network.to(memory_format=torch.channels_last)

    return build


def _built(fresh: Callable[[], Network] | None) -> Network | None:
    with suppress(UserError):
        return fresh() if fresh else None
    return None


def _tensors(fresh: Callable[[], Network]) -> dict[str, Tensor]:
    network = _built(lambda: fresh())
    return dict(network.state_dict()) if network is not None else {}


def _frozen(network: Network | None, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the classifier names as frozen, or what does not train by the network's own account."""
    from eyesight.diagnosis import probes

    named = facts.get("frozen")
    return (
        tuple(named)
        if isinstance(named, list | tuple)
        else probes.frozen(network)
        if network is not None
        else ()
    )


def listing(findings: list[Finding]) -> str:
    """For people: a title, evidence, remedy and reason for each."""
    blocks = []
    for finding in findings:
        parts = (("evidence", finding.evidence), ("remedy", finding.remedy), ("why", finding.why))
        lines = [f"{finding.severity}: {finding.title}"]
        lines += [
            textwrap.fill(text, 110, initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12)
            for name, text in parts
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def describe(patient: Patient, findings: list[Finding]) -> str:
    """For people: the findings, or that nothing looks wrong; and what was looked at."""
    seen = [f"{len(patient.epochs)} epochs"] if patient.epochs else []
    seen += [f"{len(patient.held_out):,} answers"] if patient.held_out is not None else []
    seen += (
        [f"the {'trained' if patient.trained else 'untrained'} network"]
        if patient.network is not None
        else []
    )
    seen += [f"{sum(map(len, patient.samples.values())):,} pictures"] if patient.samples else []
    looked = textwrap.fill(
        f"looked at {', '.join(seen) or 'the recipe alone'}; checks: {', '.join(checked())}", 110
    )
    return f"{listing(findings) or f'nothing looks wrong with {patient.name}'}\n\n{looked}"
