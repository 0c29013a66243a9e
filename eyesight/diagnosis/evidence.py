"""Everything the doctor knows of one training, gathered once.

What has to be measured is measured when a check first asks.

Any part may be missing, as in a run that was killed in its first epoch: every check says nothing
where it lacks what it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyesight.recipe import Loss, Recipe
from eyesight.results.predictions import Predictions

if TYPE_CHECKING:
    from eyesight.diagnosis.probes import Probe, Trial
    from eyesight.models.layers import Network

ENOUGH_STEPS = 100  # before that, the same answer for every image is only a beginning
MANY_STEPS = 10**9  # of a log that does not count them
PROBED = 200  # images shown to the network


Severity = Literal["fatal", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong.

    `evidence` holds the numbers, `remedy` what to set or run, `why` the mechanism in a sentence.
    """

    id: str
    title: str
    severity: Severity
    evidence: str
    remedy: str
    why: str

    def to_dict(self) -> dict[str, str]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Copied:
    """How many of the held-out images that were compared are copies of training images."""

    count: int
    compared: int

    @property
    def share(self) -> float:
        """The fraction of them, 0 where none was compared."""
        return self.count / max(1, self.compared)


@dataclass(frozen=True, eq=False)
class Sample:
    """Some prepared pictures of one split: uint8 n,C,H,W, and their labels n (-1 unknown)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def few(self, most: int) -> Sample:
        """At most `most` of them, evenly spread."""
        chosen = np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64)
        return Sample(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Patient:
    """A run, or a recipe before its first run.

    `network` holds the trained weights where `trained`, else those drawn by the seed. `frozen`
    names what must not have moved since `before`. `copies` counts the held-out images whose file is
    also a training image. `thorough` allows probes that take seconds.
    """

    name: str
    recipe: Recipe
    classes: tuple[str, ...] = ()
    per_class: tuple[int, ...] = ()  # training pictures of each class
    epochs: tuple[Mapping[str, Any], ...] = ()
    failure: str = ""  # what a failed run said
    hint: str = ""  # and how to mend it
    lost: tuple[str, ...] = ()  # names of values in the log that were no finite numbers
    validation: Predictions | None = None
    test: Predictions | None = None
    network: Network | None = None
    trained: bool = False
    frozen: tuple[str, ...] = ()
    before: Callable[[], Mapping[str, Any]] | None = None  # the tensors by name when training began
    fresh: Callable[[], Network] | None = None  # the network with the weights drawn by the seed
    samples: Mapping[str, Sample] = field(default_factory=dict)  # "train", "validation", "test"
    copies: Copied = Copied(0, 0)
    thorough: bool = False

    def curve(self, name: str) -> NDArray[np.float64]:
        """A value of every epoch, such as "train_loss"; not-a-number where it was not measured."""
        values = [epoch.get(name) for epoch in self.epochs]
        return np.array(
            [value if isinstance(value, int | float) else math.nan for value in values],
            dtype=np.float64,
        )

    def measured(self, name: str) -> NDArray[np.float64]:
        """The same, empty unless every epoch has it."""
        values = self.curve(name)
        if not np.isfinite(values).all():
            return values[:0]
        return values

    @property
    def steps(self) -> int:
        """Steps of the optimiser so far, by the pictures that were seen.

        Large for logs that do not count them.
        """
        from eyesight.training.loop import plan

        counted = self.curve("pictures")
        if not len(counted):
            return 0
        if not np.isfinite(counted).all():
            return MANY_STEPS
        batch = self.recipe.training.batch
        if self.per_class:
            batch, _ = plan(self.recipe.training, sum(self.per_class))
        return int(np.ceil(counted.sum() / batch))

    @cached_property
    def chance(self) -> float:
        """The accuracy of always naming the most frequent class.

        0 when nothing is known of the classes.
        """
        if sum(self.per_class):
            return max(self.per_class) / sum(self.per_class)
        if not self.classes:
            return 0.0
        return 1 / len(self.classes)

    @cached_property
    def held_out(self) -> Predictions | None:
        """The labelled test predictions, or those of validation, or None."""
        for predictions in (self.test, self.validation):
            if predictions is not None and len(predictions.labelled()):
                return predictions.labelled()
        return None

    @cached_property
    def pictures(self) -> Sample | None:
        """The pictures for probing: training pictures, else whatever is at hand."""
        for name in ("train", "validation", "test"):
            sample = self.samples.get(name)
            if sample is not None and len(sample):
                return sample.few(PROBED)
        return None

    @cached_property
    def probe(self) -> Probe | None:
        """What goes on inside the network when it sees the pictures."""
        if self.network is None or self.pictures is None:
            return None
        from eyesight.diagnosis import probes

        return probes.probe(self.network, self.pictures.pixels)

    @cached_property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """Layers in unbroken linear succession, by name; only successions of two and more."""
        if self.network is None:
            return ()
        from eyesight.diagnosis import probes

        return probes.linear_runs(self.network)

    @cached_property
    def softmax(self) -> bool | None:
        """Whether the network's answers are already probabilities.

        None when there is no network to ask.
        """
        if self.network is None:
            return None
        from eyesight.diagnosis import probes

        return probes.ends_in_softmax(self.network) or (
            self.probe is not None and probes.are_probabilities(self.probe.answers)
        )

    @cached_property
    def trial(self) -> Trial | None:
        """A few steps on a copy, at the recipe's rate and at rising rates.

        None unless pictures are at hand and time is allowed.
        """
        train = self.samples.get("train")
        if not self.thorough or self.fresh is None or train is None or len(train) < 2:
            return None
        from eyesight.diagnosis import probes

        return probes.trial(
            self.fresh(), self.recipe, train.pixels, train.labels, len(self.classes)
        )


def chance_loss(loss: Loss, classes: int) -> float:
    """The loss of giving every class the same probability.

    Ln K for cross-entropy, whatever the smoothing.
    """
    if loss.name == "mse":
        return (1 - 1 / classes) / classes
    return math.log(classes) * ((1 - 1 / classes) ** loss.gamma if loss.name == "focal" else 1.0)
