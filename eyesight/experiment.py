"""Recipe in, run out. READ THIS FIRST: it is the whole of a training, from files to a classifier that was checked.

The test pictures are looked at once, at the end, by the classifier as it was saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from eyesight import classifier, tasks
from eyesight.classifier import Classifier, Facts, Views
from eyesight.data import dataset
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.distributed import group as distributed
from eyesight.distributed import launch
from eyesight.distributed.group import Group
from eyesight.errors import UserError
from eyesight.models import registry, weights
from eyesight.models.layers import Network
from eyesight.models.summary import count, layers
from eyesight.recipe import Recipe, differences, from_dict, to_dict
from eyesight.results.predictions import write_arrays
from eyesight.runs import Run, now
from eyesight.system import memory
from eyesight.system.environment import environment
from eyesight.system.progress import Talk, silent
from eyesight.training import extra_data, initialise, precision, transfer
from eyesight.training.checkpoint import State, best_epoch, out_of_patience
from eyesight.training.clock import Clock, Meter
from eyesight.training.loop import Epoch, fit, plan
from eyesight.training.resume import checkpoint, remove_checkpoint, unfinished
from eyesight.training.transfer import Plan, Stage

SAVING = {
    "class": 6.0,
    "picture": 6.0,
    "mask": 10.0,
}  # seconds of a budget kept for saving and report, a third at most
DEAR = (
    1 / 40
)  # of a budget: where looking at the held-out pictures costs more in float32, it is done in bfloat16
MOST_KEPT = (
    0.6  # of a budget at most is kept for the end, however slow the machine seems at the start
)
CHECKED = 64  # pictures on which a saved classifier must say what the one in memory says
TOO_DEAR = 1 / 8  # of a budget: where even that costs more, fewer views are averaged
FEWER: dict[Views, Views] = {"flip_shifts": "flip", "flip": "one", "shifts": "one"}
SAVE_EVERY = (
    2.0  # seconds between checkpoints at least, so that short epochs are not spent on writing
)


@dataclass(frozen=True)
class Follow:
    """How the caller follows a training: a meter to look at, each epoch told, progress of the features that are computed once."""

    meter: Meter
    tell: Callable[[Epoch], None]
    features: dataset.Progress
    group: Group


@dataclass
class Watch:
    """Seconds spent by part: "data", "training", "evaluation"."""

    seconds: dict[str, float]
    since: float

    def lap(self, part: str) -> None:
        """Book the time since the last lap under `part`."""
        now = time.monotonic()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + now - self.since, 3)
        self.since = now


def train(
    recipe: Recipe,
    out: Path = Path("runs"),
    *,
    resume: bool = False,
    clock: Clock | None = None,
    meter: Meter | None = None,
    talk: Talk = silent,
    tell: Callable[[Epoch], None] = lambda epoch: None,
    progress: dataset.Progress = lambda done, total: None,
    features: dataset.Progress = lambda done, total: None,
    group: Group | None = None,
) -> Run:
    """Train `recipe` and leave a run in `out`; with `resume`, go on with the newest unfinished run of the same recipe.

    In a group every process calls this alike, and only the first one's run stays.

    Raises UserError for whatever a person can mend; a run that got as far as having a folder then says so in its log.
    """
    memory.keep()
    clock = clock or Clock(time.monotonic())
    clock.budget = recipe.training.budget
    watch, group = Watch({}, clock.started), group or Group()
    group.same(
        lambda: {
            **distributed.versions(),
            "recipe": {path: str(value) for path, value in differences(recipe, Recipe()).items()},
        }
    )
    asked, recipe = recipe, from_dict(group.once(lambda: to_dict(transfer.suited(recipe, talk))))
    data = group.in_turn(lambda: dataset.load(recipe.data, talk=talk, progress=progress))
    group.same(lambda: {"set of pictures": data.store.key, "split": data.hash})
    path = Path(
        group.once(
            lambda: str(
                (
                    (unfinished(asked, data, out, talk) if resume else None)
                    or begin(asked, data, out)
                ).path
            )
        )
    )
    if clock.budget is not None and clock.elapsed() > clock.budget / 2:
        talk(
            f"{clock.elapsed():.0f} of {clock.budget:.0f} s have passed before anything is trained; next time the pictures are prepared"
        )
    for note in [*left_out(data), *data.notes]:
        talk(note)
    with group.folder(path) as folder, (run := Run(folder)).hold():
        try:
            return _train(
                run,
                recipe,
                data,
                clock,
                watch,
                talk,
                Follow(meter or Meter(), tell, features, group),
            )
        except UserError as error:
            run.append({"event": "failed", "message": error.message, "hint": error.hint})
            raise


def left_out(data: Dataset, most: int = 20) -> list[str]:
    """A line for each file that is left out, at most `most` of them, and one for the rest."""
    bad = [problem for problem in data.store.problems if problem.fatal]
    lines = [f"left out {problem.id}: {problem.kind}, {problem.detail}" for problem in bad[:most]]
    return lines + [
        f"left out {len(bad) - most:,} more: `eyesight data {data.name}` names them"
    ] * (len(bad) > most)


def begin(recipe: Recipe, data: Dataset, out: Path) -> Run:
    """A new run folder that knows its recipe and its data."""
    run = Run.create(out, recipe.name or recipe.model.name)
    run.write_json("data.json", data.facts())
    run.write_json("recipe.json", to_dict(recipe))
    return run


def _train(
    run: Run, recipe: Recipe, data: Dataset, clock: Clock, watch: Watch, talk: Talk, follow: Follow
) -> Run:
    device, group = torch.device("cuda" if torch.cuda.is_available() else "cpu"), follow.group
    network, known = initialise.ready(recipe, data, device), dict[str, Any]()
    if registry.is_backbone(recipe.model):
        known = {
            "weights": group.in_turn(
                lambda: weights.fill(network, recipe.model, data.store.classes, talk=talk)
            )
        }
    group.alike(network)
    known |= {"processes": group.size} if group.size > 1 else {}
    settled = {key: value for key, value in run.environment.items() if key.startswith("precision")}
    machine = environment(
        threads=torch.get_num_threads(),
        device=str(device),
        seed=recipe.training.seed,
        **known,
        **settled,
    )
    run.write_json("environment.json", machine | {"chosen": differences(recipe, run.recipe)})
    run.append({"event": "start", "at": now(), "recipe": recipe.name, "parameters": count(network)})
    arithmetic = "float32"
    if clock.budget is not None:
        talk(
            f"trying how long {len(data.test) + len(data.validation):,} held-out pictures will take in the end"
        )
        arithmetic, views, looking = group.once(lambda: list(affordable(network, data, recipe)))
        if views != recipe.training.views:
            talk(
                f"a budget of {clock.budget:.0f} s has no time to average over the views {recipe.training.views}: {views} instead"
            )
            recipe = replace(recipe, training=replace(recipe.training, views=views))
        clock.reserve = min(
            min(SAVING[recipe.data.target], clock.budget / 3) + looking / group.size,
            MOST_KEPT * clock.budget,
        )
    run.checkpoint_path.mkdir(exist_ok=True)
    begun = max((number for number in (1, 2) if checkpoint(run, number).exists()), default=1)
    watch.lap("data")
    for stage in transfer.stages(
        Plan(recipe, network, data, clock, talk, follow.features, group), begun
    ):
        if stage.network is not network:
            watch.lap("features")
        train_stage(run, stage, clock, talk, follow)
        watch.lap("training")
    talk(
        f"looking once at the held-out pictures: {len(data.validation):,} for validation, {len(data.test):,} for test"
    )
    finish(run, recipe, data, network, watch, clock, arithmetic, group)
    return run


def train_stage(run: Run, stage: Stage, clock: Clock, talk: Talk, follow: Follow) -> None:
    """Train one stage (most recipes have no other) from its checkpoint if there is one, an epoch of the log at a time."""
    recipe, file = stage.recipe, checkpoint(run, stage.number)
    earlier = [epoch for epoch in run.epochs if epoch.get("stage", 1) < stage.number]
    before = max((epoch["epoch"] for epoch in earlier), default=0)
    state = State.start(stage.network, recipe)
    if earlier:
        state.defend(best_of(earlier, recipe))
    if file.exists():
        state.restore(file)
        talk(f"going on with {run.path} after epoch {before + state.epoch}")
    saved = time.monotonic()
    arithmetic = settle_precision(run, stage, follow.group, talk)
    batch, epochs = plan(recipe.training, len(stage.train))
    if (batch, epochs) != (recipe.training.batch, recipe.training.epochs) and clock.budget is None:
        wanted = (
            f", to take {recipe.training.min_steps} steps"
            if epochs > recipe.training.epochs
            else ""
        )
        talk(
            f"few pictures: batches of {batch} and {epochs} passes over them{wanted} (training.min_steps)"
        )
    if stage.number == 1 and registry.is_backbone(recipe.model):
        transfer.be_kind(clock)  # as late as can be: all that came before has had its time
    options: dict[str, Any] = {
        "precision": arithmetic,
        "clock": clock,
        "meter": follow.meter,
        "group": follow.group,
    }
    for epoch in fit(state, stage.train, stage.validation, recipe, **options):
        done = replace(
            epoch,
            epoch=before + epoch.epoch,
            progress=round((stage.number - 1 + epoch.progress) / stage.count, 6),
        )
        run.append({**done.event(), **({"stage": stage.number} if stage.count > 1 else {})})
        follow.tell(done)
        if out_of_patience(state.history, recipe.training):
            talk(f"stopped early: no improvement in {recipe.training.patience} epochs")
            break
        if (
            (time.monotonic() - saved > SAVE_EVERY or not file.exists())
            and state.progress < 1
            and follow.group.first
        ):
            state.save(file)
            saved = time.monotonic()
    state.finish(recipe.training)


def best_of(epochs: list[dict[str, Any]], recipe: Recipe) -> dict[str, Any]:
    """What was monitored in the best of some epochs of a log."""
    part = "train" if epochs[0]["validation_loss"] is None else "validation"
    names = {"loss": "loss", "score": tasks.of(recipe).measure.key}
    history = [{name: epoch[f"{part}_{key}"] for name, key in names.items()} for epoch in epochs]
    return history[best_epoch(history, recipe.training) - 1]


def settle_precision(run: Run, stage: Stage, group: Group, talk: Talk) -> str:
    """The arithmetic of a stage, as it was when the run began."""
    key, machine = "precision" if stage.number == 1 else f"precision{stage.number}", run.environment
    if key not in machine:
        training, model = stage.recipe.training, stage.recipe.model
        machine[key] = group.once(
            lambda: precision.choose(
                training.precision, stage.network, model, training.batch, talk=talk
            )
        )
        run.write_json("environment.json", machine)
    return str(machine[key])


def affordable(network: Network, data: Dataset, recipe: Recipe) -> tuple[str, Views, float]:
    """The arithmetic and the views of the last look at the held-out pictures, and its seconds.

    float32 and all the recipe's views, but bfloat16 and then fewer views where the look would eat much of a budget.
    """
    views, budget = recipe.training.views, recipe.training.budget
    while True:
        arithmetic, seconds = "float32", evaluation_seconds(network, data, views, "float32")
        if (
            budget is not None
            and seconds > budget * DEAR
            and recipe.training.precision != "float32"
        ):
            rough = evaluation_seconds(network, data, views, "bfloat16")
            arithmetic, seconds = ("bfloat16", rough) if rough < seconds else (arithmetic, seconds)
        if views == "one" or budget is None or seconds <= budget * TOO_DEAR:
            return arithmetic, views, seconds
        views = FEWER[views]


def evaluation_seconds(network: Network, data: Dataset, views: Views, arithmetic: str) -> float:
    """How long the last looks at validation and test pictures will take, by a try on a few; half as much again for safety."""
    few = data.train.take(
        torch.arange(
            min(64 if max(data.train.shape[1:]) <= 64 else 16, data.train.portion, len(data.train))
        )
    )
    tries = []
    for _ in range(3):  # the fastest: a machine that is busy for a moment must not eat the budget
        began = time.monotonic()
        classifier.probabilities(network, few, views, arithmetic).cpu()
        tries.append(time.monotonic() - began)
    once_more = {"one": 0.0, "flip": 1 / 2, "shifts": 1 / 5, "flip_shifts": 1 / 6}[
        views
    ]  # the test pictures without averaging
    return (
        1.5
        * min(tries)
        * ((1 + once_more) * len(data.test) + 2 * len(data.validation) + 2 * CHECKED)
        / len(few)
    )


def finish(
    run: Run,
    recipe: Recipe,
    data: Dataset,
    network: Network,
    watch: Watch,
    clock: Clock,
    arithmetic: str,
    group: Group,
) -> None:
    """Save the classifier, load it again, let that one look at the held-out pictures once, and write everything down."""
    views, noise = (
        recipe.training.views,
        recipe.augment.noise if recipe.data.target == "picture" else 0.0,
    )
    kept = Classifier(
        network.eval(),
        recipe.model,
        data.train.classes,
        data.store.preparation,
        views,
        facts(run, data),
        noise,
    )
    kept.save(run.classifier_path)
    loaded = classifier.load(run.classifier_path, network.normalise.mean.device)
    check_same(kept, loaded, data.train)
    loaded.arithmetic = arithmetic
    validation, test = group.infer(loaded, data.validation), group.infer(loaded, data.test)
    plain = group.infer(replace(loaded, views="one"), data.test) if loaded.views != "one" else None
    if not group.first:
        return
    launch.need_no_other()
    if len(validation):
        validation.save(run.path / "validation.npz")
    test.save(run.path / "predictions.npz")
    write_arrays(
        run.path / "gallery.npz",
        **loaded.task.gallery(data.train, data.test, test, loaded.forward, noise),
    )
    watch.lap("evaluation")
    seconds = {**watch.seconds, "total": round(clock.elapsed(), 3)}
    began = max(place for place, event in enumerate(run.log) if event.get("event") == "start")
    before = round(
        sum(event["seconds"] for event in run.log[:began] if event.get("event") == "epoch"), 3
    )
    seconds |= {"before": before} if before else {}
    event = {
        "event": "done",
        "at": now(),
        "test": test.summary(),
        "parameters": count(network),
        "seconds": seconds,
        "arithmetic": arithmetic,
    }
    event["multiply_adds"] = sum(row.multiply_adds for row in layers(network, data.train.shape))
    if len(validation):
        event["validation"] = validation.summary()
    if found := stage_results(run, recipe):
        event["stages"] = found
    if plain is not None:
        event["test_one_view"] = plain.summary()
    if data.own is not None:
        event["own"] = extra_data.compared(run, loaded, data.own)
    run.append(event)
    remove_checkpoint(run)


def stage_results(run: Run, recipe: Recipe) -> list[dict[str, Any]]:
    """What each stage of a staged training reached by itself: epochs, seconds, and its best epoch; nothing for a single stage."""
    found = []
    for number in sorted({epoch["stage"] for epoch in run.epochs if "stage" in epoch}):
        epochs = [epoch for epoch in run.epochs if epoch.get("stage") == number]
        part = "train" if epochs[0]["validation_loss"] is None else "validation"
        key = tasks.of(recipe).measure.key
        best = {
            f"{part}_{name.replace('score', key)}": value
            for name, value in best_of(epochs, recipe).items()
        }
        found.append(
            {
                "stage": number,
                "epochs": len(epochs),
                "seconds": round(sum(epoch["seconds"] for epoch in epochs), 3),
                **best,
            }
        )
    return found


def facts(run: Run, data: Dataset) -> Facts:
    """What a classifier should be able to say of where it comes from."""
    facts: Facts = {
        "run": run.name,
        "data": data.name,
        "store": data.store.key,
        "split": data.hash,
        "eyesight": run.environment["eyesight"],
    }
    colours = data.facts().get("colours")
    if colours:
        facts["colours"] = colours
    return facts


def check_same(kept: Classifier, loaded: Classifier, images: Images) -> None:
    """Raise UserError when the classifier read back from disk does not say what the one in memory says."""
    few = images.take(torch.arange(min(CHECKED, images.portion, len(images))))
    if not torch.allclose(kept.forward(few), loaded.forward(few), atol=1e-5):
        raise UserError(
            "the saved classifier does not say what the trained one says",
            "the disk may be failing; train again elsewhere",
        )


def evaluate(run: Run, where: str, *, talk: Talk = silent) -> Any:
    """What a run's classifier says about the labelled pictures at `where`, their test part where they have one."""
    loaded = classifier.load(run.classifier_path)
    if where == run.recipe.data.source:  # its own pictures: only those it has not learnt from
        return loaded.infer(dataset.load(transfer.suited(run.settled).data, talk=talk).test)
    wanted = replace(run.recipe.data, source=where)
    return loaded.infer(dataset.to_judge_by(wanted, loaded.preparation, loaded.classes, talk=talk))
