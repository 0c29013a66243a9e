"""Metrics of probabilities (float N,K) against labels (int64 N): pure functions, without torch.

SciPy is imported inside the functions that need it, so that `import eyesight` stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]

NORMAL_975 = 1.959963984540054  # the 97.5 % quantile; scipy.stats takes two seconds to import
SMALLEST = 1e-12  # a probability of zero costs -log of this instead of infinity
BINS = 10  # of confidence, for the expected calibration error


@dataclass(frozen=True)
class ClassRow:
    """Metrics of one class: recall is None without images of it, precision without predictions."""

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True)
class Pair:
    """`count` images of the class `true`, a `share` of it, were predicted as `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017)."""

    confidence: Floats  # mean in each bin, NaN in an empty one
    accuracy: Floats
    counts: Labels
    error: float  # the expected calibration error


@dataclass(frozen=True)
class Difference:
    """McNemar's test of two classifiers on the same images, mid-p (Fagerland et al. 2013)."""

    only_first: int  # images that only the first got right
    only_second: int
    difference: float  # accuracy of the first minus that of the second
    p: float  # two-sided


def correct(probabilities: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """Whether each image was classified correctly, bool N."""
    return np.asarray(probabilities.argmax(axis=1) == labels, dtype=np.bool_)


def top_k(probabilities: Floats, labels: Labels, k: int = 1) -> float:
    """Top-k accuracy; ties go to the class that comes first."""
    if not len(labels):
        return float("nan")
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, None]).any(axis=1).mean())


def ignoring_case(
    probabilities: Floats, labels: Labels, class_names: Sequence[str]
) -> float | None:
    """Accuracy when `a` predicted for `A` counts as correct.

    None where no two class names differ only in case.
    """
    folded = [name.casefold() for name in class_names]
    if len(set(folded)) == len(folded) or not len(labels):
        return None
    letters = np.array([folded.index(name) for name in folded])
    predicted = letters[probabilities.argmax(axis=1)]
    return float((predicted == letters[labels]).mean())


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share; (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    weight = NORMAL_975**2 / n
    centre = (share + weight / 2) / (1 + weight)
    variance = share * (1 - share) / n + weight / (4 * n)
    half = NORMAL_975 * math.sqrt(variance) / (1 + weight)
    low = max(0.0, centre - half)
    high = min(1.0, centre + half)
    if correct == 0:
        low = 0.0
    if correct == n:
        high = 1.0
    return low, high


def macro_f1(probabilities: Floats, labels: Labels) -> float:
    """The mean F1 over the classes that occur or were predicted."""
    if not len(labels):
        return float("nan")
    matrix = confusion(probabilities, labels)
    sizes = matrix.sum(axis=0) + matrix.sum(axis=1)
    hits = matrix.diagonal()
    return float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean())


def per_class(probabilities: Floats, labels: Labels, class_names: Sequence[str]) -> list[ClassRow]:
    """One row a class, in the order of `class_names`."""
    matrix = confusion(probabilities, labels)
    rows = []
    for k, name in enumerate(class_names):
        n = int(matrix[k].sum())
        predictions = int(matrix[:, k].sum())
        hits = int(matrix[k, k])
        precision = None
        recall = None
        f1 = 0.0
        if predictions:
            precision = hits / predictions
        if n:
            recall = hits / n
        if n + predictions:
            f1 = 2 * hits / (n + predictions)
        rows.append(ClassRow(name, n, precision, recall, f1))
    return rows


def confusion(probabilities: Floats, labels: Labels) -> npt.NDArray[np.int64]:
    """The confusion matrix, int64 K,K: rows are true classes, columns predicted ones.

    Images without a label are left out. (scikit-learn's takes most of a second to import.)
    """
    classes = probabilities.shape[1]
    labelled = labels >= 0
    predicted = probabilities[labelled].argmax(axis=1)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels[labelled], predicted), 1)
    return matrix


def confused_pairs(
    probabilities: Floats, labels: Labels, class_names: Sequence[str], most: int = 10
) -> list[Pair]:
    """The most frequent mistakes, at most `most` of them."""
    matrix = confusion(probabilities, labels)
    sizes = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    pairs = []
    for cell in np.argsort(-matrix, axis=None, kind="stable")[:most]:
        true, predicted = divmod(int(cell), len(class_names))
        count = int(matrix[true, predicted])
        if count:
            share = count / int(sizes[true])
            pairs.append(Pair(class_names[true], class_names[predicted], count, share))
    return pairs


def losses(probabilities: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """-log of the probability of the true class, float64 N."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, SMALLEST)), dtype=np.float64)


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """The mean cross-entropy in nats."""
    if not len(labels):
        return float("nan")
    return float(losses(probabilities, labels).mean())


def reliability(probabilities: Floats, labels: Labels, bins: int = BINS) -> Reliability:
    """Accuracy by confidence: what is said with 80 % should be right in 80 % of the cases."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = correct(probabilities, labels).astype(np.float64)
    place = bin_of(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=confidence, minlength=bins)
    rights = np.bincount(place, weights=hits, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = sums / counts
        accuracy = rights / counts
    error = float("nan")
    if len(labels):
        error = float(np.abs(sums - rights).sum() / len(labels))
    return Reliability(means, accuracy, counts.astype(np.int64), error)


def bin_of(confidence: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of equal width that each confidence falls into; a bin contains its upper edge."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def costly_mistakes(probabilities: Floats, labels: Labels, most: int) -> Labels:
    """Indices of misclassified images, the one with the greatest loss first."""
    wrong = np.flatnonzero(~correct(probabilities, labels))
    order = np.argsort(-losses(probabilities, labels)[wrong], kind="stable")
    return np.asarray(wrong[order][:most], dtype=np.int64)


def paired_difference(first: Floats, second: Floats, labels: Labels) -> Difference:
    """Whether two classifiers' accuracies on the same images can be told apart."""
    return mc_nemar(correct(first, labels), correct(second, labels))


def mc_nemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Difference:
    """McNemar's test, mid-p, from whether each classifier was correct on each image, bool N."""
    only_first = int((first & ~second).sum())
    only_second = int((~first & second).sum())
    discordant = only_first + only_second
    difference = float("nan")
    if len(first):
        difference = (only_first - only_second) / len(first)
    p = 1.0
    if only_first != only_second:
        from scipy.stats import binom, binomtest

        exact = binomtest(only_first, discordant).pvalue
        p = float(exact - binom.pmf(only_first, discordant, 0.5))
    return Difference(only_first, only_second, difference, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, corrected for their number (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        corrected = min(1.0, (len(p_values) - place) * p_values[index])
        highest = max(highest, corrected)
        adjusted[index] = highest
    return adjusted
