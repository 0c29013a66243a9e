"""Recipe in, run out. READ THIS FIRST: it is the whole of a training, top to bottom.

    train                 what people call
      run                 what the program calls, with a `Context`
        resolve           recipe, images and run folder, the same in every process
        execute
          settle_width        how wide a network from scratch the budget allows
          build               the network before its first step
          prepare_evaluation  how to evaluate at the end, and the time to keep for it
          train_stage         epochs, the log, checkpoints; most recipes have one stage
          finish              save, load again, evaluate once, write everything down

The test images are seen once, at the end, by the classifier as it was saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from eyesight import classifier, tasks
from eyesight.classifier import Classifier, Facts
from eyesight.data import dataset
from eyesight.data.dataset import Dataset
from eyesight.data.facts import count_line
from eyesight.data.images import Images
from eyesight.distributed import group as distributed
from eyesight.distributed import launch
from eyesight.errors import UserError, listed
from eyesight.models import own, registry, weights
from eyesight.models.layers import Network
from eyesight.models.summary import count, layers
from eyesight.recipe import Recipe, differences, from_dict, is_own, to_dict
from eyesight.recipes.folder import AUTO
from eyesight.results import slices
from eyesight.results.any_task import Results
from eyesight.results.calibration import Calibration
from eyesight.results.predictions import Predictions, write_arrays
from eyesight.results.records import Result, Summary, Used
from eyesight.results.unlike import REFERENCES
from eyesight.runs import Run, now
from eyesight.system import memory
from eyesight.system.device import default_device
from eyesight.system.environment import environment
from eyesight.system.progress import Callbacks, Epoch, Reporter, Talk, silent
from eyesight.training import (
    budget,
    calibrate,
    effects,
    extra_data,
    initialise,
    margins,
    precision,
    transfer,
    width,
)
from eyesight.training.budget import CHECKED, Evaluation
from eyesight.training.checkpoint import STAGE_PASSES, State
from eyesight.training.context import Context
from eyesight.training.features import Activations
from eyesight.training.history import (
    best_of,
    is_perfect,
    keeps_first_stage,
    out_of_patience,
    stage_results,
)
from eyesight.training.loop import fit, plan
from eyesight.training.resume import checkpoint, remove_checkpoint, unfinished
from eyesight.training.transfer import Stage

SAVE_EVERY = 2.0  # seconds between checkpoints at least, so that writing takes little of the time
SHOWN_PROBLEMS = 20  # files left out that are named one by one
NAMED_FOLDERS = 5  # of those that are ignored


@dataclass(frozen=True, eq=False)
class Job:
    """A training with everything resolved; the same in every process of a group."""

    run: Run
    recipe: Recipe
    data: Dataset
    context: Context
    # Of a classifier that no image is left to calibrate with, such as the average of folds.
    calibration: Calibration | None = None


def train(
    recipe: Recipe,
    out: Path | str = Path("runs"),
    *,
    resume: bool = False,
    talk: Talk = silent,
    tell: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Train `recipe` and return its run, a new folder in `out`.

    `talk` receives messages for people (`talk=print`), `tell` every finished epoch. With `resume`,
    the newest unfinished run of the same recipe on the same images is continued.

    Raises UserError for whatever a person can mend. A training that is refused before its first
    step leaves no run; one that fails later says so in the log of its run.
    """
    return run(recipe, Path(out), Context(reporter=Callbacks(talk, tell), resume=resume))


def run(recipe: Recipe, out: Path, context: Context) -> Run:
    """Train `recipe` into a new or continued run in `out`.

    Every process of a group calls this alike. Only the first process writes to the run. Raises
    UserError as `train` does.
    """
    memory.keep_freed_memory()
    context.clock.budget = recipe.training.budget
    resolved, data, path = resolve(recipe, out, context)
    with context.group.folder(path) as folder, (opened := Run(folder)).attempt():
        if opened.status == "done":
            context.reporter.message(f"{path} is already trained; only its report is missing")
            return opened
        context.reporter.run_began(opened.path)
        execute(Job(opened, resolved, data, context))
    return opened


def resolve(recipe: Recipe, out: Path, context: Context) -> tuple[Recipe, Dataset, Path]:
    """The recipe with nothing left open, its images, and the folder of its run.

    Raises UserError in every process when their versions, recipes or images differ.
    """
    group, reporter = context.group, context.reporter
    group.same(lambda: facts_of_process(recipe))
    decided = group.once(lambda: to_dict(transfer.resolve_preprocessing(recipe, reporter.message)))
    resolved = from_dict(decided)
    effects.refuse_lost(effects.setup(recipe, resolved))
    data = group.in_turn(lambda: load_data(resolved, reporter))
    group.same(lambda: {"set of images": data.store.key, "split": data.hash})
    initialise.check(resolved, data)
    path = Path(group.once(lambda: str(find_or_begin(recipe, data, out, context).path)))
    report_data(data, context)
    for setting, reason in without_effect(recipe, resolved, data, context).items():
        reporter.message(f"{setting} has no effect: {reason}")
    return resolved, data, path


def without_effect(
    recipe: Recipe, resolved: Recipe, data: Dataset, context: Context
) -> dict[str, str]:
    """The settings of the recipe that do nothing with these images, each with the reason."""
    given_splits = set(data.store.splits.tolist())
    return effects.without_effect(effects.setup(recipe, resolved, given_splits, context.group.size))


def facts_of_process(recipe: Recipe) -> dict[str, object]:
    """What the processes of a group must have in common before they look at any image."""
    settings = differences(recipe, Recipe())
    return {
        **distributed.versions(),
        "recipe": {path: str(value) for path, value in settings.items()},
    }


def load_data(recipe: Recipe, reporter: Reporter) -> Dataset:
    """The images of a recipe, prepared and divided."""
    counter = reporter.counter("preparing images")
    return dataset.load(recipe.data, talk=reporter.message, progress=counter)


def find_or_begin(recipe: Recipe, data: Dataset, out: Path, context: Context) -> Run:
    """The run to continue where that is asked for and there is one, or else a new one."""
    if context.resume:
        earlier = unfinished(recipe, data, out, context)
        if earlier is not None:
            return earlier
    return begin(recipe, data, out)


def begin(recipe: Recipe, data: Dataset, out: Path) -> Run:
    """A new run folder that holds its recipe and the facts of its data."""
    new = Run.create(out, recipe.name or recipe.model.name)
    new.write_json("data.json", data.facts())
    new.write_json("recipe.json", to_dict(recipe))
    return new


def report_data(data: Dataset, context: Context) -> None:
    """Say which files are left out, and when reading the images has taken most of the budget."""
    clock, reporter = context.clock, context.reporter
    if clock.budget is not None and clock.elapsed() > clock.budget / 2:
        reporter.message(
            f"{clock.elapsed():.0f} of {clock.budget:.0f} s were needed before training; the "
            "prepared images are now in the cache"
        )
    fatal = [problem for problem in data.store.problems if problem.fatal]
    for problem in fatal[:SHOWN_PROBLEMS]:
        reporter.message(f"left out {problem.id}: {problem.kind}, {problem.detail}")
    if len(fatal) > SHOWN_PROBLEMS:
        more = len(fatal) - SHOWN_PROBLEMS
        reporter.message(f"left out {more:,} more; list them with `eyesight data {data.name}`")
    ignored = []
    for problem in data.store.problems:
        if problem.kind == "ignored_folder":
            ignored.append(f"{problem.id} ({problem.detail})")
    if ignored:
        reporter.message(f"ignored: {listed(ignored, NAMED_FOLDERS)}")
    for note in data.notes:
        reporter.message(note)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    counts = {name: len(images) for name, images in parts.items()}
    excluded = data.corrected.facts["excluded"] if data.corrected else 0
    reporter.message(count_line(counts, data.store.problems, excluded))


def execute(job: Job) -> None:
    """Build, train every stage, finish."""
    clock = job.context.clock
    job = settle_width(job)
    network = build(job)
    evaluation = prepare_evaluation(job, network)
    job = replace(job, data=budget.used_validation(job.data, evaluation.validation))
    clock.lap("data")
    first = stage_to_continue(job.run)
    data = choosing_data(job)
    collected = margins.Collected()
    for stage in transfer.stages(job.recipe, network, data, job.context, first):
        if stage.network is not network:
            clock.lap("features")
        state = train_stage(job, stage)
        if state.margins is not None:
            collected.add(stage.train.ids, state.margins)
        clock.lap("training")
    if job.context.group.first:
        collected.save(job.run.path, job.data.train.ids)
    finish(job, network, evaluation)


def settle_width(job: Job) -> Job:
    """The job with the width that its budget allows, as it was when the run began."""
    recipe, context = job.recipe, job.context
    if not width.chosen_by_budget(recipe):
        return job
    if job.run.environment:
        return replace(job, recipe=job.run.settle(recipe))
    left = max(0.0, context.clock.left()) * context.group.size
    images = job.data.train
    chosen = width.Width(**context.group.once(lambda: vars(width.choose(recipe, images, left))))
    if chosen.value < 1:
        context.reporter.message(str(chosen))
    return replace(job, recipe=width.with_width(recipe, chosen.value))


def build(job: Job) -> Network:
    """The network with its first weights, the same in every process.

    The run notes what it starts from.
    """
    recipe, data, group = job.recipe, job.data, job.context.group
    device = default_device()
    network = initialise.ready(recipe, data, device)
    notes: dict[str, object] = {}
    if registry.is_backbone(recipe.model):
        notes["weights"] = group.in_turn(lambda: load_backbone(job, network))
    if is_own(recipe.model.name):
        notes["code"] = own.fingerprint(recipe.model.name)
    group.alike(network)
    if group.size > 1:
        notes["processes"] = group.size
    write_environment(job, device, notes)
    job.run.append(
        {
            "event": "start",
            "at": now(),
            "recipe": recipe.name,
            "parameters": count(network),
            "elapsed": round(job.context.clock.elapsed(), 3),
        }
    )
    job.run.checkpoint_path.mkdir(exist_ok=True)
    return network


def load_backbone(job: Job, network: Network) -> dict[str, str]:
    """Load the pretrained weights that the recipe asks for; where they came from."""
    classes = job.data.store.classes
    return weights.fill(network, job.recipe.model, classes, talk=job.context.reporter.message)


def write_environment(job: Job, device: torch.device, notes: Mapping[str, object]) -> None:
    """Machine, versions and what was chosen for the recipe.

    The arithmetic stays as the run began.
    """
    earlier = job.run.environment
    threads = torch.get_num_threads()
    if earlier.get("threads", threads) != threads:
        job.context.reporter.message(
            f"the run started with {earlier['threads']} threads and continues with {threads}: "
            f"results may differ in the last digits; use OMP_NUM_THREADS={earlier['threads']} "
            "to avoid this"
        )
    kept = {
        key: value
        for key, value in earlier.items()
        if key.startswith("precision") or key == "validation_images"
    }
    machine = environment(
        threads=threads,
        device=str(device),
        seed=job.recipe.training.seed,
        **notes,
        **kept,
    )
    asked = job.run.recipe
    settings = {
        "chosen": differences(job.recipe, asked),
        "without_effect": without_effect(asked, job.recipe, job.data, job.context),
    }
    job.run.write_json("environment.json", machine | settings)


def prepare_evaluation(job: Job, network: Network) -> Evaluation:
    """How the held-out images will be evaluated, with the time for it reserved under a budget."""
    recipe, data, context = job.recipe, job.data, job.context
    clock, views = context.clock, recipe.training.views
    if clock.budget is None:
        return Evaluation("float32", views)
    held_out = len(data.test) + len(data.validation)
    context.reporter.message(f"estimating the evaluation time of {held_out:,} held-out images")
    left = max(0.0, clock.left())
    measured = context.group.once(
        lambda: vars(
            settle_validation(job.run, budget.plan_evaluation(network, data, recipe, left))
        )
    )
    evaluation = Evaluation(**measured)
    if evaluation.views != views:
        context.reporter.message(
            f"the {left:.0f} s left are too short to average over the views {views}; "
            f"using {evaluation.views}"
        )
    if evaluation.references < REFERENCES:
        context.reporter.message(
            f"the {left:.0f} s left are too short for {min(REFERENCES, len(data.train)):,} "
            f"training images as references for unfamiliar images; using {evaluation.references}"
        )
    if evaluation.validation is not None:
        context.reporter.message(
            f"the {left:.0f} s left are too short for {len(data.validation):,} validation images; "
            f"using {evaluation.validation:,}"
        )
    seconds = evaluation.seconds / context.group.size
    budget.reserve_for_evaluation(clock, seconds, recipe.data.target)
    return evaluation


def settle_validation(run: Run, evaluation: Evaluation) -> Evaluation:
    """The evaluation with as many validation images as when the run began."""
    machine = run.environment
    if "validation_images" not in machine:
        machine["validation_images"] = evaluation.validation
        run.write_json("environment.json", machine)
    return replace(evaluation, validation=machine["validation_images"])


def choosing_data(job: Job) -> Dataset:
    """The data with the validation images that choose the epoch; a classifier keeps some apart."""
    if job.recipe.data.target != "class":
        return job.data
    return calibrate.choosing(job.data)


def stage_to_continue(run: Run) -> int:
    """The number of the last stage that has a checkpoint; 1 where none has."""
    begun = [number for number in (1, 2) if checkpoint(run, number).exists()]
    return max(begun, default=1)


def train_stage(job: Job, stage: Stage) -> State:
    """Train one stage, from its checkpoint if there is one, and append every epoch to the log."""
    run, context = job.run, job.context
    training, file = stage.recipe.training, checkpoint(run, stage.number)
    before = epochs_before(run, stage)
    state = begin_stage(job, stage)
    arithmetic = settle_precision(job, stage)
    report_plan(stage, context)
    if stage.number == 1 and registry.is_backbone(stage.recipe.model):
        # As late as can be: all that came before has had its time.
        budget.ensure_minimum_training(context.clock)
    saved = time.monotonic()
    epochs = fit(state, stage.train, stage.validation, stage.recipe, context, precision=arithmetic)
    for epoch in epochs:
        progress = round((stage.number - 1 + epoch.progress) / stage.count, 6)
        done = replace(epoch, epoch=before + epoch.epoch, progress=progress)
        run.append(done.event() | stage.mark)
        context.reporter.epoch(done)
        if out_of_patience(state.history, training):
            context.reporter.message(f"stopped early: no improvement in {training.patience} epochs")
            break
        if job.run.recipe.model.name == AUTO and is_perfect(state.history):
            context.reporter.message(
                "stopped early: all validation images are classified correctly"
            )
            break
        if context.group.once(lambda: run.asked_to_stop):
            context.reporter.message("stopped early on request; the weights are kept")
            break
        due = time.monotonic() - saved > SAVE_EVERY or not file.exists()
        if due and state.progress < 1 and context.group.first:
            state.save(file)
            saved = time.monotonic()
    if stage.number > 1 and keeps_first_stage(run.epochs) and state.first:
        state.best = state.first
        run.append({"event": "kept", "stage": stage.number - 1})
        context.reporter.message(
            "the second stage is not better on validation images that were not used to choose "
            "its epoch; keeping the result of the first"
        )
    state.finish(training)
    run.append({"event": "trained", **stage.mark, **used(job, stage, state)})
    return state


def used(job: Job, stage: Stage, state: State) -> Used:
    """What a stage really used: images, versions of each, epochs, steps, the last rate."""
    versions = stage.train.views if isinstance(stage.train, Activations) else 1
    own = [epoch for epoch in job.run.epochs if epoch.get("stage", 1) == stage.number]
    drawn = sum(epoch["pictures"] for epoch in own)
    return {
        "images": min(drawn, len(stage.train)),
        "of": len(job.data.train),
        "partial": drawn < len(stage.train),
        "versions": versions,
        "epochs": state.passes - (stage.number - 1) * STAGE_PASSES,
        "steps": state.steps,
        "lr": own[-1]["lr"] if own else 0.0,
    }


def begin_stage(job: Job, stage: Stage) -> State:
    """The state of a stage: new, after the stage before it, or from its checkpoint."""
    run, recipe = job.run, stage.recipe
    state = State.start(stage.network, recipe, stage.number)
    earlier = [epoch for epoch in run.epochs if epoch.get("stage", 1) < stage.number]
    if earlier:
        state.seed_best(best_of(earlier, recipe.training, tasks.of(recipe).measure.key))
    file = checkpoint(run, stage.number)
    if file.exists():
        state.restore(file)
        epoch = epochs_before(run, stage) + state.epoch
        job.context.reporter.message(f"resuming {run.path} after epoch {epoch}")
    return state


def epochs_before(run: Run, stage: Stage) -> int:
    """The number of epochs of the stages before this one."""
    numbers = [epoch["epoch"] for epoch in run.epochs if epoch.get("stage", 1) < stage.number]
    return max(numbers, default=0)


def settle_precision(job: Job, stage: Stage) -> str:
    """The arithmetic of a stage, as it was when the run began."""
    machine = job.run.environment
    key: Literal["precision", "precision2"] = "precision"
    if stage.number == 2:
        key = "precision2"
    if key not in machine:
        machine[key] = job.context.group.once(
            lambda: precision.choose(
                stage.recipe.training.precision,
                stage.network,
                stage.recipe.model,
                plan(stage.recipe.training, len(stage.train))[0],
                talk=job.context.reporter.message,
                limit=budget.trial_limit(job.context.clock),
            )
        )
        job.run.write_json("environment.json", machine)
    return str(machine[key])


def report_plan(stage: Stage, context: Context) -> None:
    """Say so when few images change the batch or the number of epochs."""
    training = stage.recipe.training
    batch, epochs = plan(training, len(stage.train))
    as_asked = (batch, epochs) == (training.batch, training.epochs)
    if as_asked or context.clock.budget is not None:
        return
    passes = f"{epochs} pass{'es' * (epochs != 1)}"
    reason = f" to reach {training.min_steps} steps" if epochs > training.epochs else ""
    context.reporter.message(
        f"small data set: using batches of {batch} and {passes}{reason} (training.min_steps)"
    )


def finish(job: Job, network: Network, evaluation: Evaluation) -> None:
    """Save the classifier, load it again, evaluate that one once, and write everything down."""
    run, data, context = job.run, job.data, job.context
    held_out = {"validation": data.validation, "test": data.test}
    counts = [f"{len(images):,} {name}" for name, images in held_out.items() if len(images)]
    if counts:
        context.reporter.message(f"evaluating {' and '.join(counts)} images")
    loaded = save_and_check(job, network, evaluation)
    validation = context.group.infer(loaded, data.validation)
    test = context.group.infer(loaded, data.test)
    one_view = None
    if loaded.views != "one":
        one_view = context.group.infer(replace(loaded, views="one"), data.test)
    if not context.group.first:
        return
    launch.signal_complete()
    if len(validation):
        validation.save(run.path / "validation.npz")
    test.save(run.path / "predictions.npz")
    if job.recipe.data.target == "class":
        write_arrays(run.path / "properties.npz", **measure_images(data.test))
    gallery = loaded.task.gallery(data.train, data.test, test, loaded.forward, loaded.noise)
    write_arrays(run.path / "gallery.npz", **gallery)
    context.clock.lap("evaluation")
    event = result_event(job, network, test)
    event["arithmetic"] = evaluation.arithmetic
    optional = {
        "validation": validation.summary() if len(validation) else None,
        "test_one_view": one_view.summary() if one_view is not None else None,
        "test_uncorrected": uncorrected_summary(data, test),
        "own": extra_data.compared(run, loaded, data.own) if data.own is not None else None,
    }
    given = {name: summary for name, summary in optional.items() if summary is not None}
    run.append({**event, **given})
    remove_checkpoint(run)


def uncorrected_summary(data: Dataset, test: Results) -> Summary | None:
    """The test scores by the labels as the data gives them; None where corrections changed none."""
    if data.corrected is None or not isinstance(test, Predictions):
        return None
    given = data.corrected.test_given.numpy()
    if np.array_equal(given, test.labels):
        return None
    return replace(test, labels=given).summary()


def measure_images(images: Images) -> dict[str, npt.NDArray[np.float32]]:
    """Brightness, contrast and sharpness of images, by which their slices are compared."""
    parts = []
    for start in range(0, len(images), images.chunk):
        index = torch.arange(start, min(start + images.chunk, len(images)))
        parts.append(slices.properties(images.take(index).cpu().numpy()))
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in slices.PROPERTIES}


def save_and_check(job: Job, network: Network, evaluation: Evaluation) -> Classifier:
    """The classifier as it was read back from the run.

    Raises UserError when that answers differently.
    """
    recipe, data = job.recipe, job.data
    noise = recipe.augment.noise if recipe.data.target == "picture" else 0.0
    trained = Classifier(
        network.eval(),
        recipe.model,
        data.train.classes,
        data.store.preparation,
        evaluation.views,
        provenance(job),
        noise,
    )
    if recipe.data.target == "class":
        trained.arithmetic = evaluation.arithmetic
        trained.calibration = calibrated(job, trained, evaluation.references)
        if trained.calibration.note:
            job.context.reporter.message(trained.calibration.note)
        trained.arithmetic = "float32"
    trained.save(job.run.classifier_path)
    loaded = classifier.load(job.run.classifier_path, network.normalise.mean.device)
    check_same(trained, loaded, data.train)
    loaded.arithmetic = evaluation.arithmetic
    return loaded


def calibrated(job: Job, trained: Classifier, references: int) -> Calibration:
    """The calibration of the trained classifier, as the first process finds it."""
    group = job.context.group
    if job.calibration is not None:
        return job.calibration
    if group.size == 1:
        return calibrate.calibrate(trained, job.data, references)
    decided = group.once(
        lambda: calibrate.calibrate(trained, job.data, references).to_dict(arrays=True)
    )
    return Calibration.from_dict(decided)


def provenance(job: Job) -> Facts:
    """Where a classifier comes from, kept in its folder."""
    facts: Facts = {
        "run": job.run.name,
        "data": job.data.name,
        "store": job.data.store.key,
        "split": job.data.hash,
        "eyesight": job.run.environment["eyesight"],
    }
    colours = job.data.facts().get("colours")
    if colours:
        facts["colours"] = colours
    return facts


def check_same(trained: Classifier, loaded: Classifier, images: Images) -> None:
    """Raise UserError when the classifier on disk answers differently from the one in memory."""
    number = min(CHECKED, images.chunk, len(images))
    few = images.take(torch.arange(number))
    if not torch.allclose(trained.forward(few), loaded.forward(few), atol=1e-5):
        raise UserError(
            "the saved classifier and the trained one predict differently",
            "the disk may be failing; train again on another disk",
        )


def result_event(job: Job, network: Network, test: Results) -> Result:
    """The last event of a run: test scores, costs, seconds by part, results of each stage."""
    rows = layers(network, job.data.train.shape)
    event: Result = {
        "event": "done",
        "at": now(),
        "test": test.summary(),
        "parameters": count(network),
        "seconds": seconds_by_part(job),
        "trained": trained(job.run),
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }
    key = tasks.of(job.recipe).measure.key
    stages = stage_results(job.run.epochs, job.recipe.training, key)
    if stages:
        event["stages"] = stages
    return event


def trained(run: Run) -> list[Used]:
    """What each stage really used, in their order; the last word on a stage that was continued."""
    stages: dict[int, Used] = {}
    for event in run.log:
        if event.get("event") == "trained":
            facts = {key: value for key, value in event.items() if key not in ("event", "time")}
            stages[event.get("stage", 1)] = cast(Used, facts)
    return [stages[number] for number in sorted(stages)]


def seconds_by_part(job: Job) -> dict[str, float]:
    """Seconds of each part, "total", and "before" for epochs before an interruption."""
    clock, log = job.context.clock, job.run.log
    seconds = {part: round(spent, 3) for part, spent in clock.seconds.items()}
    seconds["total"] = round(clock.elapsed(), 3)
    starts = [place for place, event in enumerate(log) if event.get("event") == "start"]
    earlier = [event for event in log[: max(starts)] if event.get("event") == "epoch"]
    before = round(sum(event["seconds"] for event in earlier), 3)
    if before:
        seconds["before"] = before
    return seconds


def evaluate(run: Run, where: str, *, talk: Talk = silent) -> Results:
    """The predictions of a run's classifier for the labelled images at `where`.

    For their test part, where they have one.
    """
    loaded = classifier.load(run.classifier_path)
    if where == run.recipe.data.source:  # its own images: only those it has not learnt from
        settled = transfer.resolve_preprocessing(run.settled)
        own = dataset.load(settled.data, preparation=loaded.several_parts, talk=talk)
        return loaded.infer(own.test)
    other = replace(run.recipe.data, source=where)
    return loaded.infer(
        dataset.evaluation_images(other, loaded.preparation, loaded.classes, talk=talk)
    )
