"""Which settings of a recipe would do nothing: they are refused with what to do, or noted by name.

Each rule says when a field acts. A field is looked at only where it differs from its default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from eyesight.errors import UserError
from eyesight.models import registry
from eyesight.recipe import Augment, Recipe, differences

# Changes that mirroring and blending are not: made at random, for some versions of each image.
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
    """A recipe as asked for, with what its data and network decide."""

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
        """Whether the first stage trains on features that are computed once."""
        transfer = self.asked.transfer
        return self.backbone and transfer.freeze != "none" and transfer.views > 0

    @property
    def cached_only(self) -> bool:
        """Whether every stage trains on features that are computed once."""
        return self.cached and self.asked.transfer.thaw != "none"

    @property
    def selects(self) -> bool:
        """Whether monitored values decide the epoch kept, when to stop, or the learning rate."""
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
        "only sgd with a momentum above 0 has Nesterov's",
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
        "this schedule does not fall to a last rate",
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
        "only schedule=plateau waits",
    ),
    (
        ["optim.layer_decay"],
        lambda setup: setup.backbone and (setup.asked.transfer.freeze != "all" or _thaws(setup)),
        "no stage of a pretrained backbone trains",
    ),
    (
        ["loss.gamma"],
        lambda setup: setup.asked.loss.name == "focal",
        "only the focal loss has a gamma",
    ),
    (
        ["loss.smoothing"],
        lambda setup: setup.asked.loss.name in SMOOTHED[setup.asked.data.target],
        "this loss of this target has no labels to smooth",
    ),
    (
        ["loss.class_weights"],
        lambda setup: setup.asked.data.target != "picture",
        "a restored picture has no class",
    ),
    (
        ["training.small_until"],
        lambda setup: setup.asked.training.small < 1,
        "training.small is 1",
    ),
    (
        ["training.small"],
        lambda setup: not setup.cached_only,
        "features that are computed once are not images: --set transfer.views=0 trains on images",
    ),
    (
        ["training.min_delta", "training.monitor"],
        lambda setup: setup.selects,
        "training.keep is last, and no patience and no plateau look at the epochs",
    ),
    (
        ["training.max_epochs"],
        lambda setup: setup.asked.training.budget is not None,
        "it ends a training under a budget; without one training.epochs does",
    ),
    (
        ["training.sync_norm"],
        lambda setup: setup.processes > 1,
        "there is one process, which sees whole batches",
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
        "a pretrained network normalises images as its weights expect",
    ),
    (
        ["data.channels"],
        lambda setup: not setup.backbone or setup.asked.data.channels == 3,
        "pretrained networks take colour images",
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
        "masks are found by their folders and names",
    ),
    (
        ["data.corrections"],
        lambda setup: setup.asked.data.target == "class" or setup.asked.data.corrections == "none",
        "corrections are of classes",
    ),
    (
        ["data.names", "data.ignore"],
        lambda setup: setup.asked.data.target == "mask",
        "only masks have it",
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
        "transfer.thaw names no second stage",
    ),
    (
        ["transfer.thaw_share"],
        lambda setup: not setup.backbone or (_thaws(setup) and _has_budget(setup)),
        "it divides a budget between two stages",
    ),
    (
        ["transfer.statistics"],
        lambda setup: not setup.backbone or _statistics_matter(setup),
        "no batch normalisation of pretrained weights trains",
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
    """The settings that do nothing, by dotted path, each with the reason."""
    changed = differences(setup.asked, Recipe())
    reasons: dict[str, str] = {}
    for fields, acts, reason in RULES:
        for path in fields:
            if path in changed and path not in reasons and not acts(setup):
                reasons[path] = reason
    return reasons | _versions_without_effect(setup)


def _versions_without_effect(setup: Setup) -> dict[str, str]:
    """Settings about versions of images, where there is only one version."""
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
    """The fields that change images at random, other than mirroring and blending."""
    plain = Augment()
    return [
        f"augment.{name}"
        for name in RANDOM_CHANGES
        if getattr(augment, name) != getattr(plain, name)
    ]


def refuse_lost(setup: Setup) -> None:
    """Raise UserError for settings that do nothing although a small change lets them act."""
    asked = setup.asked
    if asked.optim.schedule == "step" and not asked.optim.step_epochs:
        raise UserError(
            "optim.schedule=step needs to know after how many epochs the rate falls",
            "--set optim.step_epochs=10",
            code=2,
        )
    if not setup.cached_only:
        return
    needed = 2 if asked.augment.flip == "none" else 3
    lost = random_changes(asked.augment)
    if lost and asked.transfer.views < needed:
        raise UserError(
            f"{', '.join(lost)} would change nothing: of the {asked.transfer.views} versions of "
            "each "
            f"image that are computed once, none is changed at random",
            f"--set transfer.views={needed + 1}; or transfer.views=0 to change them anew in every "
            "step",
            code=2,
        )
    if asked.augment.cutmix:
        raise UserError(
            "augment.cutmix would change nothing: features that are computed once cannot be cut",
            "--set augment.cutmix=0 --set augment.mixup=0.2 blends features; or --set "
            "transfer.views=0",
            code=2,
        )


def features_augment(augment: Augment) -> Augment:
    """What of the augmentation is left to do with features: blending."""
    return replace(Augment(), mixup=augment.mixup)


def setup(
    asked: Recipe, resolved: Recipe, given_splits: Iterable[str] = (), processes: int = 1
) -> Setup:
    """The setup of a training; `resolved` is the recipe with nothing left open."""
    backbone = registry.is_backbone(resolved.model)
    # What pretrained weights decide about the data must be seen as it was asked for.
    settled = replace(resolved, data=asked.data)
    return Setup(settled, backbone, frozenset(given_splits) - {""}, processes)
