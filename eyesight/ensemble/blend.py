"""Blend runs into a run whose classifier averages theirs.

Weights are chosen on the validation images that also chose the members' epochs; the remaining
validation images calibrate the prediction sets. The test images are evaluated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from eyesight import classifier, experiment
from eyesight.classifier import Classifier
from eyesight.comparison import statistics
from eyesight.data import dataset
from eyesight.data.dataset import Dataset, base_hash
from eyesight.data.prepare import Preparation, together
from eyesight.errors import UserError, listed
from eyesight.exporting import export
from eyesight.models.blend import Blend, Member, Mixture
from eyesight.recipe import BLEND, Data, Model, Recipe
from eyesight.results import blending, metrics
from eyesight.results.blending import BlendRecord, Gain, MemberRecord, Selection, Space
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, now
from eyesight.system.device import default_device
from eyesight.system.environment import environment
from eyesight.system.progress import Reporter
from eyesight.training import budget, calibrate, transfer
from eyesight.training.budget import Evaluation
from eyesight.training.context import Context
from eyesight.views import joined as joined_views

RunLike: TypeAlias = "str | Path | Run"
SHOWN = 3  # class names in an error
SPACE: Space = "probability"  # "log" is not compared yet


@dataclass(frozen=True, eq=False)
class Joined:
    """The runs to be blended, their classifiers, and their common images."""

    runs: list[Run]
    classifiers: list[Classifier]
    data: Dataset
    recipe: Recipe


@dataclass(frozen=True, eq=False)
class Planned:
    """A blend before it has a run: its members, its network and its record."""

    joined: Joined
    network: Blend
    record: BlendRecord


def blend(
    *runs: RunLike, out: str | Path = "runs", equal: bool = False, verbose: bool = True
) -> Run:
    """Blend trained runs into a new run whose classifier averages theirs, and return it.

    The weights are chosen on the validation images by greedy selection (Caruana et al. 2004). The
    classifier is calibrated and exported as one ONNX file. The result is an ordinary run.

    Parameters
    ----------
    runs
        Finished runs with the same classes and the same split of the same images, from any
        recipes; each member uses its own image size and preparation.
    out
        The folder in which the run folder is created.
    equal
        Give all members the same weight.
    verbose
        Report progress.

    Raises
    ------
    UserError
        For fewer than two runs, for runs that are unfinished or not classifiers, and if one run's
        validation images are training images of another.
    """
    from eyesight.views.live import reporter

    own = reporter(verbose=verbose)
    return join([_opened(run) for run in runs], Path(out), Context(own), equal=equal)


def _opened(run: RunLike) -> Run:
    if isinstance(run, Run):
        return run
    return Run.open(run)


def join(runs: Sequence[Run], out: Path, context: Context, *, equal: bool = False) -> Run:
    """Blend finished runs into a new run in `out`; raises UserError like `blend`."""
    check(runs)
    joined = open_members(runs, context.reporter)
    selection = choose(joined, equal=equal)
    network = network_of(joined, weights_of(joined, selection))
    record = record_of(joined, selection)
    made = begin(joined, out)
    with made.attempt():
        finish(Planned(joined, network, record), made, context)
    return made


def check(runs: Sequence[Run]) -> None:
    """Raise UserError unless the runs are finished and have the same classes and split.

    No weights are loaded.
    """
    different = len({run.path.resolve() for run in runs})
    if different < 2:
        raise UserError(
            f"a blend needs at least two different runs, not {different}",
            "eyesight blend runs/0001-digits runs/0002-lenet5",
            code=2,
        )
    first = runs[0]
    for run in runs:
        if run.target != "class":
            raise UserError(
                f"{run.path} predicts a {run.target}, but only class predictions can be blended",
                "name runs of classifiers",
            )
        if run.status != "done":
            raise UserError(f"{run.path} is {run.status}", run.way_on)
        check_alike(first, run)


def check_alike(first: Run, other: Run) -> None:
    """Raise UserError if two runs have different classes or validation images."""
    names, others = first.data.get("classes"), other.data.get("classes")
    if names != others:
        raise UserError(
            f"{other.path} has different classes than {first.path}: "
            f"{listed(list(others or ()), SHOWN)} instead of {listed(list(names or ()), SHOWN)}",
            "blend runs on the same data",
        )
    if base_hash(str(first.data.get("split"))) != base_hash(str(other.data.get("split"))):
        raise UserError(
            f"{other.path} and {first.path} have different splits: validation or test images of "
            "one may be training images of the other",
            "train both on the same data with the same data.validation, data.test, "
            "data.split_seed and data.fold, for example --set data.validation=0.1",
        )
    if first.settled.data.box != other.settled.data.box:
        raise UserError(
            f"only one of {other.path} and {first.path} crops images to their boxes",
            "train both with the same data.box",
        )


def open_members(runs: Sequence[Run], reporter: Reporter) -> Joined:
    """The members' classifiers, and the images as prepared for each of them."""
    classifiers = [classifier.load(run.classifier_path) for run in runs]
    preparation = together([loaded.preparation for loaded in classifiers])
    data = transfer.resolve_preprocessing(runs[0].settled).data
    data = replace(data, extra="")
    several = preparation if preparation.parts else None
    reporter.message(f"preparing the images for {len(runs)} classifiers")
    images = dataset.load(
        data, preparation=several, talk=reporter.message, progress=reporter.counter("preparing")
    )
    if base_hash(images.hash) != base_hash(str(runs[0].data.get("split"))):
        raise UserError(
            f"the images at {data.source} have changed since {runs[0].path} was trained",
            "restore the images, or train the runs again",
        )
    images = judged_by(runs[0], images)
    return Joined(list(runs), classifiers, images, blend_recipe(runs, data))


def judged_by(run: Run, images: Dataset) -> Dataset:
    """The data with the validation images that the run used; a short budget leaves some out."""
    count = run.environment.get("validation_images")
    return budget.used_validation(images, count)


def blend_recipe(runs: Sequence[Run], data: Data) -> Recipe:
    """The recipe stored in the run of a blend."""
    names = listed([run.name for run in runs], 10)
    return Recipe(name=BLEND, summary=f"the mean of {names}", data=data, model=Model(BLEND))


def choose(joined: Joined, *, equal: bool) -> Selection | None:
    """The weights chosen on the validation images; None for equal weights."""
    if equal or not len(joined.data.validation):
        return None
    answers = [aligned(run.predictions("validation"), joined) for run in joined.runs]
    rows, _ = calibrate.divided(len(joined.data.validation))
    labels = joined.data.validation.labels.numpy()[rows]
    return blending.select([values[rows] for values in answers], labels, SPACE)


def aligned(predictions: Predictions, joined: Joined) -> npt.NDArray[np.float32]:
    """Probabilities N,K in the order of the validation images.

    Raises UserError if a run has no prediction for one of them.
    """
    place = {name: row for row, name in enumerate(predictions.ids)}
    ids = joined.data.validation.ids
    missing = [name for name in ids if name not in place]
    if missing:
        raise UserError(
            f"a run has no prediction for the validation image {missing[0]}",
            "train it again, with the same budget as the others: a short budget leaves some out",
        )
    return predictions.probabilities[[place[name] for name in ids]]


def begin(joined: Joined, out: Path) -> Run:
    """Create the run folder with recipe, data and environment."""
    made = experiment.begin(joined.recipe, joined.data, out)
    threads = torch.get_num_threads()
    members = [str(run.path) for run in joined.runs]
    device = str(default_device())
    made.write_json("environment.json", environment(threads=threads, device=device, blend=members))
    return made


def finish(planned: Planned, made: Run, context: Context) -> None:
    """Evaluate, calibrate, save and export the blend, and record its gain."""
    joined, record = planned.joined, planned.record
    clock = context.clock
    before = sum(seconds(run) for run in joined.runs)
    clock.started -= before  # a blend costs what its members cost
    clock.seconds["training"] = before
    made.append({"event": "start", "at": now(), "recipe": BLEND, "command": command(joined)})
    job = experiment.Job(made, joined.recipe, joined.data, context)
    made.write_json(joined_views.BLEND, record.to_dict())
    experiment.finish(job, planned.network, Evaluation("float32", "one"))
    best = Run(record.best)
    made.write_json(
        joined_views.BLEND, replace(record, gain=gain(made, best, joined.data)).to_dict()
    )
    export.export_all(made, talk=context.reporter.message)


def seconds(run: Run) -> float:
    """The total time of a run, before and after an interruption."""
    spent = run.result.get("seconds") or {}
    return float(spent.get("total") or 0) + float(spent.get("before") or 0)


def command(joined: Joined) -> str:
    """The command that reproduces this blend."""
    return " ".join(["eyesight blend", *(str(run.path) for run in joined.runs)])


def weights_of(joined: Joined, selection: Selection | None) -> tuple[float, ...]:
    """The weight of every member."""
    if selection is None:
        return (1 / len(joined.runs),) * len(joined.runs)
    return selection.weights


def network_of(joined: Joined, weights: Sequence[float]) -> Blend:
    """The blend of the members with a weight."""
    whole = joined.data.store.preparation
    members = []
    trained = []
    for run, loaded, weight in zip(joined.runs, joined.classifiers, weights, strict=True):
        if weight:
            members.append(member_of(run, loaded, weight, whole))
            trained.append(loaded.network)
    made = Blend(whole.shape, Mixture(SPACE, tuple(members)), trained)
    return made.eval()


def member_of(run: Run, loaded: Classifier, weight: float, whole: Preparation) -> Member:
    """The record of a member in a blend."""
    mixture = None
    if isinstance(loaded.network, Blend):
        mixture = loaded.network.mixture
    return Member(
        run.name,
        loaded.model,
        loaded.network.shape,
        top_of(loaded.preparation, whole),
        loaded.views,
        loaded.calibration.temperature,
        weight,
        str(classifier.read_description(run.classifier_path).get("code_sha256", "")),
        mixture,
    )


def top_of(part: Preparation, whole: Preparation) -> int:
    """The first row of a part's image in the stacked image."""
    if not whole.parts:
        return 0
    above = whole.parts[: whole.parts.index(part)]
    return sum(other.shape[1] for other in above)


def record_of(joined: Joined, selection: Selection | None) -> BlendRecord:
    """The record of the blend before it is evaluated."""
    weights = weights_of(joined, selection)
    alone = [validation_accuracy(run, joined) for run in joined.runs]
    best = selection.best if selection else int(np.argmax([value or 0 for value in alone]))
    members = []
    for run, weight, accuracy in zip(joined.runs, weights, alone, strict=True):
        test = (run.result.get("test") or {}).get("top1")
        members.append(MemberRecord(str(run.path), run.name, weight, accuracy, test))
    notes = []
    if selection is None:
        notes.append("all members have the same weight, because there are no validation images")
    return BlendRecord(
        tuple(members),
        str(joined.runs[best].path),
        SPACE,
        selection.images if selection else 0,
        selection.accuracy if selection else None,
        None,
        tuple(notes),
    )


def validation_accuracy(run: Run, joined: Joined) -> float | None:
    """A member's accuracy on the validation images that choose the weights."""
    if not len(joined.data.validation):
        return None
    rows, _ = calibrate.divided(len(joined.data.validation))
    labels = joined.data.validation.labels.numpy()[rows]
    answers = aligned(run.predictions("validation"), joined)[rows]
    return float(metrics.correct(answers, labels).mean())


def gain(made: Run, best: Run, data: Dataset) -> Gain | None:
    """The gain of the blend over its best member, on images that were not used to choose.

    These are the test images, otherwise the validation images that calibrate the prediction sets;
    None without either.
    """
    pairs = [statistics.judge(run) for run in (made, best)]
    if pairs[0] is not None and pairs[1] is not None and pairs[0].key == pairs[1].key:
        first, second = (np.asarray(judged.scores, dtype=np.bool_) for judged in pairs if judged)
        return _gain(first, second, "test images")
    _, rows = calibrate.divided(len(data.validation))
    if not len(rows):
        return None
    scores = []
    for run in (made, best):
        predictions = run.predictions("validation")
        place = {name: row for row, name in enumerate(predictions.ids)}
        chosen = [place[data.validation.ids[row]] for row in rows.tolist()]
        scores.append(predictions.subset(np.array(chosen)).scores())
    return _gain(scores[0], scores[1], "validation images that were not used to choose")


def _gain(
    blend_scores: npt.NDArray[np.bool_], best_scores: npt.NDArray[np.bool_], origin: str
) -> Gain:
    tested = metrics.mc_nemar(blend_scores, best_scores)
    return Gain(
        len(blend_scores),
        origin,
        float(blend_scores.mean()),
        float(best_scores.mean()),
        tested.only_first,
        tested.only_second,
        tested.p,
    )
