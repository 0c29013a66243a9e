"""Find settings of a recipe that have no effect, and report or reject them.

Each rule states when a field has an effect. Only fields that differ from their default are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Augment, Recipe, differences

# Random augmentation other than flips and mixing, applied to some views of each image.
RANDOM_CHANGES = (
    "crop",
    "rotate",
    "shift",
    "zoom",
    "shear",
    "elastic",
    "brightness",
    "contrast",
    "noise",
    "cutout",
)
FADING = ("cosine", "one_cycle", "linear", "plateau")
SMOOTHED = {"class": ("cross_entropy", "focal", "mse"), "mask": ("cross_entropy",), "picture": ()}


@dataclass(frozen=True)
class Setup:
    """A recipe with properties of its data and network."""

    asked: Recipe
    backbone: bool  # whether the network is a pretrained one
    given_splits: frozenset[str] = frozenset()  # parts that the data itself has
    processes: int = 1

    @property
    def optimisers(self) -> set[str]:
        """The optimisers of all stages."""
        transfer = self.asked.transfer
        names = {str(self.asked.optim.name)}
        if self.backbone and transfer.thaw:
            names.add(transfer.thaw_optimiser)
        return names

    @property
    def cached(self) -> bool:
        """Whether the first stage trains on cached features."""
        transfer = self.asked.transfer
        return self.backbone and transfer.freeze != "none" and transfer.views > 0

    @property
    def cached_only(self) -> bool:
        """Whether every stage trains on cached features."""
        return self.cached and self.asked.transfer.thaw != "none"

    @property
    def selects(self) -> bool:
        """Whether monitored values choose the epoch, stop the training or set the learning rate."""
        training = self.asked.training
        plateau = self.asked.optim.schedule == "plateau"
        return training.keep == "best" or training.patience > 0 or plateau

    def uses(self, *optimisers: str) -> bool:
        """Whether a stage has one of these optimisers."""
        return bool(self.optimisers & set(optimisers))

    def scheduled(self, *schedules: str) -> bool:
        """Whether the learning rate follows one of these schedules."""
        return self.asked.optim.schedule in schedules


Rule = tuple[Iterable[str], Callable[[Setup], bool], str]
RULES: tuple[Rule, ...] = (
    (
        ["optim.momentum"],
        lambda setup: setup.uses("sgd", "rmsprop", "muon"),
        "only sgd, rmsprop and muon have a momentum",
    ),
    (
        ["optim.nesterov"],
        lambda setup: setup.uses("sgd") and setup.asked.optim.momentum > 0,
        "it needs sgd with a momentum above 0",
    ),
    (
        ["optim.beta1", "optim.beta2", "optim.amsgrad"],
        lambda setup: setup.uses("adam", "adamw"),
        "only adam and adamw have it",
    ),
    (
        ["optim.epsilon"],
        lambda setup: setup.uses("adam", "adamw", "rmsprop", "adagrad"),
        "sgd and muon have no epsilon",
    ),
    (["optim.rho", "optim.centred"], lambda setup: setup.uses("rmsprop"), "only rmsprop has it"),
    (["optim.accumulator"], lambda setup: setup.uses("adagrad"), "only adagrad has it"),
    (
        ["optim.floor"],
        lambda setup: setup.scheduled(*FADING),
        "this schedule has no final learning rate",
    ),
    (["optim.step_epochs"], lambda setup: setup.scheduled("step"), "only schedule=step has steps"),
    (
        ["optim.step_factor"],
        lambda setup: setup.scheduled("step", "plateau"),
        "only schedule=step and schedule=plateau have steps",
    ),
    (
        ["optim.plateau_patience"],
        lambda setup: setup.scheduled("plateau"),
        "it applies only to schedule=plateau",
    ),
    (
        ["optim.layer_decay"],
        lambda setup: setup.backbone and (setup.asked.transfer.freeze != "all" or _thaws(setup)),
        "no stage of a pretrained backbone is trained",
    ),
    (
        ["loss.gamma"],
        lambda setup: setup.asked.loss.name == "focal",
        "only the focal loss has a gamma",
    ),
    (
        ["loss.smoothing"],
        lambda setup: setup.asked.loss.name in SMOOTHED[setup.asked.data.target],
        "this loss does not support label smoothing",
    ),
    (
        ["loss.class_weights"],
        lambda setup: setup.asked.data.target != "picture",
        "reconstruction has no classes",
    ),
    (
        ["training.small_until"],
        lambda setup: setup.asked.training.small < 1,
        "training.small is 1",
    ),
    (
        ["training.small"],
        lambda setup: not setup.cached_only,
        "training uses cached features; use --set transfer.views=0 to train on images",
    ),
    (
        ["training.min_delta", "training.monitor"],
        lambda setup: setup.selects,
        "training.keep is last, and neither patience nor the schedule plateau is set",
    ),
    (
        ["training.max_epochs"],
        lambda setup: setup.asked.training.budget is not None,
        "it applies only with a budget; otherwise use training.epochs",
    ),
    (
        ["training.sync_norm"],
        lambda setup: setup.processes > 1,
        "there is only one process",
    ),
    (
        ["data.padding"],
        lambda setup: setup.asked.data.pad > 0 or setup.asked.data.resize == "letterbox",
        "nothing is padded: data.pad is 0",
    ),
    (
        ["data.crop_fraction"],
        lambda setup: setup.asked.data.resize != "none",
        "images are not resized",
    ),
    (
        ["data.scaling"],
        lambda setup: not setup.backbone,
        "a pretrained network uses the normalisation of its weights",
    ),
    (
        ["data.channels"],
        lambda setup: not setup.backbone or setup.asked.data.channels == 3,
        "pretrained networks need colour images",
    ),
    (
        [
            "data.images",
            "data.image_column",
            "data.label_column",
            "data.split_column",
            "data.group_column",
            "data.group_pattern",
            "data.group_file",
            "data.class_level",
        ],
        lambda setup: setup.asked.data.target != "mask",
        "masks are found by folder and file names",
    ),
    (
        ["data.corrections"],
        lambda setup: setup.asked.data.target == "class" or setup.asked.data.corrections == "none",
        "corrections apply only to classes",
    ),
    (
        ["data.names", "data.ignore"],
        lambda setup: setup.asked.data.target == "mask",
        "it applies only to masks",
    ),
    (
        ["data.validation"],
        lambda setup: "validation" not in setup.given_splits,
        "the data has a validation part",
    ),
    (["data.test"], lambda setup: "test" not in setup.given_splits, "the data has a test part"),
    (
        ["data.split_seed"],
        lambda setup: not {"validation", "test"} <= setup.given_splits,
        "the data has validation and test parts",
    ),
    (
        [
            "transfer.freeze",
            "transfer.statistics",
            "transfer.views",
            "transfer.thaw",
            "transfer.thaw_epochs",
            "transfer.thaw_share",
            "transfer.thaw_optimiser",
            "transfer.thaw_lr",
            "transfer.thaw_batch",
        ],
        lambda setup: setup.backbone,
        "the network is not a pretrained one",
    ),
    (
        [
            "transfer.thaw_epochs",
            "transfer.thaw_optimiser",
            "transfer.thaw_lr",
            "transfer.thaw_batch",
        ],
        lambda setup: not setup.backbone or bool(setup.asked.transfer.thaw),
        "transfer.thaw does not set a second stage",
    ),
    (
        ["transfer.thaw_share"],
        lambda setup: not setup.backbone or (_thaws(setup) and _has_budget(setup)),
        "it applies only to a budget with two stages",
    ),
    (
        ["transfer.statistics"],
        lambda setup: not setup.backbone or _statistics_matter(setup),
        "no pretrained batch normalisation is trained",
    ),
    (
        ["transfer.views"],
        lambda setup: not setup.backbone or setup.asked.transfer.freeze != "none",
        "nothing is frozen",
    ),
)


def _thaws(setup: Setup) -> bool:
    return bool(setup.asked.transfer.thaw)


def _has_budget(setup: Setup) -> bool:
    return setup.asked.training.budget is not None


def _statistics_matter(setup: Setup) -> bool:
    trains = setup.asked.transfer.freeze != "all" or _thaws(setup)
    return trains and setup.asked.model.weights != "none"


def without_effect(setup: Setup) -> dict[str, str]:
    """The settings without effect, by dotted path, with reasons."""
    changed = differences(setup.asked, Recipe())
    reasons: dict[str, str] = {}
    for fields, acts, reason in RULES:
        for path in fields:
            if path in changed and path not in reasons and not acts(setup):
                reasons[path] = reason
    return reasons | _versions_without_effect(setup)


def _versions_without_effect(setup: Setup) -> dict[str, str]:
    """Settings for views of images without effect, because there is only one view."""
    if not setup.cached:
        return {}
    augment, views = setup.asked.augment, setup.asked.transfer.views
    reasons = {}
    if views == 1 and augment.flip != "none":
        reasons["augment.flip"] = "with transfer.views=1 there is no mirrored version"
    if views > 1 and augment.flip == "none" and not random_changes(augment):
        reasons["transfer.views"] = "the recipe changes no image, so there is one version of each"
    return reasons


def random_changes(augment: Augment) -> list[str]:
    """The fields of random augmentation other than flips and mixing."""
    plain = Augment()
    return [
        f"augment.{name}"
        for name in RANDOM_CHANGES
        if getattr(augment, name) != getattr(plain, name)
    ]


def refuse_lost(setup: Setup) -> None:
    """Raise UserError for settings without effect that a small change would enable."""
    asked = setup.asked
    if asked.optim.schedule == "step" and not asked.optim.step_epochs:
        raise UserError(
            "optim.schedule=step needs the number of epochs after which the learning rate drops",
            "--set optim.step_epochs=10",
            code=2,
        )
    if not setup.cached_only:
        return
    needed = 2 if asked.augment.flip == "none" else 3
    lost = random_changes(asked.augment)
    if lost and asked.transfer.views < needed:
        raise UserError(
            f"{', '.join(lost)} would have no effect: none of the {asked.transfer.views} cached "
            "views per image is augmented at random",
            f"use --set transfer.views={needed + 1}, or transfer.views=0 to augment in every step",
            code=2,
        )
    if asked.augment.cutmix:
        raise UserError(
            "augment.cutmix would have no effect: cached features cannot be cut",
            "use --set augment.cutmix=0 --set augment.mixup=0.2 to mix features, or --set "
            "transfer.views=0",
            code=2,
        )


def features_augment(augment: Augment) -> Augment:
    """The augmentation that applies to features: mixing."""
    return replace(Augment(), mixup=augment.mixup)


def setup(
    asked: Recipe, resolved: Recipe, given_splits: Iterable[str] = (), processes: int = 1
) -> Setup:
    """The setup of a training; `resolved` is the completed recipe."""
    backbone = registry.is_backbone(resolved.model)
    # What pretrained weights decide about the data must be seen as it was asked for.
    settled = replace(resolved, data=asked.data)
    return Setup(settled, backbone, frozenset(given_splits) - {""}, processes)
