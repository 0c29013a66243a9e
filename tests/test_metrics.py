"""Hand-checked values: a measure that is off by a little is worse than none."""

import math
import subprocess
import sys

import numpy as np
import pytest

from eyesight.results import metrics
from eyesight.results.predictions import Predictions, summary

# five pictures of three classes; right: 0, 1, 3. Wrong: 2 (class 1 taken for 2), 4 (class 2 taken
# for 0)
P = np.array(
    [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.98, 0.01, 0.01]],
    dtype=np.float32,
)
Y = np.array([0, 1, 1, 2, 2])
CLASSES = ("a", "b", "c")


def test_wilson_against_published_values():
    assert metrics.wilson(81, 263) == pytest.approx(
        (0.2553, 0.3662), abs=5e-5
    )  # Newcombe 1998, table I
    assert metrics.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert metrics.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert metrics.wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert metrics.wilson(0, 0) == (0.0, 1.0)


def test_top_k_counts_the_true_class_among_the_first():
    assert metrics.top_k(P, Y, 1) == pytest.approx(3 / 5)
    assert metrics.top_k(P, Y, 2) == pytest.approx(
        4 / 5
    )  # picture 2; picture 4 ties for second and loses
    assert metrics.top_k(P, Y, 3) == 1.0


def test_wilson_is_that_of_scipy():
    from scipy.stats import binomtest

    for n in (1, 2, 30, 1000):
        for correct in {0, 1, n // 2, n - 1, n}:
            expected = binomtest(correct, n).proportion_ci(method="wilson")
            assert metrics.wilson(correct, n) == pytest.approx(expected, abs=1e-12)


def test_confusion_has_true_classes_in_rows():
    assert metrics.confusion(P, Y).tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_confusion_keeps_absent_classes():
    assert metrics.confusion(P[:1], Y[:1]).shape == (3, 3)
    assert metrics.confusion(P[:0], Y[:0]).sum() == 0


def test_confusion_and_macro_f1_are_scikit_learns():
    from sklearn.metrics import confusion_matrix, f1_score

    random = np.random.default_rng(0)
    for classes in (2, 3, 40):  # of 40 classes, some neither occur nor are predicted
        p = random.dirichlet(np.ones(classes), 50)
        y = random.integers(0, classes, 50)
        predicted = p.argmax(axis=1)
        expected = confusion_matrix(y, predicted, labels=np.arange(classes))
        assert metrics.confusion(p, y).tolist() == expected.tolist()
        f1 = f1_score(y, predicted, average="macro", zero_division=0)
        assert metrics.macro_f1(p, y) == pytest.approx(f1)
    unlabelled = np.where(np.arange(50) < 10, -1, y)
    expected = confusion_matrix(y[10:], predicted[10:], labels=np.arange(40))
    assert metrics.confusion(p, unlabelled).tolist() == expected.tolist()


def test_per_class_by_hand_and_macro_f1_is_their_mean():
    rows = metrics.per_class(P, Y, CLASSES)
    assert [(row.name, row.n, row.precision, row.recall) for row in rows] == [
        ("a", 1, 0.5, 1.0),
        ("b", 2, 1.0, 0.5),
        ("c", 2, 0.5, 0.5),
    ]
    assert (
        metrics.macro_f1(P, Y)
        == pytest.approx(np.mean([row.f1 for row in rows]))
        == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    )


def test_per_class_does_not_invent_figures():
    row = metrics.per_class(P[:2], Y[:2], CLASSES)[2]
    assert (row.n, row.precision, row.recall, row.f1) == (0, None, None, 0.0)


def test_confused_pairs_are_sorted_and_named():
    more = np.concatenate([P, P[4:]])
    pairs = metrics.confused_pairs(more, np.append(Y, 2), CLASSES)
    assert [(pair.true, pair.predicted, pair.count) for pair in pairs] == [
        ("c", "a", 2),
        ("b", "c", 1),
    ]
    assert pairs[0].share == pytest.approx(2 / 3)


def test_log_loss_is_the_mean_and_survives_a_zero():
    assert metrics.log_loss(P, Y) == pytest.approx(
        -np.mean(np.log([0.9, 0.8, 0.3, 0.6, 0.01])), rel=1e-5
    )
    assert math.isfinite(metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])))


def test_costly_mistakes_begin_with_the_worst_and_hold_only_mistakes():
    assert metrics.costly_mistakes(P, Y, 10).tolist() == [4, 2]
    assert metrics.costly_mistakes(P, Y, 1).tolist() == [4]


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    result = metrics.reliability(p, np.array([0, 0, 0, 1]))
    assert result.error == pytest.approx(0.5 * abs(0.9 - 1.0) + 0.5 * abs(0.6 - 0.5))
    assert result.counts.sum() == 4
    assert np.isnan(result.accuracy).sum() == 8


def test_certainty_falls_into_the_last_bin():
    assert metrics.reliability(np.array([[1.0, 0.0]]), np.array([0])).counts[-1] == 1


def test_paired_difference_by_hand():
    # b = 1, c = 7: the exact two-sided p is 18/256; the mid-p takes away P(X = 1) = 8/256
    y = np.zeros(10, dtype=np.int64)
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    first = np.array([right] * 3 + [wrong] * 7)
    second = np.array([wrong] + [right] * 9)
    result = metrics.paired_difference(first, second, y)
    assert (result.only_first, result.only_second) == (1, 7)
    assert result.difference == pytest.approx(-0.6)
    assert result.p == pytest.approx(10 / 256)


def test_equal_classifiers_cannot_be_told_apart():
    assert metrics.paired_difference(P, P, Y).p == 1.0


def test_summary_leaves_out_unlabelled_pictures():
    predictions = Predictions(tuple("vwxyz"), np.array([0, 1, 1, 2, -1]), P, CLASSES)
    result = summary(predictions)
    assert (result["n"], result["top1"]) == (4, 0.75)
    assert result["interval"] == pytest.approx(metrics.wilson(3, 4))
    assert "top5" not in result
    assert set(result) == {"n", "top1", "interval", "macro_f1", "loss", "ece"}


def test_summary_without_labels_has_no_figures():
    assert summary(Predictions(("v",), np.array([-1]), P[:1], CLASSES))["top1"] is None


def test_summary_has_top5_above_five_classes():
    p = np.full((2, 7), 1 / 7)
    assert summary(Predictions(("a", "b"), np.array([0, 6]), p, tuple("abcdefg")))["top5"] == 0.5


def test_a_letter_taken_for_its_capital_counts_where_case_is_ignored():
    classes, p = (
        ("A", "a", "b"),
        np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.2, 0.8]]),
    )
    result = summary(Predictions(tuple("wxyz"), np.array([0, 1, 2, 2]), p, classes))
    assert (result["top1"], result["top1_ignoring_case"]) == (0.5, 0.75)


def test_import_is_light():
    code = "import sys, eyesight.results.metrics; print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
