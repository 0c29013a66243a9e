"""What is wrong with a training, and why: gathers what a run or a recipe shows, and checks it.

A check is a function from `Patient` to `Finding` or None, in `check_curves`, `check_network` or
`check_data`; a new one is a line in `CHECKS`, with what it needs to look at.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from eyesight.data.facts import DataFacts
from eyesight.data.named import NAMED, user_files
from eyesight.data.prepare import Preparation
from eyesight.diagnosis import check_curves, check_data, check_network
from eyesight.diagnosis.evidence import Copied, Finding, Patient, Sample
from eyesight.errors import UserError
from eyesight.recipe import BLEND, Recipe
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, list_runs
from eyesight.system.cache import cache_dir
from eyesight.system.progress import Talk, silent
from eyesight.views import joined

if TYPE_CHECKING:
    from torch import Tensor

    from eyesight.data.dataset import Dataset
    from eyesight.data.images import Images
    from eyesight.models.layers import Network

Facts: TypeAlias = Mapping[str, object]
ORDER = ("fatal", "warning", "note")
TRAINING_IMAGES = 20_000  # looked at, at most
HELD_OUT_IMAGES = 2_000
PIXEL_BYTES = 256 << 20  # and no more than this of each split
WIDTH = 110  # of lines for people


@dataclass(frozen=True)
class Check:
    """A check with the evidence that it needs: names in `EVIDENCE`, of which one is enough."""

    run: Callable[[Patient], Finding | None]
    needs: tuple[str, ...]
    any_target: bool = False  # also for tasks without classes

    @property
    def name(self) -> str:
        """The name of its function, which is that of its finding."""
        return self.run.__name__

    def possible(self, patient: Patient) -> bool:
        """Whether the patient has what the check looks at."""
        if patient.recipe.data.target != "class" and not self.any_target:
            return False
        return any(EVIDENCE[need](patient) for need in self.needs)


EVIDENCE: dict[str, Callable[[Patient], bool]] = {
    "ending": lambda patient: bool(patient.epochs or patient.failure),
    "curves": lambda patient: bool(patient.epochs),
    "validation curves": lambda patient: len(patient.measured("validation_loss")) > 0,
    "predictions": lambda patient: patient.held_out is not None,
    "counts": lambda patient: bool(patient.per_class),
    "network": lambda patient: patient.network is not None,
    "activations": lambda patient: patient.probe is not None,
    "trained activations": lambda patient: patient.trained and patient.probe is not None,
    "frozen layers": lambda patient: bool(patient.trained and patient.frozen and patient.before),
    "recipe alone": lambda patient: not patient.epochs and not patient.failure,
    "all images": lambda patient: patient.thorough and len(patient.samples) > 1,
}
CHECKS = (
    Check(check_curves.not_finite, ("ending",), any_target=True),
    Check(check_curves.failed, ("ending",), any_target=True),
    Check(check_curves.too_short, ("curves",)),
    Check(check_curves.diverged, ("curves",)),
    Check(check_curves.collapse, ("curves", "predictions")),
    Check(check_network.double_softmax, ("network", "curves")),
    Check(check_network.linear_stack, ("network",)),
    Check(check_network.dead_units, ("trained activations",)),
    Check(check_network.ignores_input, ("predictions",)),
    Check(check_data.not_learning, ("curves",)),
    Check(check_data.labels_constant, ("counts",)),
    Check(check_data.labels_shuffled, ("curves",)),
    Check(check_curves.learning_rate_high, ("curves",)),
    Check(check_curves.learning_rate_low, ("curves",)),
    Check(check_network.learning_rate_trial, ("recipe alone",)),
    Check(check_network.input_scaling, ("activations",)),
    Check(check_network.frozen_moved, ("frozen layers",)),
    Check(check_curves.overfitting, ("validation curves",)),
    Check(check_curves.underfitting, ("validation curves",)),
    Check(check_data.class_imbalance, ("counts",)),
    Check(check_data.leak, ("all images",)),
)


def examine(patient: Patient) -> list[Finding]:
    """The findings of every check that the patient has evidence for, the worst first."""
    findings: dict[str, Finding] = {}
    for check in CHECKS:
        if not check.possible(patient):
            continue
        finding = check.run(patient)
        if finding is not None:
            findings.setdefault(finding.id, finding)
    return sorted(findings.values(), key=lambda finding: ORDER.index(finding.severity))


def checked(patient: Patient) -> list[str]:
    """The names of the checks that could be made."""
    return [check.name for check in CHECKS if check.possible(patient)]


def not_checked(patient: Patient) -> dict[str, str]:
    """The names of the other checks, and what they would have needed."""
    missing = {}
    for check in CHECKS:
        if not check.possible(patient):
            missing[check.name] = " or ".join(check.needs)
    return missing


def diagnose(run: Run, talk: Talk) -> list[Finding]:
    """Examine a run after its training: without the network, and with it if that finds something.

    Findings are kept in the run and told. A failing doctor is passed over: the run is done.
    """
    try:
        if not examine(admit_run(run, None, ask_network=False)):
            return []
        patient = admit_run(run, None)
        findings = examine(patient)
        keep(run, patient, findings)
        # Whoever asked for the run is told of its error already.
        new = [finding for finding in findings if finding.id != "failed"]
        if new:
            talk(listing(new))
            talk(f"more with `eyesight doctor {run.path}`")
    except Exception as problem:
        talk(f"the doctor could not examine {run.path}: {problem}")
        return []
    return findings


def diagnose_failed(error: UserError, out: Path, talk: Talk) -> None:
    """Examine the newest run in `out` if it failed with this error."""
    with suppress(UserError):  # a fault of other runs must not hide what went wrong now
        newest = next(reversed(list_runs(out)), None)
        if newest is None or newest.status != "failed":
            return
        if newest.log[-1].get("message") == error.message:
            diagnose(newest, talk)


def keep(run: Run, patient: Patient, findings: list[Finding]) -> None:
    """Write the findings into the run, where its report reads them."""
    values = {
        "findings": [finding.to_dict() for finding in findings],
        "checked": checked(patient),
        "not_checked": not_checked(patient),
    }
    run.write_json("doctor.json", values)


def admit_run(run: Run, data: Dataset | None, *, ask_network: bool = True) -> Patient:
    """Everything a run shows, with the images of its data, or else of its gallery."""
    recipe = run.settled
    if recipe.model.name == BLEND:
        raise UserError(
            f"{run.path} is a blend, which was not trained: it has no curves, gradients or rates "
            "to check",
            f"diagnose its members: {members_of(run)}",
        )
    facts = run.data
    log = run.log
    classes = tuple(facts.get("classes", ()))
    samples = gallery(run)
    copies = Copied(0, 0)
    if data:
        samples = samples_of(data)
        copies = exact_copies(data)
    fresh = _fresh(recipe, _shape(facts), len(classes), samples.get("train"))
    network = None
    trained = None
    frozen: tuple[str, ...] = ()
    if ask_network:
        trained, classifier = load_trained(run)
        network = trained or _built(fresh)
        if trained is not None:
            frozen = _frozen(trained, classifier)
    starts = [place for place, event in enumerate(log) if event.get("event") == "start"]
    begun = log[max(starts, default=0) :]
    failures = [event for event in begun if event.get("event") == "failed"]
    failure = (failures or [{}])[-1]
    lost: list[str] = []
    for event in begun:
        lost += event.get("not_finite", ())
    return Patient(
        name=str(run.path),
        recipe=recipe,
        classes=classes,
        per_class=tuple(facts.get("per_class", {}).get("train", ())),
        epochs=tuple(run.epochs),
        failure=str(failure.get("message", "")),
        hint=str(failure.get("hint", "")),
        lost=tuple(lost),
        validation=_predictions(run, "validation"),
        test=_predictions(run, "test"),
        network=network,
        trained=trained is not None,
        frozen=frozen,
        before=(lambda: _tensors(fresh)) if fresh else None,
        fresh=fresh,
        samples=samples,
        copies=copies,
        thorough=data is not None,
    )


def members_of(run: Run) -> str:
    """The commands that diagnose the members of a blend, or of the average of folds."""
    blend, folds = joined.blend(run), joined.folds(run)
    paths: list[str] = []
    if blend is not None:
        paths = [member.run for member in blend.members]
    elif folds is not None:
        paths = folds["runs"]
    return ", ".join(f"eyesight doctor {path}" for path in paths) or "they are no longer named"


def admit_recipe(
    recipe: Recipe, data: Dataset | None, shape: tuple[int, ...] = (), classes: int = 0
) -> Patient:
    """A recipe before its first run: its network with fresh weights, and its images if at hand."""
    names = tuple(f"class {number + 1}" for number in range(classes))
    samples: dict[str, Sample] = {}
    per_class: tuple[int, ...] = ()
    copies = Copied(0, 0)
    if data:
        shape = data.train.shape
        names = data.store.classes
        samples = samples_of(data)
        per_class = tuple(data.train.counts.tolist())
        copies = exact_copies(data)
    fresh = _fresh(recipe, shape, len(names), samples.get("train"))
    return Patient(
        name=recipe.name or recipe.model.name,
        recipe=recipe,
        classes=names,
        per_class=per_class,
        network=_built(fresh),
        fresh=fresh,
        samples=samples,
        copies=copies,
        thorough=data is not None,
    )


def at_hand(recipe: Recipe) -> bool:
    """Whether the recipe's images can be had without the internet."""
    source = recipe.data.source
    if source not in NAMED:
        return bool(source) and Path(source).exists()
    fetched = cache_dir() / "named" / source
    drawn = cache_dir() / source
    return user_files(source) is not None or fetched.is_dir() or drawn.is_dir()


def open_data(recipe: Recipe, talk: Talk = silent) -> Dataset | None:
    """The recipe's images if they are at hand and usable; otherwise tell why not."""
    from eyesight.data import dataset

    if not at_hand(recipe):
        source = recipe.data.source or "no source"
        talk(f"the images ({source}) are not available and were not checked; name them with --data")
        return None
    try:
        return dataset.load(recipe.data, talk=talk)
    except UserError as problem:
        talk(f"the images were not checked: {problem.message}")
        return None


def samples_of(data: Dataset) -> dict[str, Sample]:
    """Evenly spread images of every split."""
    return {
        "train": _take(data.train, TRAINING_IMAGES),
        "validation": _take(data.validation, HELD_OUT_IMAGES),
        "test": _take(data.test, HELD_OUT_IMAGES),
    }


def _take(images: Images, most: int) -> Sample:
    import torch

    affordable = max(1, PIXEL_BYTES // max(1, int(np.prod(images.shape))))
    count = min(most, len(images), affordable)
    chosen = torch.linspace(0, max(0, len(images) - 1), count).long()
    return Sample(images.take(chosen).numpy(), images.labels[chosen].numpy())


def gallery(run: Run) -> dict[str, Sample]:
    """The training images that a run keeps for its report; nothing when it keeps none."""
    with suppress(UserError, KeyError):
        kept = run.gallery()
        if len(kept.get("samples_labels", ())):
            sample = Sample(kept["samples_pixels"], kept["samples_labels"].astype(np.int64))
            return {"train": sample}
    return {}


def exact_copies(data: Dataset) -> Copied:
    """The held-out images whose file is, byte by byte, also a training image."""
    digests = dict(zip(data.store.ids, data.store.digests, strict=True))
    trained = {digests[name] for name in data.train.ids}
    held = [digests[name] for name in (*data.validation.ids, *data.test.ids)]
    return Copied(sum(digest in trained for digest in held), len(held))


def _predictions(run: Run, split: str) -> Predictions | None:
    with suppress(UserError):
        return run.predictions(split)
    return None


def load_trained(run: Run) -> tuple[Network | None, Facts]:
    """The run's network and what its classifier records; (None, nothing) when it is unreadable."""
    if run.classifier_path.is_dir():
        from eyesight import classifier

        with suppress(UserError, RuntimeError, KeyError, TypeError):
            loaded = classifier.load(run.classifier_path)
            return loaded.network, loaded.facts
    return None, {}


def _shape(facts: DataFacts) -> tuple[int, ...]:
    preparation = facts.get("preparation")
    return Preparation.from_dict(preparation).shape if preparation else ()


def _fresh(
    recipe: Recipe, shape: tuple[int, ...], classes: int, train: Sample | None
) -> Callable[[], Network] | None:
    """A function that builds the network as it was before the first step.

    None when its input or its classes are unknown.
    """
    if not shape or classes < 1:
        return None

    def build() -> Network:
        import torch

        from eyesight.models import registry

        with torch.random.fork_rng():
            torch.manual_seed(recipe.training.seed)
            outputs = registry.outputs(recipe.data.target, shape, classes)
            network = registry.build(recipe.model, shape, outputs)
        if recipe.data.scaling == "standard" and train is not None and len(train):
            pixels = torch.from_numpy(train.few(1000).pixels).double() / 255
            mean = pixels.mean((0, 2, 3)).float()
            deviation = pixels.std((0, 2, 3)).float()
            network.normalise.set(mean, deviation)
        return network.to(memory_format=torch.channels_last)

    return build


def _built(fresh: Callable[[], Network] | None) -> Network | None:
    if fresh is None:
        return None
    with suppress(UserError):
        return fresh()
    return None


def _tensors(fresh: Callable[[], Network]) -> dict[str, Tensor]:
    network = _built(fresh)
    if network is None:
        return {}
    return dict(network.state_dict())


def _frozen(network: Network, facts: Facts) -> tuple[str, ...]:
    """What the classifier names as frozen, or what does not train by the network's own account."""
    from eyesight.diagnosis import probes

    named = facts.get("frozen")
    if isinstance(named, list | tuple):
        return tuple(map(str, named))
    return probes.frozen(network)


def listing(findings: list[Finding]) -> str:
    """For people: title, evidence, remedy and reason of each finding."""
    blocks = []
    for finding in findings:
        lines = [f"{finding.severity}: {finding.title}"]
        parts = {"evidence": finding.evidence, "remedy": finding.remedy, "why": finding.why}
        for name, text in parts.items():
            first = f"  {name:<9} "
            lines.append(
                textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * 12)
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def describe(patient: Patient, findings: list[Finding]) -> str:
    """For people: the findings, or that nothing looks wrong; what was looked at, and what not."""
    text = listing(findings) or f"no problems found in {patient.name}"
    names = checked(patient)
    evidence = ", ".join(evidence_words(patient))
    lines = [f"examined {evidence}; {len(names)} checks: {', '.join(names)}"]
    missing = not_checked(patient)
    if missing:
        lines.append(f"not checked, because evidence is missing: {', '.join(missing)}")
    return "\n\n".join([text, *(textwrap.fill(line, WIDTH) for line in lines)])


def evidence_words(patient: Patient) -> list[str]:
    """What there is to look at, in words."""
    words = []
    if patient.epochs:
        words.append(f"{len(patient.epochs)} epochs")
    if patient.held_out is not None:
        words.append(f"{len(patient.held_out):,} predictions")
    if patient.trained:
        words.append("the trained network")
    elif patient.network is not None:
        words.append("the untrained network")
    if patient.samples:
        words.append(f"{sum(map(len, patient.samples.values())):,} images")
    return words or ["the recipe alone"]
