"""Sure answers are as often right as was asked for, on the pictures the threshold was
chosen with.
"""

import numpy as np

from eyesight.results.predictions import Predictions
from eyesight.results.threshold import LEAST, choose


def predictions(confidence, right):
    confidence = np.asarray(confidence, np.float32)
    values = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.where(right, values.argmax(1), 1 - values.argmax(1))
    return Predictions(
        tuple(map(str, range(len(values)))), labels.astype(np.int64), values, ("a", "b")
    )


def test_as_many_as_possible_are_sure_while_they_are_right_often_enough():
    found = choose(
        predictions([0.95, 0.9, 0.8, 0.7, 0.6], [True, True, True, False, True]), accuracy=0.75
    )
    assert (
        found.value == np.float32(0.8)
        and found.accuracy == 1
        and found.share == 0.6
        and found.n == 5
    )


def test_equal_probabilities_are_accepted_together_or_not_at_all():
    found = choose(predictions([0.9, 0.8, 0.8, 0.8], [True, True, True, False]))
    assert found.value == np.float32(0.9) and found.accuracy == 1 and found.share == 0.25


def test_a_perfect_classifier_is_still_not_sure_below_one_half():
    assert choose(predictions([0.9, 0.8], [True, True])).value == np.float32(0.8)
    three = Predictions(
        ("0",), np.array([0]), np.array([[0.4, 0.3, 0.3]], np.float32), ("a", "b", "c")
    )
    assert choose(three).value == LEAST


def test_a_very_good_classifier_leaves_out_half_of_its_mistakes():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 10000)
    right = random.uniform(size=10000) < 0.99 + 0.01 * confidence  # 99.75 % of them
    found = choose(predictions(confidence, right))
    assert found.accuracy >= (1 + right.mean()) / 2


def test_where_hardly_anything_would_be_sure_or_nothing_is_labelled_there_is_no_threshold():
    assert choose(predictions([0.9, 0.8], [False, True])) is None
    confidence = np.linspace(0.99, 0.6, 40)
    assert choose(predictions(confidence, np.arange(40) < 2)) is None, "two of forty would be sure"
    assert choose(predictions(confidence, np.arange(40) < 4)).share == 0.1
    unknown = Predictions(("0",), np.array([-1]), np.array([[0.4, 0.6]], np.float32), ("a", "b"))
    assert choose(unknown) is None
