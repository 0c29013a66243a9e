"""Training on top of what a network has learnt elsewhere: what is frozen is computed once, and a second stage may train more of it.

A stage trains a tail that shares its modules with the whole network, so that when it ends the whole network is trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, dimensions
from eyesight.distributed.group import Group
from eyesight.errors import UserError
from eyesight.models import registry, weights, zoo
from eyesight.models.backbone import Backbone
from eyesight.models.layers import Network
from eyesight.recipe import Augment, Recipe
from eyesight.recipes import folder
from eyesight.system.progress import Talk, silent
from eyesight.training import features as activations
from eyesight.training import precision
from eyesight.training.clock import Clock
from eyesight.training.features import Activations, Tail, Trunk

Progress = Callable[[int, int], None]
SHARE = 0.6  # of the time for training that may go into computing features once
LEAST = 0.1  # of the pictures are used however short the time seems: an estimate of speed may be far off
GRACE = (
    0.05  # of a budget belongs to the first stage even when an estimate says that nothing is left
)
EACH = 8  # pictures of every class are, where there are so many


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a training: `network` trains on `train` as `recipe` says; stages are numbered from 1 to `count`."""

    number: int
    count: int
    recipe: Recipe
    network: Network
    train: Images
    validation: Images


@dataclass(frozen=True, eq=False)
class Plan:
    """What every stage of one training needs."""

    recipe: Recipe
    network: Network
    data: Dataset
    clock: Clock
    talk: Talk = silent
    progress: Progress = lambda done, total: None
    group: Group = field(default_factory=Group)


def suited(recipe: Recipe, talk: Talk = silent) -> Recipe:
    """The recipe with what it leaves open decided: by the pictures for the model "auto", by what pretrained weights expect."""
    if recipe.model.name == folder.AUTO:
        recipe, why = folder.choose(
            recipe,
            look(recipe, talk),
            [name for name in folder.PREFERRED if weights.at_hand(zoo.timm_name(name))],
        )
        for reason in why:
            talk(reason)
    if not registry.is_backbone(recipe.model):
        return recipe
    from eyesight.models.pretrained import expected

    expects, data, transfer = expected(recipe.model.name), recipe.data, recipe.transfer
    if transfer.thaw and not transfer.thaw_epochs and recipe.training.budget is None:
        raise UserError(
            "transfer.thaw names a second stage, but nothing says how long it is",
            "--set transfer.thaw_epochs=10",
            code=2,
        )
    size = data.size or (
        0 if data.resize == "none" else expects.size
    )  # none keeps the pictures' own
    cut = expects.crop_fraction if data.resize == "crop" and size >= expects.size else 1.0
    interpolation = expects.interpolation if data.interpolation == "auto" else data.interpolation
    data = replace(
        data,
        size=size,
        channels=3,
        scaling="unit",
        interpolation=interpolation,
        crop_fraction=data.crop_fraction or cut,
    )
    return replace(recipe, data=data)


def look(recipe: Recipe, talk: Talk = silent) -> folder.Seen:
    """How many pictures there are and how large they usually are, from a few of them."""
    if not recipe.data.source:
        raise UserError(
            "this recipe does not say where its pictures are",
            "name a folder, an archive or a named set with --data",
        )
    source = open_source(recipe.data.source, talk=talk)
    sides: list[int] = []
    for index in range(0, len(source.ids), max(1, len(source.ids) // 30)):
        try:
            found = source.read(index)
            sides.append(
                min(dimensions(found)) if isinstance(found, bytes) else min(found.shape[:2])
            )
        except BadPicture:
            continue
    from eyesight.models.pretrained import imagenet_places

    known = len(imagenet_places(source.classes))
    return folder.Seen(
        int((source.labels >= 0).sum()),
        len(source.classes),
        sorted(sides)[len(sides) // 2] if sides else 0,
        known,
    )


def stages(plan: Plan, start: int = 1) -> Iterator[Stage]:
    """The stages from number `start` on; each is prepared when the one before has ended, and features are computed then."""
    recipe, network, data, clock = plan.recipe, plan.network, plan.data, plan.clock
    if not isinstance(network.body, Backbone):
        yield Stage(1, 1, recipe, network, data.train, data.validation)
        return
    network.body.keeps = (
        recipe.transfer.statistics == "keep" and recipe.model.weights != weights.NONE
    )
    count = 2 if recipe.transfer.thaw else 1
    cuts = [
        network.body.place(where)
        for where in (recipe.transfer.freeze, recipe.transfer.thaw)[:count]
    ]
    if (
        cuts[-1] > cuts[0]
    ):  # the state of the second stage would not hold what the first trained below
        raise UserError(
            f"the second stage must train at least what the first trained, from {recipe.transfer.freeze} on",
            f"let the second begin as low: --set transfer.thaw={recipe.transfer.freeze}",
            code=2,
        )
    below = Below(plan, cuts)
    reserve = clock.reserve
    for number, cut in enumerate(cuts, 1):
        if number < start:
            continue
        if (
            number > start and plan.group.agree(clock.left()) <= 0
        ):  # a stage that is gone on with must at least be restored
            plan.talk("no time is left for the second stage: what the first trained is kept")
            return
        network.body.freeze(cut)
        plan.talk(trains(network, cut))
        if clock.budget is not None and number < count:
            clock.reserve = reserve + recipe.transfer.thaw_share * max(0.0, clock.left())
        asked = stage_recipe(recipe, number)
        seen: tuple[Network, Images, Images] = network, data.train, data.validation
        if recipe.transfer.views and cut:
            seen = below.features(cut)
            asked = replace(asked, augment=Augment(mixup=asked.augment.mixup))
        yield Stage(number, count, asked, *seen)
        clock.reserve = reserve


def be_kind(clock: Clock) -> None:
    """Leave some time to train, and a step, whatever else was estimated: a classifier that comes a little late is better than none."""
    if clock.budget is not None and clock.left() < GRACE * clock.budget:
        clock.reserve = clock.budget * (1 - GRACE) - clock.elapsed()
    clock.least = 1


def stage_recipe(recipe: Recipe, number: int) -> Recipe:
    """What the recipe says about a stage."""
    if number == 1:
        return recipe
    thaw = recipe.transfer
    optim = replace(recipe.optim, name=thaw.thaw_optimiser, lr=thaw.thaw_lr)
    training = replace(
        recipe.training,
        epochs=max(1, thaw.thaw_epochs),
        batch=thaw.thaw_batch or recipe.training.batch,
        min_steps=0,
    )
    return replace(recipe, optim=optim, training=training)


def trained(network: Network, recipe: Recipe) -> list[str]:
    """For people: what of a pretrained network trains in each stage."""
    body = network.body
    assert isinstance(body, Backbone)
    lines = []
    for where in (recipe.transfer.freeze, *[recipe.transfer.thaw] * bool(recipe.transfer.thaw)):
        body.freeze(body.place(where))
        lines.append(trains(network, body.cut))
    return lines


def trains(network: Network, cut: int) -> str:
    """For people: how much of the network trains."""
    body = network.body
    assert isinstance(body, Backbone)
    tensors = list(network.parameters())
    training = [tensor for tensor in tensors if tensor.requires_grad]
    values, total = (sum(tensor.numel() for tensor in some) for some in (training, tensors))
    first = body.prefixes[cut] if cut < len(body.prefixes) else "the head"
    return f"{len(training)} of {len(tensors)} tensors train ({values:,} of {total:,} parameters), from {first} on"


class Below:
    """The features below a cut, computed from the pictures once; a later cut goes on from those of the first."""

    def __init__(self, plan: Plan, cuts: Sequence[int]) -> None:
        self.plan, self.cuts, self.cut = plan, cuts, min(cuts)
        self.found: dict[str, Activations] = {}
        self.arithmetic = ""  # one for all that is frozen
        self.each = 0  # bytes of all the features of one version of a picture

    def features(self, cut: int) -> tuple[Tail, Images, Images]:
        """The tail that trains above `cut`, with its training and validation features."""
        plan, body = self.plan, self.plan.network.body
        assert isinstance(body, Backbone)
        lowest = self.cut or cut
        first = Trunk(plan.network, list(body.units[:lowest]), plan.data.train.shape, pictures=True)
        if not self.found:
            exact = plan.recipe.training.precision
            asked = (exact, first, plan.recipe.model, activations.PROBED)
            self.arithmetic = plan.group.once(
                lambda: precision.choose(*asked, trains=False, talk=plan.talk)
            )
            uppers = {
                upper for upper in self.cuts if upper
            }  # also those of a stage that has ended, so that going on takes as many
            trunks = [
                Trunk(plan.network, list(body.units[:upper]), first.shape, pictures=True)
                for upper in uppers
            ]
            values = sum(math.prod(activations.outcome(trunk)) for trunk in trunks)
            self.each = values * activations.KINDS[self.arithmetic].itemsize
            self.found = self._compute(
                first, {"train": plan.data.train, "validation": plan.data.validation}, pictures=True
            )
        found = self.found
        if cut > lowest:
            shape = self.found["train"].shape
            second = Trunk(plan.network, list(body.units[lowest:cut]), shape, pictures=False)
            found = self._compute(second, dict(self.found), pictures=False)
        kind = torch.as_tensor(found["train"].pixels).dtype
        tail = Tail(plan.network, list(body.units[cut:]), found["train"].shape, kind)
        return tail, found["train"], found["validation"]

    def _compute(
        self, trunk: Trunk, parts: dict[str, Images], *, pictures: bool
    ) -> dict[str, Activations]:
        """By one process with every core; the others then find the file, or where they have none make it as the first one did."""
        group, found = self.plan.group, dict[str, Activations]()

        def first() -> list[int]:
            with group.every_core():
                found.update(self._within_budget(trunk, parts, pictures=pictures))
            return [found["train"].views, len(found["train"])]

        views, count = group.once(first)
        return group.in_turn(
            lambda: found or self._again(trunk, parts, views, count, pictures=pictures)
        )

    @property
    def _fixed(self) -> dict[str, Any]:
        data = self.plan.data
        extra = (
            data.hash if data.own is not None else ""
        )  # the store's key does not know extra pictures, whose names may be the same
        return {
            "name": data.store.key + extra,
            "seed": self.plan.recipe.training.seed,
            "precision": self.arithmetic,
        }

    def _again(
        self, trunk: Trunk, parts: dict[str, Images], views: int, count: int, *, pictures: bool
    ) -> dict[str, Activations]:
        plan, train = self.plan, parts["train"]
        if pictures and plan.clock.budget is not None:
            train = in_order(plan, train)
        if count < len(train):
            train = train.subset(np.arange(count))
        found = {"train": (train, views), "validation": (parts["validation"], 1)}
        return {
            name: activations.compute(trunk, of, plan.recipe.augment, each, **self._fixed)
            for name, (of, each) in found.items()
        }

    def _within_budget(
        self, trunk: Trunk, parts: dict[str, Images], *, pictures: bool
    ) -> dict[str, Activations]:
        plan, recipe = self.plan, self.plan.recipe
        fixed = {**self._fixed, "talk": plan.talk, "progress": plan.progress}
        began = time.monotonic()
        validation = activations.compute(trunk, parts["validation"], recipe.augment, 1, **fixed)
        if pictures:
            wanted = activations.versions(recipe.augment, recipe.transfer.views)
            views = activations.fitting(self.each * len(parts["train"]), wanted)
            if views < wanted:
                plan.talk(
                    f"the disk has room for the features of {views} of {wanted} versions of each picture"
                )
            seen = (
                (time.monotonic() - began) / len(validation)
                if len(validation) >= activations.PROBED
                else 0.0
            )
            parts, views = affordable(plan, trunk, parts, views, self.arithmetic, seen)
        else:
            assert isinstance(parts["train"], Activations)
            views = parts["train"].views
        deadline = time.monotonic() + SHARE * plan.clock.left()
        train = activations.compute(
            trunk, parts["train"], recipe.augment, views, deadline=deadline, **fixed
        )
        return {"train": train, "validation": validation}


def affordable(
    plan: Plan,
    trunk: Trunk,
    parts: dict[str, Images],
    views: int,
    arithmetic: str,
    seen: float = 0.0,
) -> tuple[dict[str, Images], int]:
    """What of the pictures and how many versions a budget has time for: fewer versions first, then fewer pictures, and says so.

    `seen` is how many seconds a picture took just now, 0 where nobody looked: a machine may be busier than a short try tells.
    """
    if plan.clock.budget is None:
        return parts, views
    plan.talk("trying how fast the frozen part is")
    train = in_order(plan, parts["train"])
    parts = {**parts, "train": train}
    pace = max(activations.pace(trunk, train, arithmetic), seen)
    pictures = SHARE * max(0.0, plan.clock.left()) / pace
    if pictures >= views * len(train):
        return parts, views
    fewer = max(1, int(pictures // len(train)))
    if fewer < views:
        plan.talk(
            f"the budget has time for the features of {fewer} of {views} versions of each picture"
        )
    if pictures >= len(train):
        return parts, fewer
    few = enough(train, int(pictures))
    if few == len(train):
        return parts, 1
    plan.talk(
        f"the budget has time for the features of {few:,} of {len(train):,} training pictures; give more for all"
    )
    return {**parts, "train": train.subset(np.arange(few))}, 1


def in_order(plan: Plan, train: Images) -> Images:
    """The pictures mixed, so that any first part is fair."""
    return train.subset(mixed(train, plan.recipe.data.split_seed).numpy())


def mixed(images: Images, seed: int) -> Tensor:
    """All pictures at random as indices, but first some of every class."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    labels = images.labels[order]
    first = torch.zeros(len(order), dtype=torch.bool)
    for label in set(labels.tolist()):
        first[(labels == label).nonzero()[:EACH]] = True
    return torch.cat([order[first], order[~first]])


def enough(images: Images, wanted: int) -> int:
    """`wanted`, or more where that would be too few of all, or of a class, to learn from."""
    every = int(images.counts.clamp(max=EACH).sum())
    return min(len(images), max(wanted, round(LEAST * len(images)), every))
