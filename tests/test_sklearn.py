"""The estimator in scikit-learn's own tools, and what check_estimator says of it."""

import pickle
import warnings

import drawn
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from eyesight.errors import UserError
from eyesight.sklearn import ImageClassifier

EXPECTED_FAILED_CHECKS = {
    "check_methods_subset_invariance": "float32 convolutions sum in another order in batches of "
    "another size; probabilities differ by less than 1e-6, and the check allows 1e-7",
}


def digits(count=400):
    x, y = load_digits(return_X_y=True)
    return x[:count], y[:count]


def quick(**more):
    return ImageClassifier(
        image_shape=(8, 8), value_range=(0, 16), epochs=6, random_state=0, **more
    )


def test_labels_and_probabilities_are_those_of_the_images():
    pixels, numbers = drawn.pictures(240)
    labels = np.array(["ring", "bar", "cross"])[numbers]
    estimator = ImageClassifier(epochs=12, random_state=0)
    assert estimator.fit(pixels[:180, 0], labels[:180]) is estimator
    assert estimator.classes_.tolist() == ["bar", "cross", "ring"] and len(estimator.history_) == 12
    probabilities = estimator.predict_proba(pixels[180:, 0])
    assert probabilities.shape == (60, 3) and np.allclose(probabilities.sum(1), 1)
    assert estimator.score(pixels[180:, 0], labels[180:]) > 0.8
    colour = np.repeat(pixels[:60, 0, :, :, None], 3, axis=3)
    assert ImageClassifier(epochs=1).fit(colour, labels[:60]).predict(colour).shape == (60,)
    assert ImageClassifier(epochs=1).fit(colour / 255, labels[:60]).predict(colour / 255).size == 60


def test_the_same_seed_gives_the_same_network():
    x, y = digits(100)
    first, second = quick().fit(x, y), quick().fit(x, y)
    assert np.array_equal(first.predict_proba(x), second.predict_proba(x))
    other = quick().set_params(random_state=1).fit(x, y)
    assert not np.array_equal(first.predict_proba(x), other.predict_proba(x))


def test_a_fitted_estimator_is_pickled_as_its_two_files():
    x, y = digits(100)
    estimator = quick(settings={"augment.shift": 0.1}).fit(x, y)
    content = pickle.dumps(estimator)
    assert b"torch" not in content
    assert np.allclose(pickle.loads(content).predict_proba(x), estimator.predict_proba(x))
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params() and not hasattr(copy, "classifier_")


@pytest.mark.parametrize(
    ("estimator", "x", "error", "message"),
    [
        (ImageClassifier(), np.zeros((4, 64)), ValueError, "Reshape your data"),
        (ImageClassifier(image_shape=(8, 9)), np.zeros((4, 64)), ValueError, "do not match image_shape"),
        (ImageClassifier(), np.full((4, 8, 8), 16.0), ValueError, "set value_range"),
        (ImageClassifier(), np.zeros((4, 8, 8, 7)), ValueError, "1 or 3 channels"),
        (ImageClassifier("dogs"), np.zeros((4, 32, 32)), UserError, "pretrained backbone"),
        (ImageClassifier(settings={"optim.rate": 1}), np.zeros((4, 8, 8)), UserError, "optim.rate"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_words(estimator, x, error, message):
    with pytest.raises(error, match=message):
        estimator.fit(x, [0, 1, 0, 1])


def test_values_outside_of_a_learned_range_are_clipped():
    x, y = digits(100)
    estimator = quick().set_params(value_range="data", epochs=1).fit(x, y)
    assert np.array_equal(estimator.predict(x * 2), estimator.predict((x * 2).clip(0, 16)))


@pytest.mark.whole
def test_in_scikit_learns_own_tools():
    x, y = digits()
    assert cross_val_score(quick(), x, y, cv=2).mean() > 0.8
    scaled = make_pipeline(MinMaxScaler(), quick().set_params(value_range="data"))
    assert scaled.fit(x[:300], y[:300]).score(x[300:], y[300:]) > 0.8
    darker = make_pipeline(FunctionTransformer(lambda values: values / 2), quick())
    assert cross_val_score(darker, x, y, cv=2).mean() > 0.8
    search = GridSearchCV(quick(), {"learning_rate": [1e-6, 0.003], "model": ["small_cnn"]}, cv=2)
    assert search.fit(x, y).best_params_["learning_rate"] == 0.003
    calibrated = CalibratedClassifierCV(quick(), cv=2).fit(x[:300], y[:300])
    assert calibrated.score(x[300:], y[300:]) > 0.8


@pytest.mark.whole
def test_check_estimator_passes_but_for_the_checks_with_a_reason():
    estimator = ImageClassifier(
        image_shape=(1, -1), value_range="data", random_state=0, batch_size=32, epochs=8
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            estimator, expected_failed_checks=EXPECTED_FAILED_CHECKS, on_fail=None
        )
    failed = [result for result in results if result["status"] == "failed"]
    assert failed == [] and len(results) > 50
