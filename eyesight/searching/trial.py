"""One trial: a recipe trained for a short time on a part of the images, and judged on others.

The last epoch is kept. The learning rate falls to its floor within the trial, as it will within the
whole time, so that a trial is a training in small.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eyesight import classifier
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.errors import UserError
from eyesight.models import registry, weights
from eyesight.models.backbone import Backbone
from eyesight.models.layers import Network
from eyesight.models.views import Views
from eyesight.recipe import Recipe
from eyesight.results.predictions import read_arrays, write_arrays
from eyesight.results.searching import Hits
from eyesight.searching.candidates import Candidate
from eyesight.searching.parts import Division, Parts
from eyesight.system.device import default_device
from eyesight.system.digest import value_sha256
from eyesight.training import budget, initialise, precision, transfer, width
from eyesight.training.checkpoint import State
from eyesight.training.clock import Clock
from eyesight.training.context import Context
from eyesight.training.features import Activations
from eyesight.training.history import Monitored
from eyesight.training.loop import fit, plan
from eyesight.training.transfer import Stage

FEW = 16  # images
NOTHING = Monitored(loss=float("inf"), score=0.0)


@dataclass(frozen=True, eq=False)
class Trial:
    """A finished trial of a candidate, or why it has none of its answers."""

    candidate: Candidate
    round: int
    budget: float  # seconds
    seconds: float
    choosing: Hits  # whether each image was classified correctly; empty where it failed
    apart: Hits
    failure: str = ""

    @property
    def score(self) -> float | None:
        """The accuracy on the images that choose; None where it failed or was not tried."""
        if self.failure or not len(self.choosing):
            return None
        return float(self.choosing.mean())


def attempt(
    candidate: Candidate,
    number: int,
    seconds: float,
    division: Division,
    *,
    however_slow: bool = True,
) -> Trial:
    """Train the candidate for about `seconds`, judge it, and say what it took.

    Unless it is to be tried `however_slow`, it fails where judging it would leave no time.
    """
    began = time.monotonic()
    try:
        parts = division.parts(candidate.recipe)
        began = time.monotonic()  # the images are prepared once for all
        hits = hits_of(candidate.recipe, parts, seconds, however_slow=however_slow)
    except UserError as error:
        failed = untried(candidate, number, seconds, error.message)
        return replace(failed, seconds=time.monotonic() - began)
    count = len(parts.choosing)
    spent = time.monotonic() - began
    return Trial(candidate, number, seconds, spent, hits[:count], hits[count:])


def untried(candidate: Candidate, number: int, seconds: float, reason: str) -> Trial:
    """A trial without answers, and why it has none."""
    nothing = np.zeros(0, dtype=np.bool_)
    return Trial(candidate, number, seconds, 0.0, nothing, nothing, reason)


def hits_of(recipe: Recipe, parts: Parts, seconds: float, *, however_slow: bool) -> Hits:
    """Whether the recipe, trained for so long, classifies each judged image correctly."""
    training = replace(recipe.training, budget=seconds, keep="last", patience=0)
    recipe = replace(recipe, training=training)
    data = parts.trial
    clock = Clock(budget=seconds, minimum_steps=1)
    recipe = width.fitted(recipe, data.train, seconds)
    network = initialise.ready(recipe, data, default_device())
    views: Views = "one"
    if isinstance(network.body, Backbone):
        weights.fill(network, recipe.model, data.store.classes)
        compute_judged_features(recipe, network, data)
        clock = Clock(budget=seconds, minimum_steps=1)  # what all trials share is not timed
    else:
        views = reserve_for_judging(recipe, network, data, clock, however_slow)
    context = Context(clock=clock)
    hits = np.zeros(0, dtype=np.bool_)
    for stage in trained_stages(recipe, network, data, context):
        hits = judged(stage.network, stage.validation, views)
    return hits


def evaluation_seconds(recipe: Recipe, parts: Parts) -> float:
    """Estimated seconds to evaluate the run that the recipe leaves, if time is short."""
    network = initialise.ready(recipe, parts.data, default_device())
    each = budget.seconds_of_one(network, parts.data, "one", "float32")
    return budget.SAFETY * each * budget.least_evaluated(parts.data, recipe)


def compute_judged_features(recipe: Recipe, network: Network, data: Dataset) -> None:
    """Put the features of the judged images into the cache, below every stage's cut."""
    assert isinstance(network.body, Backbone)
    once = replace(recipe, transfer=replace(recipe.transfer, views=min(1, recipe.transfer.views)))
    few = replace(data, train=data.train.subset(np.arange(min(FEW, len(data.train)))))
    cuts = transfer.stage_cuts(once, network.body)
    frozen = transfer.FrozenFeatures(once, network, few, Context(), cuts)
    for cut in cuts:
        if cut and once.transfer.views:
            frozen.below(cut)


def reserve_for_judging(
    recipe: Recipe, network: Network, data: Dataset, clock: Clock, however_slow: bool
) -> Views:
    """Keep time for the judged images, and say over which views their answers are averaged."""
    assert clock.budget is not None
    few = min(FEW, len(data.train))
    each = budget.SAFETY * budget.seconds_each(network, data.train, few, "one", "float32")
    one = each * len(data.validation)
    several = one * budget.VIEWS[recipe.training.views]
    if several <= clock.budget * budget.FEWER_VIEWS_ABOVE:
        clock.reserve = several
        return recipe.training.views
    most = budget.MAXIMUM_RESERVE * clock.budget
    if one > most and not however_slow:
        raise UserError(
            f"too slow on this machine: judging {len(data.validation):,} images would take "
            f"{one:.0f} of the {clock.budget:.0f} s of its trial",
            "use a longer budget",
        )
    clock.reserve = min(one, most)
    return "one"


def trained_stages(
    recipe: Recipe, network: Network, data: Dataset, context: Context
) -> Iterator[Stage]:
    """Train every stage, as `experiment.train_stage` does but without a log or a checkpoint."""
    for stage in transfer.stages(recipe, network, data, context):
        state = State.start(stage.network, stage.recipe, stage.number)
        if stage.number > 1:
            state.seed_best(NOTHING)  # no time left for the stage is no error
        arithmetic = precision.choose(
            stage.recipe.training.precision,
            stage.network,
            stage.recipe.model,
            plan(stage.recipe.training, len(stage.train))[0],
            limit=budget.trial_limit(context.clock),
        )
        if stage.number == 1 and registry.is_backbone(stage.recipe.model):
            budget.ensure_minimum_training(context.clock)
        for _ in fit(state, stage.train, None, stage.recipe, context, precision=arithmetic):
            pass
        state.finish(stage.recipe.training)
        yield stage


@torch.no_grad()
def judged(network: Network, images: Images, views: Views) -> Hits:
    """Whether the network classifies each of the images, or of their features, correctly."""
    of_features = isinstance(images, Activations)
    network.eval()
    order = torch.arange(len(images))
    parts = []
    for pixels, labels, _ in images.batches(order, images.chunk, default_device()):
        if of_features:
            outputs = network(pixels)
        else:
            outputs = classifier.probabilities(network, pixels, views)
        parts.append(outputs.argmax(1) == labels)
    hits: Hits = torch.cat(parts).cpu().numpy()
    return hits


def save(trial: Trial, folder: Path) -> None:
    """Keep a finished trial for a search that goes on after an interruption."""
    write_arrays(
        folder / file_name(trial.candidate, trial.round),
        choosing=trial.choosing,
        apart=trial.apart,
        seconds=np.array([trial.budget, trial.seconds]),
        failure=np.array(trial.failure),
    )


def recall(candidate: Candidate, number: int, folder: Path) -> Trial | None:
    """The trial as `save` kept it; None where there is none that can be read."""
    file = folder / file_name(candidate, number)
    if not file.is_file():
        return None
    try:
        arrays = read_arrays(file)
    except UserError:
        return None
    seconds, spent = arrays["seconds"].tolist()
    failure = str(arrays["failure"])
    return Trial(candidate, number, seconds, spent, arrays["choosing"], arrays["apart"], failure)


def file_name(candidate: Candidate, number: int) -> str:
    """The file of a trial, by recipe and round."""
    return f"{value_sha256([candidate.name, repr(candidate.recipe)])[:16]}-{number}.npz"
