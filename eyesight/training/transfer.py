"""Transfer learning with cached features and an optional second stage.

A stage trains a tail that shares its modules with the whole network, so the network is up to date
when the stage ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eyesight.data import dataset, split
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, dimensions
from eyesight.data.source import Source
from eyesight.errors import UserError
from eyesight.models import registry, weights, zoo
from eyesight.models.backbone import Backbone
from eyesight.models.layers import Network
from eyesight.recipe import Data, Recipe
from eyesight.recipes import folder
from eyesight.results.searching import clearly_better
from eyesight.system import cache
from eyesight.system.progress import Talk, silent
from eyesight.training import budget, effects, features, precision, probe
from eyesight.training.context import Context
from eyesight.training.features import Activations, Tail, Trunk

FEATURES_SHARE = 0.6  # share of the training time for computing features
LEAST_IMAGES = 0.1  # smallest share of images used; the measured speed may be wrong
EACH = 8  # smallest number of images per class, if available
PROBED_FROM = 60.0  # seconds of a budget: a shorter one has no time to probe networks
PROBING = 0.05  # of a budget, for the linear probe of all networks
AFFORDABLE = 0.4  # of a budget: features of all images, in one view, may take so much
SIDES_READ = 30  # images whose sizes are read to choose a recipe


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a training: `network` trains on `train` as `recipe` says.

    Stages are numbered from 1 to `count`.
    """

    number: int
    count: int
    recipe: Recipe
    network: Network
    train: Images
    validation: Images

    @property
    def mark(self) -> dict[str, int]:
        """The entry of its epochs in the log: their stage, if there are several."""
        return {"stage": self.number} if self.count > 1 else {}


def resolve_preprocessing(recipe: Recipe, talk: Talk = silent) -> Recipe:
    """Complete the recipe: the model "auto" and the preprocessing of pretrained weights.

    Raises UserError for a second stage without a length.
    """
    if folder.AUTO in (recipe.model.name, recipe.transfer.thaw):
        at_hand = [name for name in folder.PREFERRED if weights.at_hand(zoo.timm_name(name))]
        seen = look(recipe, talk)
        asked = recipe
        recipe, reasons = folder.choose(asked, seen, at_hand)
        if asked.model.name == folder.AUTO:
            best = best_backbone(recipe, at_hand, talk)
            if best is not None:
                # A larger size than the one that was probed would be prepared for nothing.
                pace = min(folder.PACE, best.pace)
                recipe, reasons = folder.choose(asked, seen, [best.name], pace)
        for reason in reasons:
            talk(reason)
    if not registry.is_backbone(recipe.model):
        return recipe
    transfer = recipe.transfer
    if transfer.thaw and not transfer.thaw_epochs and recipe.training.budget is None:
        raise UserError(
            "transfer.thaw sets a second stage without a length",
            "--set transfer.thaw_epochs=10",
            code=2,
        )
    return expected_by_weights(recipe)


class PacedBackbone(NamedTuple):
    """A pretrained network, and the images that it infers a second at 224 pixels."""

    name: str
    pace: float


def best_backbone(
    recipe: Recipe, names: Sequence[str], talk: Talk = silent
) -> PacedBackbone | None:
    """The best of some networks by a linear probe on training images, under a budget.

    A larger network is taken if it is ahead by more than the standard error of the paired
    difference, and if there is time for all images. Remembered for the same images and budget, so
    that every part of a training takes the same network and size. None if there is no time to
    probe.
    """
    seconds = recipe.training.budget
    if seconds is None or seconds < PROBED_FROM or len(names) < 2:
        return None
    data = dataset.load(expected_by_weights(recipe).data, talk=talk)
    key = [data.hash, data.store.key, seconds, torch.get_num_threads(), *names]
    match cache.read_note("backbone and pace", key):
        case [str(name), float(pace)] if name in names:
            return PacedBackbone(name, pace)
    probed = {one.name: one for one in probe.probe(data.train, names, PROBING * seconds, talk)}
    best: probe.Probed | None = None
    for name in names:
        if name not in probed:
            continue
        other = probed[name]
        affordable = other.seconds * len(data.train) <= AFFORDABLE * seconds
        if best is None or (affordable and clearly_better(other.hits, best.hits)):
            best = other
    if best is None:
        return None
    _, height, width = data.train.shape
    chosen = PacedBackbone(best.name, height * width / 224**2 / best.seconds)
    cache.write_note("backbone and pace", key, list(chosen))
    return chosen


def expected_by_weights(recipe: Recipe) -> Recipe:
    """The recipe with the size, channels and interpolation of its pretrained weights.

    Fields set in the recipe are kept.
    """
    from eyesight.models.pretrained import expected

    expects, data = expected(recipe.model.name), recipe.data
    size = data.size
    if not size and data.resize != "none":  # none keeps the images' own size
        size = expects.size
    crop_fraction = data.crop_fraction
    if not crop_fraction:
        full_size = data.resize == "crop" and size >= expects.size
        crop_fraction = expects.crop_fraction if full_size else 1.0
    interpolation = data.interpolation
    if interpolation == "auto":
        interpolation = expects.interpolation
    data = replace(
        data,
        size=size,
        channels=3,
        scaling="unit",
        interpolation=interpolation,
        crop_fraction=crop_fraction,
    )
    return replace(recipe, data=data)


def look(recipe: Recipe, talk: Talk = silent) -> folder.Seen:
    """Count the images and estimate their size from a few of them."""
    if not recipe.data.source:
        raise UserError(
            "this recipe has no data",
            "name a folder, an archive or a named set with --data",
        )
    from eyesight.models.pretrained import imagenet_places

    source = open_source(recipe.data.source, layout=Layout.of(recipe.data), talk=talk)
    sides = shorter_sides(source)
    return folder.Seen(
        int((source.labels >= 0).sum()),
        len(source.classes),
        sides[len(sides) // 2] if sides else 0,
        len(imagenet_places(source.classes)),
        expected_held_out(source, recipe.data),
    )


def expected_held_out(source: Source, data: Data) -> int:
    """About how many labelled images are held out; bad files count, since none is decoded."""
    labelled = source.labels >= 0
    left = int((labelled & ~np.isin(source.splits, ("validation", "test"))).sum())
    validation = data.validation
    if data.fold:
        validation = 1 / split.read_fold(data.fold)[1]
    for name, fraction in (("test", data.test), ("validation", validation)):
        if not (labelled & (source.splits == name)).any():
            left -= round(fraction * left)
    return int(labelled.sum()) - left


def shorter_sides(source: Source) -> list[int]:
    """The shorter sides of a few evenly spread images in pixels, in ascending order.

    Unreadable files are skipped.
    """
    sides: list[int] = []
    for index in range(0, len(source.ids), max(1, len(source.ids) // SIDES_READ)):
        try:
            image = source.read(index)
            shape = dimensions(image) if isinstance(image, bytes) else image.shape[:2]
        except BadPicture:
            continue
        sides.append(min(shape))
    return sorted(sides)


def stages(
    recipe: Recipe, network: Network, data: Dataset, context: Context, start: int = 1
) -> Iterator[Stage]:
    """Yield the stages from number `start` on.

    Each is prepared, with its features, after the previous one has ended.
    """
    if not isinstance(network.body, Backbone):
        yield Stage(1, 1, recipe, network, data.train, data.validation)
        return
    clock = context.clock
    keeps_statistics = recipe.transfer.statistics == "keep"
    network.body.keeps = keeps_statistics and recipe.model.weights != weights.NONE
    cuts = stage_cuts(recipe, network.body)
    frozen = FrozenFeatures(recipe, network, data, context, cuts)
    reserve = clock.reserve
    for number, cut in enumerate(cuts, 1):
        if number < start:
            continue
        # A stage that is continued must at least be restored.
        if number > start and context.group.agree(clock.left()) <= 0:
            context.reporter.message(
                "no time left for the second stage; keeping the result of the first"
            )
            return
        network.body.freeze(cut)
        context.reporter.message(trains(network, cut))
        if clock.budget is not None and number < len(cuts):
            clock.reserve = reserve + recipe.transfer.thaw_share * max(0.0, clock.left())
        own = stage_recipe(recipe, number)
        if recipe.transfer.views and cut:
            tail, train, validation = frozen.below(cut)
            own = replace(own, augment=effects.features_augment(own.augment))
            yield Stage(number, len(cuts), own, tail, train, validation)
        else:
            yield Stage(number, len(cuts), own, network, data.train, data.validation)
        clock.reserve = reserve


def stage_cuts(recipe: Recipe, body: Backbone) -> list[int]:
    """The index of the backbone's first trained unit for each stage.

    Raises UserError if the second stage trains fewer layers than the first, because its state would
    miss some of them.
    """
    transfer = recipe.transfer
    cuts = [body.place(transfer.freeze)]
    if transfer.thaw:
        cuts.append(body.place(transfer.thaw))
    if cuts[-1] > cuts[0]:
        raise UserError(
            "the second stage must train at least the layers of the first, from "
            f"{transfer.freeze} on",
            f"use --set transfer.thaw={transfer.freeze} or an earlier stage",
            code=2,
        )
    return cuts


def stage_recipe(recipe: Recipe, number: int) -> Recipe:
    """The recipe of a stage; the second has its own optimiser, rate, length and batch size."""
    if number == 1:
        return recipe
    transfer = recipe.transfer
    optim = replace(recipe.optim, name=transfer.thaw_optimiser, lr=transfer.thaw_lr)
    training = replace(
        recipe.training,
        epochs=max(1, transfer.thaw_epochs),
        batch=transfer.thaw_batch or recipe.training.batch,
        min_steps=0,
    )
    return replace(recipe, optim=optim, training=training)


def trained(network: Network, recipe: Recipe) -> list[str]:
    """Printed lines: the trained part of a pretrained network in each stage."""
    body = network.body
    assert isinstance(body, Backbone)
    lines = []
    for cut in stage_cuts(recipe, body):
        body.freeze(cut)
        lines.append(trains(network, cut))
    return lines


def trains(network: Network, cut: int) -> str:
    """Printed text: how much of the network is trained."""
    body = network.body
    assert isinstance(body, Backbone)
    tensors = list(network.parameters())
    training = [tensor for tensor in tensors if tensor.requires_grad]
    values = sum(tensor.numel() for tensor in training)
    total = sum(tensor.numel() for tensor in tensors)
    first = body.prefixes[cut] if cut < len(body.prefixes) else "the head"
    return (
        f"training {len(training)} of {len(tensors)} tensors ({values:,} of {total:,} "
        f"parameters), from {first} on"
    )


class FrozenFeatures:
    """The cached features below each cut.

    A higher cut continues from the features of the lowest.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        data: Dataset,
        context: Context,
        cuts: Sequence[int],
    ) -> None:
        self.recipe, self.network, self.data, self.context = recipe, network, data, context
        self.cuts = cuts
        self.lowest: dict[str, Activations] = {}  # below the lowest cut: "train", "validation"
        self.arithmetic = ""  # one for all that is frozen
        self.bytes_each = 0  # bytes of the features of one view of an image

    def below(self, cut: int) -> tuple[Tail, Images, Images]:
        """The trained tail above `cut`, with its training and validation features."""
        units = self._units
        lowest = min(self.cuts) or cut
        first = self._trunk(0, lowest, self.data.train.shape)
        if not self.lowest:
            self._settle(first)
            images = {"train": self.data.train, "validation": self.data.validation}
            self.lowest = self._compute(first, images)
        parts = self.lowest
        if cut > lowest:
            second = self._trunk(lowest, cut, parts["train"].shape)
            parts = self._compute(second, dict(parts))
        train, validation = parts["train"], parts["validation"]
        kind = train.kind
        return Tail(self.network, units[cut:], train.shape, kind), train, validation

    @property
    def _units(self) -> list[torch.nn.Module]:
        body = self.network.body
        assert isinstance(body, Backbone)
        return list(body.units)

    def _trunk(self, start: int, end: int, shape: tuple[int, ...]) -> Trunk:
        return Trunk(self.network, self._units[start:end], shape, pictures=start == 0)

    def _settle(self, first: Trunk) -> None:
        """Choose the precision of the frozen part and compute the size of its features."""
        self.arithmetic = self.context.group.once(
            lambda: precision.choose(
                self.recipe.training.precision,
                first,
                self.recipe.model,
                features.PROBED,
                trains=False,
                talk=self.context.reporter.message,
                limit=budget.trial_limit(self.context.clock),
            )
        )
        # Also the cut of a stage that has ended, so that continuing takes as many versions.
        uppers = {upper for upper in self.cuts if upper}
        trunks = [self._trunk(0, upper, first.shape) for upper in uppers]
        values = sum(math.prod(features.output_shape(trunk)) for trunk in trunks)
        self.bytes_each = values * features.KINDS[self.arithmetic].itemsize

    def _compute(self, trunk: Trunk, parts: dict[str, Images]) -> dict[str, Activations]:
        """Compute the features in one process with all cores; the others read its file."""
        group = self.context.group
        computed: dict[str, Activations] = {}

        def first() -> list[int]:
            with group.every_core():
                computed.update(self._within_budget(trunk, parts))
            return [computed["train"].views, len(computed["train"])]

        views, count = group.once(first)
        return group.in_turn(lambda: computed or self._again(trunk, parts, views, count))

    def _key(self) -> features.Key:
        # The store's key does not cover extra images, whose names may be the same.
        extra = self.data.hash if self.data.own is not None else ""
        name = self.data.store.key + extra
        return features.Key(name, self.recipe.training.seed, self.arithmetic)

    def _again(
        self, trunk: Trunk, parts: dict[str, Images], views: int, count: int
    ) -> dict[str, Activations]:
        """The features as computed by another process, for the same images and views."""
        train = parts["train"]
        if trunk.pictures and self.context.clock.budget is not None:
            train = self._in_order(train)
        if count < len(train):
            train = train.subset(np.arange(count))
        augment, key = self.recipe.augment, self._key()
        return {
            "train": features.compute(trunk, train, augment, views, key),
            "validation": features.compute(trunk, parts["validation"], augment, 1, key),
        }

    def _within_budget(self, trunk: Trunk, parts: dict[str, Images]) -> dict[str, Activations]:
        """The features of as many views and images as disk and budget allow."""
        augment, key, reporter = self.recipe.augment, self._key(), self.context.reporter
        clock = self.context.clock
        began = clock.now()
        validation = features.compute(
            trunk, parts["validation"], augment, 1, key, reporter=reporter
        )
        train = parts["train"]
        if isinstance(train, Activations):
            views = train.views
        else:
            measured = 0.0
            if len(validation) >= features.PROBED:
                measured = (clock.now() - began) / len(validation)
            views = self._versions_on_disk(len(train))
            train, views = self.affordable(trunk, train, views, measured)
        deadline = time.monotonic() + FEATURES_SHARE * clock.left()
        if self._shares_folds(trunk) and len(train) == len(parts["train"]):
            computed = self._of_all_folds(trunk, train, views, deadline)
        else:
            computed = features.compute(
                trunk, train, augment, views, key, deadline=deadline, reporter=reporter
            )
        return {"train": computed, "validation": validation}

    def _shares_folds(self, trunk: Trunk) -> bool:
        """Whether the features of all folds are computed at once."""
        data = self.recipe.data
        alone = self.context.group.size == 1 and self.data.own is None
        return bool(data.fold) and data.target == "class" and trunk.pictures and alone

    def _of_all_folds(
        self, trunk: Trunk, train: Images, views: int, deadline: float
    ) -> Activations:
        """The features of the training images, from those of every image outside the test part.

        These are the same for all folds, so that only the first computes them.
        """
        every = dataset.images_of(self.data.store)
        test = set(self.data.test.ids)
        labels = every.labels.tolist()
        rows = [row for row, name in enumerate(every.ids) if name not in test and labels[row] >= 0]
        pool = self._in_order(every.subset(np.array(rows, dtype=np.int64)))
        computed = features.compute(
            trunk,
            pool,
            self.recipe.augment,
            views,
            self._key(),
            deadline=deadline,
            reporter=self.context.reporter,
        )
        place = {name: row for row, name in enumerate(computed.ids)}
        kept = [row for row, name in enumerate(train.ids) if name in place]
        own = train.subset(np.array(kept, dtype=np.int64))
        order = np.array([place[name] for name in own.ids], dtype=np.int64)
        chosen = computed.subset(order)
        assert isinstance(chosen, Activations)
        return replace(chosen, labels=own.labels, soft=own.soft)

    def _versions_on_disk(self, count: int) -> int:
        """The number of views of `count` images that the recipe sets and the disk allows."""
        asked = features.versions(self.recipe.augment, self.recipe.transfer.views)
        views = features.fitting(self.bytes_each * count, asked)
        if views < asked:
            self.context.reporter.message(
                f"the disk has space for the features of {views} of {asked} views per image"
            )
        return views

    def affordable(
        self, trunk: Trunk, train: Images, views: int, measured: float = 0.0
    ) -> tuple[Images, int]:
        """The images and versions that a budget has time for: fewer versions first, then images.

        `measured` is how many seconds an image took just now, 0 where nothing was measured: a
        machine may be busier than a short try tells.
        """
        clock, reporter = self.context.clock, self.context.reporter
        if clock.budget is None:
            return train, views
        reporter.message("measuring the speed of the frozen part")
        train = self._in_order(train)
        pace = max(features.pace(trunk, train, self.arithmetic), measured)
        affordable = FEATURES_SHARE * max(0.0, clock.left()) / pace
        if affordable >= views * len(train):
            return train, views
        fewer = max(1, int(affordable // len(train)))
        if fewer < views:
            reporter.message(f"the budget allows features of {fewer} of {views} views per image")
        if affordable >= len(train):
            return train, fewer
        count = enough(train, int(affordable))
        if count == len(train):
            return train, 1
        reporter.message(
            f"the budget allows features of {count:,} of {len(train):,} training images; use a "
            "longer --budget for all"
        )
        return train.subset(np.arange(count)), 1

    def _in_order(self, train: Images) -> Images:
        """The images in random order, so that any first part is representative."""
        return train.subset(mixed(train, self.recipe.data.split_seed).numpy())


def mixed(images: Images, seed: int) -> Tensor:
    """All indices in random order, with some of every class first."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    labels = images.labels[order]
    first = torch.zeros(len(order), dtype=torch.bool)
    for label in set(labels.tolist()):
        first[(labels == label).nonzero()[:EACH]] = True
    return torch.cat([order[first], order[~first]])


def enough(images: Images, affordable: int) -> int:
    """The `affordable` number of images, or more if that is too few to train."""
    every = int(images.counts.clamp(max=EACH).sum())
    return min(len(images), max(affordable, round(LEAST_IMAGES * len(images)), every))
