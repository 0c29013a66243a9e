"""What corrected labels changed: the classifier before and after, on the very same test images.

Both are judged twice, by the corrected labels of the test images and by those that the data gives.
Images that a person left out of the test are in neither. Nothing is trained for it: the one before
is the newest finished run of the same recipe beside this one that had no corrections.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.recipe import Recipe, differences
from eyesight.results.metrics import mc_nemar
from eyesight.runs import Run, list_runs

NORMAL = 1.959964  # two-sided 95 %
FREE = ("data.corrections",)  # fields in which the recipes of before and after may differ


@dataclass(frozen=True)
class PairedAccuracy:
    """Accuracy before and after on the same n images, by the same labels.

    `low` and `high` are the 95 % interval of the difference, `p` is McNemar's.
    """

    n: int
    before: float
    after: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        change = 100 * (self.after - self.before)
        return (
            f"{self.before:.2%} before, {self.after:.2%} after ({change:+.2f} points, "
            f"95 % interval {100 * self.low:+.2f} to {100 * self.high:+.2f}, p = {self.p:.2g})"
        )


@dataclass(frozen=True)
class CorrectionsEffect:
    """What corrections changed; `before` is the name of the run without them."""

    before: str
    corrected: PairedAccuracy
    uncorrected: PairedAccuracy

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people, with the number of test images."""
        n = f"{self.corrected.n:,} test images"
        return [
            f"corrections, with corrected labels of {n}: {self.corrected}",
            f"corrections, with the original labels: {self.uncorrected}; before is {self.before}",
        ]


def effect(run: Run) -> CorrectionsEffect | None:
    """What the corrections of a run changed; None without corrections or a run before."""
    if run.target != "class" or not run.data.get("corrections") or run.status != "done":
        return None
    earlier = run_before(run)
    if earlier is None:
        return None
    return between(earlier, run)


def run_before(run: Run) -> Run | None:
    """The newest finished run of the same recipe on the same images without corrections."""
    recipe = run.recipe
    for other in reversed(list_runs(run.path.parent)):
        if other.name == run.name:
            continue
        try:
            if is_before(other, run, recipe):
                return other
        except (UserError, OSError, KeyError, TypeError, ValueError):
            continue  # damaged, or of a later eyesight
    return None


def is_before(other: Run, run: Run, recipe: Recipe) -> bool:
    """Whether a run is the same training without corrections."""
    if other.status != "done" or other.data.get("corrections"):
        return False
    if other.data.get("store") != run.data.get("store"):
        return False
    return set(differences(recipe, other.recipe)) <= set(FREE)


def between(before: Run, after: Run) -> CorrectionsEffect | None:
    """The effect from the predictions of both; None where they share no labelled test image."""
    earlier = before.predictions().labelled()
    later = after.predictions().labelled()
    places = {one: place for place, one in enumerate(earlier.ids)}
    rows = np.array([place for place, one in enumerate(later.ids) if one in places], np.int64)
    if not len(rows) or earlier.classes != later.classes:
        return None
    later = later.subset(rows)
    earlier = earlier.subset(np.array([places[one] for one in later.ids], np.int64))
    return CorrectionsEffect(
        before.name,
        paired(earlier.predicted == later.labels, later.predicted == later.labels),
        paired(earlier.predicted == earlier.labels, later.predicted == earlier.labels),
    )


def paired(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> PairedAccuracy:
    """Both accuracies and the interval of their difference, from what was right on n images."""
    n = len(before)
    changes = after.astype(np.float64) - before
    mean = float(changes.mean())
    half = NORMAL * float(np.sqrt(changes.var() / n))
    p = mc_nemar(after, before).p
    return PairedAccuracy(n, float(before.mean()), float(after.mean()), mean - half, mean + half, p)
