"""Cross-validation: a training for each fold, and a run that averages them.

Every image outside the test set is predicted once, by the model that was not trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eyesight import classifier, experiment
from eyesight.comparison import compare
from eyesight.data import dataset
from eyesight.data.prepare import together
from eyesight.ensemble import blend
from eyesight.ensemble.blend import Joined
from eyesight.errors import UserError
from eyesight.exporting import export
from eyesight.recipe import BLEND, Recipe
from eyesight.results.calibration import (
    LEAST,
    UNDETECTED,
    UNRESERVED,
    Calibration,
    choose_temperature,
)
from eyesight.results.folds import FoldsRecord, out_of_fold
from eyesight.results.predictions import Predictions
from eyesight.runs import Run, list_runs, now
from eyesight.system.progress import Reporter
from eyesight.training import transfer
from eyesight.training.budget import Evaluation
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.training.resume import is_unended
from eyesight.views import joined as joined_views

AVERAGE_SHARE = 0.25  # of a budget: averaging the folds, exporting and checking the average
SMALLEST = 1e-6  # a probability whose logarithm is taken
OUT_OF_FOLD = "out_of_fold"  # the file of predictions, as `Run.predictions` calls it


def train_folds(recipe: Recipe, count: int, out: Path, reporter: Reporter) -> Run:
    """Train `recipe` on each of `count` folds and return the run that averages them.

    Three quarters of a budget are divided between them; the rest is for their average. A repeated
    call reuses finished folds and resumes an unfinished one. Raises the errors of a training.
    """
    recipes = fold_recipes(recipe, count)
    ways = [compare.preparation(one) for one in recipes]
    stores = compare.prepare(ways, reporter.message, reporter.counter("preparing images"))
    runs = []
    for number, one in enumerate(recipes, 1):
        reporter.message(f"fold {number} of {count}")
        runs.append(train_fold(one, out, stores, reporter))
    return average(runs, out, Context(reporter, Clock()))


def fold_recipes(recipe: Recipe, count: int) -> list[Recipe]:
    """The recipe of every fold, each with its share of a budget."""
    if recipe.data.target != "class":
        raise UserError(
            f"--folds needs class labels, but this recipe predicts a {recipe.data.target}",
            "leave --folds out",
            code=2,
        )
    if recipe.data.fold:
        raise UserError(
            f"data.fold={recipe.data.fold} selects one fold, but --folds trains all",
            "leave out one of the two",
            code=2,
        )
    training = recipe.training
    if training.budget is not None:
        training = replace(training, budget=(1 - AVERAGE_SHARE) * training.budget / count)
    recipes = []
    for number in range(1, count + 1):
        data = replace(recipe.data, fold=f"{number}/{count}")
        recipes.append(replace(recipe, data=data, training=training))
    return recipes


def train_fold(recipe: Recipe, out: Path, stores: compare.Stores, reporter: Reporter) -> Run:
    """The run of a fold: a finished one in `out`, or trained now."""
    member = compare.Member(recipe.data.fold, recipe)
    outcome = compare.at_hand(member, out, stores)
    if isinstance(outcome, Run):
        reporter.message(f"{outcome.path} is already trained")
        return outcome
    if outcome is not None:
        raise UserError(
            f"fold {recipe.data.fold}: {outcome}", "wait for it to finish, then try again"
        )
    interrupted = any(is_unended(run, report=False) for run in list_runs(out))
    return experiment.run(recipe, out, Context(reporter, Clock(), resume=interrupted))


def average(runs: Sequence[Run], out: Path, context: Context) -> Run:
    """The run whose classifier averages those of the folds, with the predictions out of fold."""
    judged = out_of_fold([run.predictions("validation") for run in runs])
    classifiers = [classifier.load(run.classifier_path) for run in runs]
    whole = together([loaded.preparation for loaded in classifiers])
    data = transfer.resolve_preprocessing(runs[0].settled).data
    data = replace(data, fold="", validation=0.0, extra="")
    several = whole if whole.parts else None
    images = dataset.load(data, preparation=several, talk=context.reporter.message)
    joined = Joined(list(runs), classifiers, images, blend.blend_recipe(runs, data))
    made = blend.begin(joined, out)
    with made.attempt():
        spent = sum(blend.seconds(run) for run in runs)
        context.clock.started -= spent  # it costs what its folds cost
        context.clock.seconds["training"] = spent
        made.append({"event": "start", "at": now(), "recipe": BLEND})
        judged.save(made.path / f"{OUT_OF_FOLD}.npz")
        scores = [run.predictions("validation").summary()["top1"] or 0.0 for run in runs]
        facts: FoldsRecord = {
            "runs": [str(run.path) for run in runs],
            "scores": scores,
            "mean": float(np.mean(scores)),
            "sd": float(np.std(scores, ddof=1)),
            "out_of_fold": judged.summary(),
        }
        made.write_json(joined_views.FOLDS, facts)
        network = blend.network_of(joined, (1 / len(runs),) * len(runs))
        job = experiment.Job(made, joined.recipe, images, context, out_of_fold_temperature(judged))
        experiment.finish(job, network, Evaluation("float32", "one"))
        export.export_all(made, talk=context.reporter.message)
    return made


def out_of_fold_temperature(judged: Predictions) -> Calibration:
    """The calibration of the average: the temperature that suits the answers out of fold.

    Each is of one member alone. The average of several is less certain than they are, so that its
    confidence is too low rather than too high.
    """
    labelled = judged.labelled()
    logits = np.log(np.maximum(labelled.probabilities, SMALLEST))
    temperature = choose_temperature(logits, labelled.labels)
    images = len(labelled) if len(labelled) >= LEAST else 0
    note = "the temperature was fitted on answers out of fold, each of one member alone"
    if not images:
        note = f"fewer than {LEAST} labelled images: confidence is not calibrated"
    note += f"; {UNRESERVED}: no prediction sets, and {UNDETECTED}"
    reasons = {"sets": UNRESERVED, "unlike": UNRESERVED}
    return Calibration(temperature, images, note=note, reasons=reasons)
