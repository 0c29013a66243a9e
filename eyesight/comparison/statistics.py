"""Runs side by side: a row for each recipe, with intervals, and which rows the test pictures can tell apart.

What is compared is the mean accuracy over a recipe's seeds, as the table shows it, and never the accuracy of several networks voting.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results import metrics
from eyesight.results.predictions import Predictions
from eyesight.results.scores import MEASURES, Measure
from eyesight.runs import Run

LEVEL = 0.05  # of all comparisons in a table together
Status = Literal["done", "partial", "failed", "running"]


@dataclass(frozen=True, eq=False)
class Judged:
    """The score of each test picture (of a classifier: whether it was right), by id; the same `key` means the same pictures and task."""

    key: str
    scores: npt.NDArray[np.bool_] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A score: `sd` over seeds, None for one; the 95 % `interval` is of the mean over seeds, or of one network over pictures."""

    mean: float
    sd: float | None
    interval: tuple[float, float]
    method: Literal["student", "wilson", "pictures"]


@dataclass(eq=False)
class Row:
    """One recipe (or one run) in a table; None is unknown, `test` a letter when rows were judged on different pictures."""

    name: str
    status: Status
    reason: str = ""
    runs: list[Run] = field(default_factory=list)
    score: Spread | None = None
    measure: Measure = MEASURES["class"]  # what the score is
    macro_f1: float | None = None
    loss: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    seconds: float | None = None
    pictures_per_second: float | None = None
    bytes: int | None = None
    rank: int | None = None
    tied_with: list[str] = field(default_factory=list)
    test: str | None = None

    @property
    def seeds(self) -> int:
        """How many runs the row is the mean of."""
        return len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("name", "status", "reason", "seeds", "rank", "tied_with", "test", *FIGURES)
        values = {name: getattr(self, name) for name in names}
        score = asdict(self.score) if self.score else None
        scores = {
            "measure": self.measure.key,
            "score": score,
            "top1": score if self.measure.key == "top1" else None,
        }
        return {**values, **scores, "runs": [str(run.path) for run in self.runs]}


FIGURES = (
    "macro_f1",
    "loss",
    "parameters",
    "multiply_adds",
    "seconds",
    "pictures_per_second",
    "bytes",
)


def row(
    name: str, runs: Sequence[Run], reasons: Sequence[str] = (), *, running: bool = False
) -> Row:
    """The row of the finished `runs`, means over them; `reasons` say why others are missing."""
    status: Status = (
        "partial" if runs and reasons else "done" if runs else "running" if running else "failed"
    )
    reason = "; ".join(dict.fromkeys(reasons))
    if runs and reasons:
        reason = f"{len(reasons)} of {len(reasons) + len(runs)} are missing: {reason}"
    measure = runs[0].measure if runs else MEASURES["class"]
    return Row(
        name,
        status,
        reason,
        list(runs),
        score([run.result["test"] for run in runs], measure),
        measure,
        **_means(runs),
    )


def _means(runs: Sequence[Run]) -> dict[str, Any]:
    found = [_figures(run) for run in runs]
    return {
        name: mean([figures[name] for figures in found], whole=name in WHOLE) for name in FIGURES
    }


WHOLE = ("parameters", "multiply_adds", "bytes")


def mean(values: Iterable[float | None], *, whole: bool = False) -> Any:
    """The mean of the known values; None when there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return round(sum(known) / len(known)) if whole else sum(known) / len(known)


def _figures(run: Run) -> dict[str, Any]:
    result = run.result
    epochs = run.epochs
    test = result["test"]
    passes = sum(epoch.get("seconds") or 0 for epoch in epochs)
    pictures = sum(epoch.get("pictures") or 0 for epoch in epochs)
    weights = run.classifier_path / "weights.safetensors"
    spent = (result.get("seconds") or {}).get("training")
    return {
        **{name: test.get(name) for name in ("macro_f1", "loss")},
        **{name: result.get(name) for name in ("parameters", "multiply_adds")},
        "seconds": None
        if spent is None
        else max(spent, passes),  # a resumed run timed only its last part; its epochs know them all
        "pictures_per_second": pictures / passes if pictures and passes else None,
        "bytes": weights.stat().st_size if weights.is_file() else None,
    }


def score(tests: Sequence[dict[str, Any]], measure: Measure = MEASURES["class"]) -> Spread | None:
    """The score of one recipe from its runs' test summaries; None without labelled test pictures."""
    known = [test for test in tests if test.get(measure.key) is not None]
    if not known:
        return None
    if len(known) == 1:
        low, high = known[0]["interval"]
        return Spread(
            known[0][measure.key],
            None,
            (low, high),
            "wilson" if measure.key == "top1" else "pictures",
        )
    return over_seeds(
        [test[measure.key] for test in known], most=1.0 if measure.unit == "%" else math.inf
    )


def over_seeds(values: Sequence[float], most: float = 1.0) -> Spread:
    """Mean, deviation and Student's 95 % interval of the mean of at least two scores, kept within 0 and the `most` there can be."""
    from scipy.special import stdtrit

    count = len(values)
    middle = float(np.mean(values))
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd / count**0.5
    return Spread(middle, sd, (max(0.0, middle - half), min(most, middle + half)), "student")


def judge(run: Run) -> Judged | None:
    """The score of each labelled test picture; None when the run kept none, or they cannot be read."""
    try:
        said = run.said("test")
    except UserError:
        return None
    known = said.labelled() if isinstance(said, Predictions) else said
    if not len(known):
        return None
    order = np.argsort(np.array(known.ids), kind="stable")
    truth = known.truth()
    pictures = "\n".join([run.measure.key, *(f"{known.ids[i]}\t{truth[i]}" for i in order)])
    return Judged(hashlib.sha256(pictures.encode()).hexdigest(), known.scores()[order])


def rank(rows: Sequence[Row]) -> None:
    """Give every row with predictions its rank, one more than the number of rows that are certainly better, and its ties.

    Certainly: by `difference`, Holm's correction over all pairs on the same pictures, at 5 %.
    """
    judged = {
        id(row): [found for run in row.runs if (found := judge(run))] for row in rows if row.score
    }
    groups: dict[str, list[Row]] = {}
    for row in rows:
        seen = judged.get(id(row), [])
        if seen and len(seen) == row.seeds and len({one.key for one in seen}) == 1:
            groups.setdefault(seen[0].key, []).append(row)
    for letter, group in enumerate(groups.values()):
        _rank_group(group, judged)
        for row in group:
            row.test = chr(ord("A") + letter % 26) if len(groups) > 1 else None


def _rank_group(rows: Sequence[Row], judged: dict[int, list[Judged]]) -> None:
    pairs = list(combinations(rows, 2))
    chances = holm([difference(judged[id(a)], judged[id(b)]) for a, b in pairs])
    better = {id(row): 0 for row in rows}
    for (first, second), p in zip(pairs, chances, strict=True):
        if p >= LEVEL:
            first.tied_with.append(second.name)
            second.tied_with.append(first.name)
        else:
            better[id(min(first, second, key=_accuracy))] += 1
    for row in rows:
        row.rank = 1 + better[id(row)]


def _accuracy(row: Row) -> float:
    return row.score.mean if row.score else -math.inf


def difference(first: Sequence[Judged], second: Sequence[Judged]) -> float:
    """The chance (two-sided p) of mean scores so far apart if the recipes were equally good, from the same pictures.

    One classifier each: McNemar's test, mid-p. Several seeds, or other scores than right and wrong: t of the difference, its
    variance that of the pictures' paired differences plus that of each recipe's seeds, degrees of freedom by Welch and Satterthwaite.
    The disagreement of seeds about single pictures is counted in both parts, which errs on the side of a tie.
    """
    if len(first) == len(second) == 1 and first[0].scores.dtype == np.bool_:
        return _mc_nemar(first[0].scores, second[0].scores)  # type: ignore[arg-type]
    a, b = (np.stack([one.scores for one in side]).astype(np.float64) for side in (first, second))
    apart = a.mean(axis=0) - b.mean(axis=0)
    if len(apart) < 2:
        return 1.0
    parts = [(apart.var(ddof=1) / len(apart), len(apart) - 1)]
    parts += [
        (side.mean(axis=1).var(ddof=1) / len(side), len(side) - 1)
        for side in (a, b)
        if len(side) > 1
    ]
    return _welch(
        float(apart.mean()), [(float(variance), free) for variance, free in parts], len(apart)
    )


def _mc_nemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    right, other = (
        np.stack([side, ~side], axis=1).astype(np.float32) for side in (first, second)
    )  # two classes: right, wrong
    return metrics.paired_difference(right, other, np.zeros(len(first), np.int64)).p


def _welch(apart: float, parts: Sequence[tuple[float, int]], pictures: int) -> float:
    from scipy.special import stdtr

    variance = sum(part for part, _ in parts)
    if variance == 0:
        return (
            1.0 if apart == 0 else 2.0 ** (1 - pictures)
        )  # the same on every picture: as with a coin that never turned
    free = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    return float(2 * stdtr(free, -abs(apart) / variance**0.5))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values of a family of tests, corrected so that together they err once in twenty at 5 % (Holm 1979)."""
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for place, index in enumerate(np.argsort(chances, kind="stable")):
        highest = max(highest, min(1.0, (len(chances) - place) * chances[index]))
        adjusted[index] = highest
    return adjusted


def notes(rows: Sequence[Row]) -> list[str]:
    """What one must know to read the table."""
    found = []
    methods = {row.score.method for row in rows if row.score}
    if "student" in methods:
        found.append(
            "after ± the deviation over the seeds; the interval there: 95 % for the mean over seeds, on these very test pictures "
            "(Student's t: with two seeds it is wide or, by chance, far too narrow)"
        )
    if "wilson" in methods:
        found.append(
            "interval of an accuracy without ±: 95 % for one network over the test pictures (Wilson); it knows nothing of other seeds"
        )
    if "pictures" in methods:
        found.append(
            "interval of another score without ±: 95 % for one network over the test pictures, of mean IoU by drawing them anew"
        )
    if any(row.tied_with for row in rows):
        found.append(
            f"rank: one more than the rows that are certainly better; = means that the test pictures cannot separate it from another row "
            f"(paired test, Holm, {LEVEL:.0%} in all)"
        )
    if any(row.test for row in rows):
        found.append(
            "rows with different letters were judged on different test pictures: their scores cannot be compared"
        )
    if any(row.score and row.rank is None for row in rows):
        found.append(
            "no rank: its runs kept no predictions, or were not all judged on the same test pictures"
        )
    if len({_machine(run) for row in rows for run in row.runs}) > 1:
        found.append(
            "the runs were made on different machines or numbers of threads: their seconds cannot be compared"
        )
    return found


def _machine(run: Run) -> tuple[Any, ...]:
    return tuple(run.environment.get(name) for name in ("cpu", "device", "threads"))


def same_pictures(run: Run, store: str | None) -> bool:
    """Whether a run learned from the prepared pictures `store`, as far as either is known."""
    return store is None or run.data.get("store") in (None, store)
