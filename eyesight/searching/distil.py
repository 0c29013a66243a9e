"""A trained run teaches a small network: the teacher's probabilities in place of the labels.

Hinton, Vinyals and Dean 2015. The student learns the probabilities at a temperature, which say
which classes are alike; its own temperature is fitted on validation images afterwards, as for any
classifier, so that the loss needs none. The student is an ordinary run.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eyesight import classifier, experiment, tasks
from eyesight.classifier import Classifier
from eyesight.data import dataset
from eyesight.data.dataset import Dataset, base_hash
from eyesight.data.images import Images
from eyesight.data.loading import prepare_data
from eyesight.data.prepare import Preparation
from eyesight.errors import UserError
from eyesight.exporting import export, parity
from eyesight.inference import onnx_classifier
from eyesight.models import registry
from eyesight.models.summary import count
from eyesight.recipe import Data, Recipe
from eyesight.results.calibration import at_temperature
from eyesight.results.distilling import DistilRecord, FileRecord, is_beaten
from eyesight.results.predictions import Predictions
from eyesight.runs import Run
from eyesight.searching.candidates import from_scratch
from eyesight.searching.search import look_at
from eyesight.system.device import default_device
from eyesight.system.files import scratch
from eyesight.system.progress import Reporter
from eyesight.training import budget, initialise, transfer, width
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.views import joined

WIDTHS = (1.0, 0.7, 0.5, 0.35, 0.25)  # of a network, as factors of its filters
TEMPERATURE = 2.0
TRIES = 30  # of one image, for its milliseconds
# A student's two files, in passes over the images that check them: the network twice, each file
# once, and the ranges of the 8-bit file.
CHECKING = 5
LEAST_WRITING = 2.0  # seconds to write one file
TEACHING = 0.1  # of the budget at least is for the training, whatever the files take
FLOAT = 4  # bytes of a parameter
# Of the student's own recipe; all else of the data is the teacher's.
PREPARED = (
    "size",
    "channels",
    "resize",
    "pad",
    "padding",
    "interpolation",
    "crop_fraction",
    "scaling",
)
UNITS = {"kB": 1e3, "MB": 1e6, "B": 1.0}


@dataclass(frozen=True)
class Limits:
    """What the student's file may take: bytes, and milliseconds for one image."""

    bytes: float | None = None
    milliseconds: float | None = None

    def allow(self, file: FileRecord) -> bool:
        """Whether an exported file is small and fast enough."""
        small = self.bytes is None or file.bytes <= self.bytes
        quick = self.milliseconds is None or file.milliseconds <= self.milliseconds
        return small and quick


def read_limits(size: str | None, latency: str | None) -> Limits:
    """Limits such as 300kB and 2ms; raises UserError for other text."""
    return Limits(
        number_of(size, UNITS, "--size 300kB") if size is not None else None,
        number_of(latency, {"ms": 1.0}, "--latency 2ms") if latency is not None else None,
    )


def number_of(text: str, units: Mapping[str, float], example: str) -> float:
    """A positive number with one of the units, in the smallest of them."""
    for unit, factor in units.items():
        number = text.removesuffix(unit)
        if number != text and re.fullmatch(r"\d+(\.\d+)?", number) and float(number) > 0:
            return float(number) * factor
    raise UserError(f"cannot read {text!r}", f"for example {example}", code=2)


def suited_student(teacher: Run, reporter: Reporter) -> Recipe:
    """The recipe from scratch that suits the teacher's images."""
    look = look_at(teacher.settled.data, reporter)
    _, recipe, _ = next(from_scratch(look))
    return recipe


@dataclass(frozen=True, eq=False)
class SoftData:
    """Images with the teacher's probabilities as targets, and what the teacher needs for one."""

    data: Dataset
    unlabelled: int
    seconds_each: float  # of the teacher, for the probabilities of one image


def distil(
    teacher: Run,
    student: Recipe,
    out: Path,
    context: Context,
    *,
    temperature: float = TEMPERATURE,
    unlabelled: str | None = None,
    limits: Limits | None = None,
) -> Run:
    """Train `student` on the probabilities of `teacher`, and return its run, exported.

    `unlabelled` names more images, without labels. `limits` make the student narrower until its
    32-bit file fits. Raises UserError for a teacher that is not finished or predicts no class.
    """
    check(teacher)
    loaded = classifier.load(teacher.classifier_path)
    recipe = student_recipe(teacher, student)
    limits = limits or Limits()
    data = dataset.load(recipe.data, talk=context.reporter.message)
    if base_hash(data.hash) != base_hash(str(teacher.data.get("split"))):
        raise UserError(
            f"the images at {recipe.data.source} have changed since {teacher.path} was trained",
            "restore the images, or train the teacher again",
        )
    recipe = fitting(recipe, data, limits)
    initialise.check(recipe, data)  # a network that is refused leaves no run folder
    soft = soft_data(data, loaded, teacher, temperature, unlabelled, context)
    began = time.monotonic()
    files = [teacher_file(teacher, loaded, context)]
    if recipe.training.budget is not None:
        written = time.monotonic() - began - 2 * parity.MOST_CHECKED * soft.seconds_each
        exporting = exporting_seconds(recipe, data, max(LEAST_WRITING, written))
        context.clock.budget = training_budget(recipe.training.budget, exporting, context.clock)
        if limits != Limits() and width.has_widths(recipe):
            chosen_width = width.choose(recipe, soft.data.train, context.clock.left()).value
            recipe = width.with_width(recipe, chosen_width)
    run = experiment.begin(recipe, soft.data, out)
    with run.attempt():
        experiment.execute(experiment.Job(run, recipe, soft.data, context))
        files += student_files(run, context)
        files = [replace(file, on_front=not is_beaten(file, files)) for file in files]
    chosen = choose(files, limits)
    if not limits.allow(chosen):
        context.reporter.message(
            f"no exported file keeps to the limits; {chosen.name} is the smallest: "
            f"{chosen.bytes:,} bytes, {chosen.milliseconds:.1f} ms"
        )
    record = DistilRecord(
        str(teacher.path),
        f"{student.name} {run.settled.model.width or 1:g}×",
        temperature,
        len(soft.data.train),
        soft.unlabelled,
        chosen.name,
        tuple(files),
    )
    run.write_json(joined.DISTIL, record.to_dict())
    return run


def check(teacher: Run) -> None:
    """Raise UserError unless the teacher is finished and predicts classes."""
    if teacher.target != "class":
        raise UserError(
            f"{teacher.path} predicts a {teacher.target}, but only classifiers can be distilled",
            "name the run of a classifier",
        )
    if teacher.status != "done":
        raise UserError(f"{teacher.path} is {teacher.status}", teacher.way_on)


def check_settings(settings: Sequence[str], limits: Limits) -> None:
    """Raise UserError for settings of the student that would have no effect."""
    for setting in settings:
        path = setting.partition("=")[0].strip()
        room, _, field = path.partition(".")
        if room == "data" and field not in PREPARED:
            reason = "the teacher's images and split are used"
        elif path == "loss.smoothing":
            reason = "the teacher's probabilities are smooth"
        elif path == "model.width" and limits != Limits():
            reason = "--size and --latency choose the width"
        else:
            continue
        raise UserError(f"--set {path} has no effect here: {reason}", f"leave {path} out", code=2)


def student_recipe(teacher: Run, student: Recipe) -> Recipe:
    """The student's recipe on the teacher's images and split, prepared as the student asks.

    Without label smoothing: the teacher's probabilities are smooth.
    """
    own = {name: getattr(student.data, name) for name in PREPARED}
    data: Data = replace(transfer.resolve_preprocessing(teacher.settled).data, **own)
    loss = replace(student.loss, smoothing=0.0)
    return transfer.resolve_preprocessing(replace(student, data=data, loss=loss))


def fitting(recipe: Recipe, data: Dataset, limits: Limits) -> Recipe:
    """The recipe with the widest network whose 32-bit weights and speed keep to the limits."""
    if limits == Limits():
        return recipe
    widths: tuple[float | None, ...] = WIDTHS
    if registry.is_backbone(recipe.model):
        widths = (recipe.model.width,)  # it has no other
    for factor in widths:
        model = replace(recipe.model, width=factor)
        network = registry.build(model, data.train.shape, tasks.of(recipe).outputs(data.train))
        small = limits.bytes is None or FLOAT * count(network) <= limits.bytes
        if not small:
            continue
        one = data.train.take(torch.arange(1))
        slow = limits.milliseconds is not None and limits.milliseconds < median_ms(
            lambda: classifier.probabilities(network, one)  # noqa: B023 — called at once
        )
        if not slow:
            return replace(recipe, model=model)
    if len(widths) == 1:
        raise UserError(
            f"{recipe.model.name} does not meet the size and latency limits; its width is fixed",
            "raise the limits, or use a smaller network: --to folder --set model.name=NAME, or "
            "--to objects",
            code=2,
        )
    smallest = FLOAT * count(network) / UNITS["kB"]
    raise UserError(
        f"no width of {recipe.model.name} meets the size and latency limits: the narrowest network "
        f"has {smallest:,.0f} kB",
        "raise the limits, or use a smaller recipe with --to, for example lenet5",
        code=2,
    )


def exporting_seconds(recipe: Recipe, data: Dataset, writing: float) -> float:
    """Seconds to export the student, in 8 bits too, and to measure its files.

    `writing` is the time to write one file.
    """
    network = initialise.ready(recipe, data, default_device())
    count = min(16, len(data.train))
    each = budget.seconds_each(network, data.train, count, recipe.training.views, "float32")
    held_out = len(data.test) or len(data.validation) or len(data.train)
    checked = min(parity.MOST_CHECKED, held_out)
    return 2 * writing + budget.SAFETY * CHECKING * checked * each


def training_budget(whole: float, exporting: float, clock: Clock) -> float:
    """Seconds of the budget without the export, and at least a tenth of the budget from now on."""
    least = min(whole, clock.elapsed() + TEACHING * whole)
    return max(least, whole - exporting)


def soft_data(
    data: Dataset,
    loaded: Classifier,
    teacher: Run,
    temperature: float,
    unlabelled: str | None,
    context: Context,
) -> SoftData:
    """The training images with the teacher's probabilities, and the unlabelled ones after them."""
    reporter = context.reporter
    reporter.message(f"predicting {len(data.train):,} training images with {teacher.name}")
    settled = transfer.resolve_preprocessing(teacher.settled).data
    seen = dataset.load(settled, preparation=loaded.preparation, talk=reporter.message)
    place = {name: row for row, name in enumerate(seen.train.ids)}
    rows = np.array([place[name] for name in data.train.ids], dtype=np.int64)
    began = time.monotonic()
    soft = answers(loaded, seen.train.subset(rows), temperature)
    each = (time.monotonic() - began) / len(rows)
    train = replace(data.train, soft=soft)
    if unlabelled is None:
        return SoftData(replace(data, train=train), 0, each)
    more = unlabelled_images(unlabelled, loaded, data, temperature, context)
    both = joined_images(train, more)
    return SoftData(replace(data, train=both), len(more), each)


def answers(loaded: Classifier, images: Images, temperature: float) -> torch.Tensor:
    """The teacher's probabilities N,K at a temperature."""
    predictions = loaded.infer(images)
    assert isinstance(predictions, Predictions)
    return torch.from_numpy(at_temperature(predictions.probabilities, temperature))


def unlabelled_images(
    where: str, loaded: Classifier, data: Dataset, temperature: float, context: Context
) -> Images:
    """The images at `where`, labelled by the teacher; copies of the data's own are left out."""
    asked = Data(where, target="picture")
    talk = context.reporter.message

    def prepared(preparation: Preparation) -> tuple[Images, Sequence[str]]:
        store = prepare_data(asked, preparation=preparation, talk=talk).store
        unknown = np.full(len(store.ids), -1, dtype=np.int64)
        return Images.of(store.pixels, unknown, data.train.classes, store.ids), store.digests

    small, digests = prepared(data.store.preparation)
    large, _ = prepared(loaded.preparation)
    own = set(data.store.digests)
    is_new = np.flatnonzero([digest not in own for digest in digests])
    if len(is_new) < len(digests):
        talk(f"{len(digests) - len(is_new):,} duplicates of the data's own images left out")
    place = {name: row for row, name in enumerate(large.ids)}
    kept = [row for row in is_new.tolist() if small.ids[row] in place]
    images = small.subset(np.array(kept, dtype=np.int64))
    rows = np.array([place[name] for name in images.ids], dtype=np.int64)
    soft = answers(loaded, large.subset(rows), temperature)
    return replace(images, soft=soft, labels=soft.argmax(1))


def joined_images(train: Images, more: Images) -> Images:
    """Both with their targets, in memory."""
    first, second = train.resident(), more.resident()
    pixels = [images.take(torch.arange(len(images))) for images in (first, second)]
    assert first.soft is not None
    assert second.soft is not None
    return replace(
        first,
        pixels=torch.cat(pixels),
        rows=torch.arange(len(first) + len(second)),
        labels=torch.cat([first.labels, second.labels]),
        ids=first.ids + tuple(f"unlabelled/{name}" for name in second.ids),
        soft=torch.cat([first.soft, second.soft]),
    )


def teacher_file(teacher: Run, loaded: Classifier, context: Context) -> FileRecord:
    """The record of the teacher's exported file, which is not kept."""
    with scratch() as folder:
        whole = export.export(teacher, folder / "teacher.onnx", talk=context.reporter.message)
        return file_record("teacher", whole, loaded.preparation.shape)


def student_files(run: Run, context: Context) -> list[FileRecord]:
    """The student's file, and the one in 8 bits if it is accurate enough."""
    talk = context.reporter.message
    exported = export.export(run, talk=talk)
    shape = classifier.load(run.classifier_path).preparation.shape
    files = [file_record("student", exported, shape)]
    try:
        deadline = time.monotonic() + context.clock.left()
        small = export.export_int8(run, exported.file, deadline=deadline, talk=talk)
    except UserError as error:
        talk(f"no 8-bit file: {error.message}")
    else:
        files.append(file_record("student, 8 bits", small, shape))
    return files


def file_record(name: str, exported: export.Exported, shape: tuple[int, int, int]) -> FileRecord:
    """Accuracy, bytes and milliseconds of an exported file."""
    session = onnx_classifier.load(exported.file)
    one = np.zeros((1, *shape), dtype=np.uint8)
    spent = median_ms(lambda: session.probabilities(one))
    return FileRecord(name, exported.parity.accuracy, exported.bytes, round(spent, 3))


def median_ms(call: Callable[[], object]) -> float:
    """The median of some calls in milliseconds, after one that is not counted."""
    call()
    spent = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent)


def choose(files: Sequence[FileRecord], limits: Limits) -> FileRecord:
    """The smallest of the student's files that keeps to the limits, or the smallest of all.

    A file of 8 bits exists only if it is accurate enough.
    """
    student = [file for file in files if file.name != "teacher"]
    allowed = [file for file in student if limits.allow(file)]
    return min(allowed or student, key=lambda file: file.bytes)
