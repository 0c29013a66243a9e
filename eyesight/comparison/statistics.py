"""Statistics of a comparison: a row for each recipe, and which rows the test images tell apart.

Compared is the mean accuracy over a recipe's seeds, as the table shows it, and never the accuracy
of several networks voting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eyesight.errors import UserError
from eyesight.results.metrics import holm, mc_nemar
from eyesight.results.predictions import Predictions
from eyesight.results.records import Event, Summary, number
from eyesight.results.scores import MEASURES, Measure
from eyesight.runs import Run
from eyesight.system.digest import sha256

LEVEL = 0.05  # of all comparisons in a table together
PARTS = ("data", "features", "training", "evaluation")  # of the seconds
FIGURES = (
    "macro_f1",
    "loss",
    "train_score",
    "train_loss",
    "validation_score",
    "validation_loss",
    "parameters",
    "multiply_adds",
    "seconds",
    "pictures_per_second",
    "bytes",
)
WHOLE = ("parameters", "multiply_adds", "bytes")  # numbers whose mean is rounded
Status = Literal["done", "partial", "failed", "running"]


@dataclass(frozen=True, eq=False)
class Judged:
    """The score of each test image, by id; the same `key` means the same images and task."""

    key: str
    scores: npt.NDArray[np.bool_] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A score; `sd` is over seeds, None for one.

    The 95 % `interval` is of the mean over seeds, or of one network over images.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float]
    method: Literal["student", "wilson", "pictures"]


@dataclass(eq=False)
class Row:
    """One recipe (or one run) in a table; None is unknown.

    `test` is a letter when rows were judged on different images. `seconds` are what a person
    waited, `parts` the same by part; training and validation scores are those of the kept epoch.
    """

    name: str
    status: Status
    reason: str = ""
    runs: list[Run] = field(default_factory=list)
    score: Spread | None = None
    measure: Measure = MEASURES["class"]  # of the score
    macro_f1: float | None = None
    loss: float | None = None
    train_score: float | None = None
    train_loss: float | None = None
    validation_score: float | None = None
    validation_loss: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    seconds: float | None = None
    parts: dict[str, float | None] = field(default_factory=dict)
    pictures_per_second: float | None = None
    bytes: int | None = None
    rank: int | None = None
    tied_with: list[str] = field(default_factory=list)
    test: str | None = None

    @property
    def seeds(self) -> int:
        """The number of runs that the row is the mean of."""
        return len(self.runs)

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values."""
        names = ("name", "status", "reason", "seeds", "rank", "tied_with", "test", *FIGURES)
        values = {name: getattr(self, name) for name in names}
        score = None
        if self.score is not None:
            score = asdict(self.score)
        values["parts"] = dict(self.parts)
        values["measure"] = self.measure.key
        values["score"] = score
        values["top1"] = None
        if self.measure.key == "top1":
            values["top1"] = score
        values["runs"] = [str(run.path) for run in self.runs]
        return values


def row(
    name: str, runs: Sequence[Run], reasons: Sequence[str] = (), *, running: bool = False
) -> Row:
    """The row of the finished `runs`, means over them; `reasons` say why others are missing."""
    status: Status = "done"
    reason = "; ".join(dict.fromkeys(reasons))
    if runs and reasons:
        status = "partial"
        reason = f"{len(reasons)} of {len(reasons) + len(runs)} are missing: {reason}"
    elif running and not runs:
        status = "running"
    elif not runs:
        status = "failed"
    measure = MEASURES["class"]
    if runs:
        measure = runs[0].measure
    tests = [run.result["test"] for run in runs]
    figures = [_figures(run) for run in runs]
    means: dict[str, Any] = {}
    for key in FIGURES:
        means[key] = mean([values[key] for values in figures])
        if key in WHOLE and means[key] is not None:
            means[key] = round(means[key])
    parts = {part: mean([_seconds(run).get(part) for run in runs]) for part in PARTS}
    return Row(
        name, status, reason, list(runs), score(tests, measure), measure, parts=parts, **means
    )


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None when there are none."""
    measured = [value for value in values if value is not None]
    if not measured:
        return None
    return sum(measured) / len(measured)


def _figures(run: Run) -> dict[str, float | None]:
    """What a run adds to the means of its row, by the names in `FIGURES`."""
    result = run.result
    epochs = run.epochs
    kept = _kept_epoch(run)
    passes = sum(epoch.get("seconds") or 0 for epoch in epochs)
    pictures = sum(epoch.get("pictures") or 0 for epoch in epochs)
    speed = None
    if pictures and passes:
        speed = pictures / passes
    weights = run.classifier_path / "weights.safetensors"
    size = None
    if weights.is_file():
        size = weights.stat().st_size
    values: dict[str, float | None] = {
        key: number(result["test"], key) for key in ("macro_f1", "loss")
    }
    for part in ("train", "validation"):
        values[f"{part}_score"] = number(kept, f"{part}_{run.measure.key}")
        values[f"{part}_loss"] = number(kept, f"{part}_loss")
    values["parameters"] = result.get("parameters")
    values["multiply_adds"] = result.get("multiply_adds")
    values["seconds"] = _waited(run)
    values["pictures_per_second"] = speed
    values["bytes"] = size
    return values


def _kept_epoch(run: Run) -> Event:
    """The epoch whose weights were kept; empty when the log does not say."""
    epochs = run.epochs
    if run.recipe.training.keep != "last":
        epochs = [epoch for epoch in epochs if epoch.get("best")]
    return (epochs or [{}])[-1]


def _seconds(run: Run) -> dict[str, float]:
    """The seconds by part; a resumed run timed only its last part, but its epochs know them all."""
    seconds = dict(run.result.get("seconds") or {})
    if "training" in seconds:
        passes = sum(epoch.get("seconds") or 0 for epoch in run.epochs)
        seconds["training"] = max(seconds["training"], passes)
    return seconds


def _waited(run: Run) -> float | None:
    """The seconds from the start of the command to its end, of a resumed run in all its parts."""
    seconds = run.result.get("seconds") or {}
    total = seconds.get("total")
    if total is None:
        return _seconds(run).get("training")
    passes = sum(epoch.get("seconds") or 0 for epoch in run.epochs)
    return max(float(total) + float(seconds.get("before") or 0), passes)


def score(tests: Sequence[Summary], measure: Measure = MEASURES["class"]) -> Spread | None:
    """The score of one recipe from its runs' test summaries; None without labelled test images."""
    judged = [test for test in tests if measure.of(test) is not None]
    if not judged:
        return None
    values = [value for test in tests if (value := measure.of(test)) is not None]
    if len(judged) > 1:
        most = math.inf
        if measure.unit == "%":
            most = 1.0
        return over_seeds(values, most)
    low, high = judged[0]["interval"] or (math.nan, math.nan)
    if measure.key == "top1":
        return Spread(values[0], None, (low, high), "wilson")
    return Spread(values[0], None, (low, high), "pictures")


def over_seeds(values: Sequence[float], most: float = 1.0) -> Spread:
    """Mean, standard deviation and Student's 95 % interval of the mean of at least two scores.

    The interval is kept within 0 and the `most` there can be.
    """
    from scipy.special import stdtrit

    count = len(values)
    middle = float(np.mean(values))
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd / count**0.5
    return Spread(middle, sd, (max(0.0, middle - half), min(most, middle + half)), "student")


def judge(run: Run) -> Judged | None:
    """The score of each labelled test image; None when the run kept no readable predictions."""
    try:
        results = run.results("test")
    except UserError:
        return None
    if isinstance(results, Predictions):
        results = results.labelled()
    if not len(results):
        return None
    order = np.argsort(np.array(results.ids), kind="stable")
    truth = results.truth()
    lines = [run.measure.key]
    lines += [f"{results.ids[place]}\t{truth[place]}" for place in order]
    key = sha256("\n".join(lines).encode())
    return Judged(key, results.scores()[order])


def rank(rows: Sequence[Row]) -> None:
    """Rank every row with predictions: one more than the rows that are certainly better.

    Certainly: by `difference`, with Holm's correction over all pairs on the same images, at 5 %.
    Rows that cannot be told apart are tied.
    """
    judged: dict[int, list[Judged]] = {}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.score is None:
            continue
        results = [result for result in map(judge, row.runs) if result is not None]
        judged[id(row)] = results
        keys = {result.key for result in results}
        if len(results) == row.seeds and len(keys) == 1:
            groups.setdefault(keys.pop(), []).append(row)
    for letter, group in enumerate(groups.values()):
        _rank_group(group, judged)
        for row in group:
            if len(groups) > 1:
                row.test = chr(ord("A") + letter % 26)


def _rank_group(rows: Sequence[Row], judged: dict[int, list[Judged]]) -> None:
    pairs = list(combinations(rows, 2))
    p_values = [difference(judged[id(one)], judged[id(other)]) for one, other in pairs]
    better = {id(row): 0 for row in rows}
    for (first, second), p in zip(pairs, holm(p_values), strict=True):
        if p >= LEVEL:
            first.tied_with.append(second.name)
            second.tied_with.append(first.name)
        else:
            better[id(min(first, second, key=_accuracy))] += 1
    for row in rows:
        row.rank = 1 + better[id(row)]


def _accuracy(row: Row) -> float:
    if row.score is None:
        return -math.inf
    return row.score.mean


def difference(first: Sequence[Judged], second: Sequence[Judged]) -> float:
    """The p-value (two-sided) of equal mean scores, from results on the same images.

    One classifier each: McNemar's test, mid-p. Several seeds, or other scores than right and wrong:
    t of the difference, its variance that of the images' paired differences plus that of each
    recipe's seeds, degrees of freedom by Welch and Satterthwaite. The disagreement of seeds about
    single images is counted in both parts, which errs on the side of a tie.
    """
    if len(first) == len(second) == 1 and first[0].scores.dtype == np.bool_:
        return mc_nemar(first[0].scores, second[0].scores).p  # type: ignore[arg-type]
    sides = [
        np.stack([result.scores for result in side]).astype(np.float64) for side in (first, second)
    ]
    paired = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    n = len(paired)
    if n < 2:
        return 1.0
    parts = [(float(paired.var(ddof=1)) / n, n - 1)]
    for side in sides:
        seeds = len(side)
        if seeds > 1:
            parts.append((float(side.mean(axis=1).var(ddof=1)) / seeds, seeds - 1))
    return _welch(float(paired.mean()), parts, n)


def _welch(difference: float, parts: Sequence[tuple[float, int]], n: int) -> float:
    """The p-value of a difference whose variance is the sum of `parts` (variance, freedom)."""
    from scipy.special import stdtr

    variance = sum(part for part, _ in parts)
    if variance == 0 and difference == 0:
        return 1.0
    if variance == 0:  # the same on every image: as with a coin that never turned
        return 2.0 ** (1 - n)
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    return float(2 * stdtr(freedom, -abs(difference) / variance**0.5))


NOTES = {
    "student": "±: standard deviation over the seeds; the interval is the 95 % interval of the "
    "mean over seeds, for these test images (Student's t; with two seeds it is wide "
    "or, by chance, far too narrow)",
    "wilson": "intervals of accuracies without ±: 95 % interval of one network over test "
    "images (Wilson); it does not cover other seeds",
    "pictures": "intervals of other scores without ±: 95 % interval of one network over test "
    "images, by bootstrap for mean IoU",
    "tied": "rank: one plus the number of significantly better rows; = means that the test "
    "images cannot distinguish the row from another one (paired test, Holm, "
    f"{LEVEL:.0%} in total)",
    "tests": "rows with different letters were evaluated on different test images: do not "
    "compare their scores",
    "unranked": "no rank: its runs have no predictions, or were not all evaluated on the same "
    "test images",
    "seconds": "seconds: from the start of the training command to the end of the evaluation; "
    "images/s trained: training images per second of training epochs",
    "epochs": "training and validation: score and loss in the epoch whose weights were kept; "
    "training values are measured during the epoch, on augmented images",
    "machines": (
        "the runs used different machines or numbers of threads: do not compare their seconds"
    ),
}


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know."""
    methods = {row.score.method for row in rows if row.score}
    machines = {_machine(run) for row in rows for run in row.runs}
    applies = {
        "student": "student" in methods,
        "wilson": "wilson" in methods,
        "pictures": "pictures" in methods,
        "tied": any(row.tied_with for row in rows),
        "tests": any(row.test for row in rows),
        "unranked": any(row.score and row.rank is None for row in rows),
        "seconds": any(row.seconds for row in rows),
        "epochs": any(row.train_loss is not None for row in rows),
        "machines": len(machines) > 1,
    }
    return [text for key, text in NOTES.items() if applies[key]]


def _machine(run: Run) -> tuple[object, ...]:
    return tuple(run.environment.get(name) for name in ("cpu", "device", "threads"))


def same_pictures(run: Run, store: str | None) -> bool:
    """Whether a run learned from the prepared images `store`, as far as both are recorded."""
    return store is None or run.data.get("store") in (None, store)
