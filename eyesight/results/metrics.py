"""Measures of probabilities (float N,K) against labels (int64 N): pure functions, without torch.

scikit-learn is imported inside the functions that need it, so that `import eyesight` stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]

SMALLEST = 1e-12  # a probability of zero costs -log of this instead of infinity


@dataclass(frozen=True)
class ClassRow:
    """One class's figures; recall is None without pictures of it, precision None when it was never predicted."""

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True)
class Pair:
    """`count` pictures of the class `true`, which is `share` of them, were taken for `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width; `error` is the expected calibration error (Guo et al. 2017)."""

    confidence: Floats  # mean in each bin, NaN in an empty one
    accuracy: Floats
    counts: Labels
    error: float


@dataclass(frozen=True)
class Difference:
    """How two classifiers differ on the same pictures: McNemar's test, mid-p variant (Fagerland et al. 2013)."""

    only_first: int  # pictures that only the first got right
    only_second: int
    difference: float  # accuracy of the first minus that of the second
    p: float  # two-sided


def correct(probabilities: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """Which pictures were classified right, bool N."""
    return np.asarray(probabilities.argmax(axis=1) == labels, dtype=np.bool_)


def top_k(probabilities: Floats, labels: Labels, k: int = 1) -> float:
    """Share of pictures whose class is among the k most probable; ties go to the class that comes first."""
    if not len(labels):
        return float("nan")
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, None]).any(axis=1).mean())


def ignoring_case(probabilities: Floats, labels: Labels, classes: Sequence[str]) -> float | None:
    """Accuracy when `a` taken for `A` counts as right; None where no two classes differ only in case."""
    folded = [name.casefold() for name in classes]
    if len(set(folded)) == len(folded) or not len(labels):
        return None
    letter = np.array([folded.index(name) for name in folded])
    return float((letter[probabilities.argmax(axis=1)] == letter[labels]).mean())


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which stays sensible near 0 and 1; (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def macro_f1(probabilities: Floats, labels: Labels) -> float:
    """The mean of the F1 of every class that was there or was predicted."""
    from sklearn.metrics import f1_score

    return (
        float(f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0))
        if len(labels)
        else float("nan")
    )


def per_class(probabilities: Floats, labels: Labels, classes: Sequence[str]) -> list[ClassRow]:
    """One row a class, in the order of `classes`."""
    matrix = confusion(probabilities, labels)
    there = matrix.sum(axis=1)
    said = matrix.sum(axis=0)
    right = matrix.diagonal()
    return [
        ClassRow(
            name=name,
            n=int(there[k]),
            precision=float(right[k] / said[k]) if said[k] else None,
            recall=float(right[k] / there[k]) if there[k] else None,
            f1=float(2 * right[k] / (there[k] + said[k])) if there[k] + said[k] else 0.0,
        )
        for k, name in enumerate(classes)
    ]


def confusion(probabilities: Floats, labels: Labels) -> npt.NDArray[np.int64]:
    """Counts, int64 K,K: row the true class, column the predicted one."""
    from sklearn.metrics import confusion_matrix

    classes = probabilities.shape[1]
    if not len(labels):
        return np.zeros((classes, classes), dtype=np.int64)
    return np.asarray(
        confusion_matrix(labels, probabilities.argmax(axis=1), labels=np.arange(classes)),
        dtype=np.int64,
    )


def confused_pairs(
    probabilities: Floats, labels: Labels, classes: Sequence[str], most: int = 10
) -> list[Pair]:
    """The mistakes made most often, at most `most` of them."""
    matrix = confusion(probabilities, labels)
    there = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    pairs = [(int(index) // len(classes), int(index) % len(classes)) for index in order]
    return [
        Pair(
            classes[true],
            classes[said],
            int(matrix[true, said]),
            float(matrix[true, said] / there[true]),
        )
        for true, said in pairs
        if matrix[true, said]
    ]


def losses(probabilities: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """-log of the probability given to the true class, float64 N."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.maximum(given, SMALLEST)), dtype=np.float64)


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """The mean cross-entropy in nats."""
    return float(losses(probabilities, labels).mean()) if len(labels) else float("nan")


def calibration(probabilities: Floats, labels: Labels, bins: int = 10) -> Calibration:
    """Whether what is said with 80 % is right in 80 % of the cases."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = correct(probabilities, labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=confidence, minlength=bins)
    rights = np.bincount(place, weights=right, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = sums / counts
        shares = rights / counts
    error = float(np.abs(sums - rights).sum() / len(labels)) if len(labels) else float("nan")
    return Calibration(means, shares, counts.astype(np.int64), error)


def costly_mistakes(probabilities: Floats, labels: Labels, most: int) -> Labels:
    """Indices of wrongly classified pictures, the one with the greatest loss first."""
    wrong = np.flatnonzero(~correct(probabilities, labels))
    order = np.argsort(-losses(probabilities, labels)[wrong], kind="stable")
    return np.asarray(wrong[order][:most], dtype=np.int64)


def paired_difference(first: Floats, second: Floats, labels: Labels) -> Difference:
    """Whether two classifiers' accuracies on the same pictures can be told apart."""
    right = correct(first, labels)
    other = correct(second, labels)
    b = int((right & ~other).sum())
    c = int((~right & other).sum())
    p = 1.0 if b == c else _mid_p(min(b, c), b + c)
    return Difference(b, c, (b - c) / len(labels) if len(labels) else float("nan"), p)


def _mid_p(least: int, n: int) -> float:
    """Twice P(X < least) plus P(X = least) for n tosses of a fair coin, in whole numbers so that nothing is rounded away."""
    ways = 1
    below = 0
    for k in range(least):
        below += ways
        ways = ways * (n - k) // (k + 1)
    return float((2 * below + ways) / 2**n)
