"""An image classifier as a scikit-learn estimator.

from eyesight.sklearn import ImageClassifier

scores = cross_val_score(ImageClassifier(epochs=30), images, labels)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from eyesight import api
from eyesight.data.prepare import Pixels, Preparation
from eyesight.errors import UserError
from eyesight.models.own import NetworkSource
from eyesight.recipe import Data, Model, Optim, Recipe, Training, is_own
from eyesight.system.device import default_device
from eyesight.system.files import scratch

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from eyesight.classifier import Classifier
    from eyesight.models.layers import Network
    from eyesight.results.history import EpochMetrics

Array: TypeAlias = npt.NDArray[np.generic]
CHANNELS = (1, 3)
EXPECTED = "give N,H,W or N,H,W,C with 1 or 3 channels, or N,F with image_shape=(H, W[, C])"
FILES = ("classifier.json", "weights.safetensors")
SMALL = Recipe(
    name="image_classifier",
    data=Data(scaling="standard"),
    model=Model("small_cnn"),
    optim=Optim("adamw", lr=0.003, schedule="one_cycle", warmup=0.25, weight_decay=0.01),
    training=Training(epochs=20, batch=32, keep="last", precision="float32"),
)


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # no types in sklearn
    """A convolutional network as a scikit-learn classifier.

    Parameters
    ----------
    recipe
        A recipe's name, or a `Recipe`; a small network for small images otherwise. Recipes with a
        pretrained backbone are for `eyesight.train`.
    model
        A network's name, or a network of your own: `my_net.py:MyNet`, or an importable class called
        as `model(channels, classes)`. The recipe's otherwise.
    image_shape
        (H, W) or (H, W, C) of an image whose pixels are given as one row of N,F. One of them may be
        -1, as in `numpy.reshape`.
    value_range
        The smallest and the largest possible pixel value, such as (0, 16). Whole numbers are taken
        for 0 to 255 and fractions for 0 to 1 otherwise. With "data" the range of the training
        images is learned in `fit`, and other values are clipped.
    epochs, batch_size, learning_rate
        Those of the recipe otherwise.
    budget
        The time for `fit`, in seconds or as text such as "1m".
    settings
        More fields of the recipe, such as {"augment.shift": 0.1}.
    random_state
        Decides weights, order and augmentation: a number, a `RandomState` or None.
    verbose
        Report progress.

    Attributes
    ----------
    classes_
        The labels, in the order of the columns of `predict_proba`.
    n_features_in_
        The length of the second axis of `X`.
    classifier_
        The trained `eyesight.Classifier`.
    history_
        Loss and score of every epoch, a list of `eyesight.EpochMetrics`.
    """

    def __init__(
        self,
        recipe: str | Recipe | None = None,
        *,
        model: NetworkSource | None = None,
        image_shape: tuple[int, ...] | None = None,
        value_range: tuple[float, float] | Literal["data"] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        budget: str | float | None = None,
        settings: Mapping[str, object] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.image_shape = image_shape
        self.value_range = value_range
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.budget = budget
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: object, y: object) -> ImageClassifier:  # noqa: N803 - scikit-learn's names
        """Train on images N,H,W[,C], or N,F with `image_shape`, and labels N.

        Raises ValueError for arrays that are no images, and UserError for what cannot be trained.
        """
        from eyesight.classifier import Classifier

        images, labels = validate_data(self, X, y, allow_nd=True, dtype="numeric")
        check_classification_targets(labels)
        self.classes_ = unique_labels(labels)
        if len(self.classes_) < 2:
            raise ValueError("a classifier cannot be trained: y has only one class")
        self._range_ = self._value_range(images)
        pixels = self._pixels(images)
        recipe = self._recipe()
        names = tuple(str(label) for label in self.classes_)
        numbers = np.searchsorted(self.classes_, labels)
        network, self.history_ = _train(recipe, pixels, numbers, names, verbose=self.verbose)
        channels, height, width = pixels.shape[1:]
        preparation = Preparation(height, width, channels, "none")
        self.classifier_ = Classifier(network, recipe.model, names, preparation)
        return self

    def predict_proba(self, X: object) -> npt.NDArray[np.float64]:  # noqa: N803
        """Probabilities N,K, the columns in the order of `classes_`."""
        check_is_fitted(self, "classifier_")
        images = validate_data(self, X, reset=False, allow_nd=True, dtype="numeric")
        probabilities = self.classifier_.probabilities(self._pixels(images)).astype(np.float64)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def predict(self, X: object) -> Array:  # noqa: N803
        """The most probable label of every image."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _recipe(self) -> Recipe:
        """The recipe with this estimator's own parameters."""
        recipe = SMALL if self.recipe is None else api.resolve(self.recipe)
        settings = dict(self.settings or {})
        own = {
            "training.epochs": self.epochs,
            "training.batch": self.batch_size,
            "optim.lr": self.learning_rate,
        }
        settings.update({path: value for path, value in own.items() if value is not None})
        model = self.model
        if isinstance(model, str) and not is_own(model):
            settings["model.name"] = model
            model = None
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        return api.resolve(recipe, model=model, set=settings, budget=self.budget, seed=int(seed))

    def _value_range(self, images: Array) -> tuple[float, float]:
        if self.value_range is None:
            return (0.0, 1.0) if images.dtype.kind == "f" else (0.0, 255.0)
        if isinstance(self.value_range, str):
            return float(images.min()), float(images.max())
        low, high = self.value_range
        return float(low), float(high)

    def _pixels(self, images: Array) -> Pixels:
        """uint8 N,C,H,W."""
        count = len(images)
        if self.image_shape is not None:
            try:
                images = images.reshape(count, *self.image_shape)
            except ValueError:
                features = int(np.prod(images.shape[1:]))
                raise ValueError(
                    f"X has {features} features, which do not match image_shape={self.image_shape}"
                ) from None
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or images.shape[3] not in CHANNELS:
            raise ValueError(f"X has the shape {images.shape}. Reshape your data: {EXPECTED}")
        low, high = self._range_
        if not isinstance(self.value_range, str):
            _check_range(images, low, high)
        values = images.astype(np.float64).clip(low, high) - low
        pixels = np.rint(values * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def __getstate__(self) -> dict[str, object]:
        state: dict[str, object] = super().__getstate__()
        if "classifier_" in state:  # as its two files, which any process can load
            state = {**state, "classifier_": _packed(self.classifier_)}
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        packed = state.get("classifier_")
        if isinstance(packed, dict):
            state = {**state, "classifier_": _unpacked(packed)}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        return tags


def _check_range(images: Array, low: float, high: float) -> None:
    if images.min() < low or images.max() > high:
        raise ValueError(
            f"X has values from {images.min():g} to {images.max():g}, outside of {low:g} to "
            f"{high:g}: set value_range=(low, high)"
        )


def _train(
    recipe: Recipe,
    pixels: Pixels,
    labels: npt.NDArray[np.int64],
    names: tuple[str, ...],
    *,
    verbose: bool,
) -> tuple[Network, list[EpochMetrics]]:
    """A network trained on all images, and the figures of its epochs; no file is written."""

    from eyesight.data.images import Images
    from eyesight.models import registry
    from eyesight.training.checkpoint import State
    from eyesight.training.context import Context
    from eyesight.training.initialise import network_for
    from eyesight.training.loop import fit
    from eyesight.views.live import epoch_metrics, reporter

    if registry.is_backbone(recipe.model):
        raise UserError(
            f"{recipe.model.name} is a pretrained backbone; ImageClassifier trains from scratch",
            "use eyesight.train, which computes its features once",
        )
    images = Images.of(pixels, labels, names, tuple(map(str, range(len(labels)))))
    device = default_device()
    network = network_for(recipe, images, device)
    context = Context(reporter=reporter()) if verbose else Context()
    context.clock.budget = recipe.training.budget
    state = State.start(network, recipe)
    history = []
    for epoch in fit(state, images, None, recipe, context):
        context.reporter.epoch(epoch)
        history.append(epoch_metrics(epoch))
    state.finish(recipe.training)
    return network.eval(), history


def _packed(classifier: Classifier) -> dict[str, bytes]:
    with scratch() as place:
        folder = place / "classifier"
        classifier.save(folder)
        return {name: (folder / name).read_bytes() for name in FILES}


def _unpacked(files: dict[str, bytes]) -> Classifier:
    from eyesight.classifier import load

    with scratch() as place:
        for name in FILES:
            (place / name).write_bytes(files[name])
        return replace(load(place), source="")
