"""Sets of classes keep their promise on images like those that calibrate."""

import numpy as np
import pytest

from eyesight.results import conformal
from eyesight.results.conformal import PredictionSets


def drawn(n, classes=8, seed=0, sharpness=1.5):
    """Probabilities N,K and labels drawn from them: a perfectly calibrated classifier."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, sharpness, (n, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(classes, p=row) for row in probabilities])
    return probabilities.astype(np.float32), labels


def test_the_score_of_a_class_is_the_probability_of_the_more_probable_ones():
    scores = conformal.class_scores(np.array([[0.2, 0.5, 0.3]]))
    assert scores == pytest.approx(np.array([[0.8, 0.0, 0.5]]))
    assert conformal.class_scores(np.array([[0.2, 0.5, 0.3]]), 0.1) == pytest.approx(
        np.array([[1.0, 0.0, 0.6]])
    )


@pytest.mark.parametrize("level", conformal.LEVELS)
def test_coverage_lies_within_the_beta_binomial_range(level):
    sets = PredictionSets.fit(*drawn(1000))
    found = conformal.coverage(sets, *drawn(4000, seed=1), level)
    assert found["expected"][0] <= found["coverage"] <= found["expected"][1]
    assert found["expected"][0] < level < found["expected"][1]


def test_a_set_is_never_empty_and_few_images_promise_nothing():
    probabilities, labels = drawn(30)
    sets = PredictionSets.fit(probabilities, labels)
    assert sets.sets(probabilities, 0.5).any(axis=1).all()
    assert sets.sets(probabilities, 0.99).all(), "30 images cannot tell 99 of 100"
    assert sets.threshold(0.99) == np.inf


def test_each_class_has_its_own_promise_on_request():
    probabilities, labels = drawn(6000, classes=3)
    probabilities[labels == 2] = probabilities[labels == 2][:, [2, 0, 1]]  # one class is hard
    half = np.arange(6000) < 3000
    sets = PredictionSets.fit(probabilities[half], labels[half])
    rest, truth = probabilities[~half], labels[~half]
    hard = truth == 2
    held = sets.sets(rest, 0.9)[np.arange(len(truth)), truth]
    own = sets.sets(rest, 0.9, by_class=True)[np.arange(len(truth)), truth]
    assert held[hard].mean() < 0.87
    assert abs(own[hard].mean() - 0.9) < 0.03 and abs(own[~hard].mean() - 0.9) < 0.03


def test_they_are_kept_as_plain_values():
    sets = PredictionSets.fit(*drawn(100), 0.01)
    again = PredictionSets.from_dict(sets.to_dict())
    probabilities, _ = drawn(50, seed=2)
    assert (again.sets(probabilities, 0.9) == sets.sets(probabilities, 0.9)).all()
