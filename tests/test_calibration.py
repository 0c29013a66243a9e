"""A temperature mends confidence, never changes the answer, and its error is measured honestly."""

import numpy as np
import pytest

from eyesight.results import calibration, metrics


def overconfident(n=4000, factor=3.0, seed=0):
    """Logits that are `factor` times too large, and labels drawn from the true distribution."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (n, 6))
    probabilities = calibration.softmax(logits)
    labels = np.array([random.choice(6, p=row / row.sum()) for row in probabilities.astype(float)])
    return logits * factor, labels


def test_the_fitted_temperature_is_the_factor_and_mends_the_error():
    logits, labels = overconfident()
    temperature = calibration.fit_temperature(logits, labels)
    assert temperature == pytest.approx(3.0, rel=0.08)
    before, after = calibration.softmax(logits), calibration.softmax(logits, temperature)
    assert metrics.reliability(before, labels).error > 0.1
    assert metrics.reliability(after, labels).error < 0.03
    assert metrics.log_loss(after, labels) < metrics.log_loss(before, labels)
    assert (before.argmax(1) == after.argmax(1)).all()


def test_few_or_unlabelled_images_fit_none():
    logits, labels = overconfident(40)
    assert calibration.choose_temperature(logits, labels) == 1.0
    logits, labels = overconfident(100)
    assert calibration.choose_temperature(logits, np.full(100, -1)) == 1.0


def test_a_temperature_is_used_only_where_it_helps_images_that_did_not_fit_it():
    logits, labels = overconfident(600)
    chosen = calibration.choose_temperature(logits, labels)
    assert chosen == calibration.fit_temperature(logits, labels) != 1.0
    kept = 0
    for seed in range(20):
        logits, labels = overconfident(200, factor=1.0, seed=seed)
        kept += calibration.choose_temperature(logits, labels) == 1.0
    assert 5 <= kept < 20


def test_probabilities_go_to_a_temperature_and_back():
    logits, _ = overconfident(20)
    there = calibration.at_temperature(calibration.softmax(logits), 2.0)
    assert there == pytest.approx(calibration.softmax(logits, 2.0), abs=1e-6)
    assert calibration.at_temperature(there, 0.5) == pytest.approx(
        calibration.softmax(logits), abs=1e-4
    )


def test_perfect_calibration_lies_within_its_own_range_and_overconfidence_outside():
    logits, labels = overconfident(1500, factor=1.0)
    good = calibration.calibration_error(calibration.softmax(logits), labels)
    assert good.perfect[0] <= good.value <= good.perfect[1]
    bad = calibration.calibration_error(calibration.softmax(3 * logits), labels)
    assert bad.value > bad.perfect[1] and bad.interval[0] < bad.value * 1.1


def test_risk_and_coverage_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    curve = calibration.risk_coverage(probabilities, np.array([0, 1, 0, 0]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 1 / 4]))


def test_validation_images_without_a_mistake_do_not_make_every_answer_certain():
    labels = np.arange(200) % 3
    logits = np.eye(3)[labels] * 4.0
    temperature = calibration.fit_temperature(logits, labels)
    surest = calibration.softmax(logits, temperature).max()
    assert 0.98 < surest < 0.999
