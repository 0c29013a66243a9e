"""Predict the classes of image files, prepared as in training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from eyesight.data.opening import list_pictures
from eyesight.data.prepare import BadPicture, Pixels
from eyesight.errors import UserError, unknown
from eyesight.inference import onnx_classifier
from eyesight.inference.annotate import annotated, overlaid
from eyesight.inference.onnx_classifier import OnnxClassifier
from eyesight.models import zoo
from eyesight.recipes import is_known
from eyesight.results.calibration import UNRESERVED
from eyesight.results.conformal import PredictionSets
from eyesight.runs import Run
from eyesight.system.files import unique_names, whole_file
from eyesight.system.tables import csv_text

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

AnyClassifier: TypeAlias = "Classifier | OnnxClassifier"
Preprocess = Callable[[bytes], "bytes | Pixels"]
PORTION = 256  # images that are prepared at once


@dataclass(frozen=True)
class FilePrediction:
    """The most probable classes of a file, or its problem."""

    path: str
    top: tuple[tuple[str, float], ...] = ()
    problem: str = ""
    set: tuple[str, ...] | None = None  # the prediction set
    # Unlike the training images: unreliable. None if the classifier cannot detect this.
    unlike: bool | None = None
    anomaly: float | None = None  # an autoencoder's reconstruction error
    unfamiliar: bool | None = None  # whether that error is unusually large

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        top = [{"class": name, "probability": probability} for name, probability in self.top]
        values: dict[str, object] = {"path": self.path, "top": top}
        if self.set is not None:
            values["set"] = list(self.set)
        values["unlike"] = self.unlike
        if self.anomaly is not None:
            values["anomaly"] = self.anomaly
            values["unfamiliar"] = self.unfamiliar
        return values


def load(
    path: str | Path, weights: str | Path | None = None, only: str | None = None
) -> AnyClassifier:
    """Load a classifier from a run, a classifier folder, an ONNX file, or a backbone's name.

    An ONNX file needs no PyTorch. The result's `source`, also shown by `repr`, tells which one it
    is.

    Parameters
    ----------
    path
        For example `runs/0001-lenet5`, `runs/0001-lenet5/classifier`, `digits.onnx`, or the name of
        a pretrained backbone such as `tf_efficientnet_lite0`.
    weights
        A file of weights for a backbone.
    only
        "dogs" restricts a backbone to its dog breeds.

    Raises
    ------
    UserError
        If there is nothing at `path` and no backbone has this name, the run has no classifier
        yet, or files are damaged or were written by a newer version.
    """
    model = Path(path)
    if weights is not None or is_backbone_name(model):
        from eyesight.inference.pretrained import recogniser  # imports torch

        return recogniser(str(path), None if weights is None else Path(weights), only)
    if only is not None:
        raise UserError(
            "--only applies only to pretrained networks",
            f"name one, such as tf_efficientnet_lite0, instead of {path}",
            code=2,
        )
    if model.suffix.lower() == ".onnx":
        return onnx_classifier.load(model)
    folder = classifier_folder(model)
    from eyesight import classifier  # imports torch, so a missing run is reported before

    loaded = classifier.load(folder)
    if (model / "classifier.json").is_file():
        return loaded
    return replace(loaded, source=f"run {Run.open(model).path}")


def is_backbone_name(model: Path) -> bool:
    """Whether this is a backbone's name, and neither an existing path nor a recipe's name."""
    if model.exists() or len(model.parts) != 1 or model.suffix == ".onnx":
        return False
    return not is_known(model.name) or zoo.find(model.name) is not None


def classifier_folder(path: Path) -> Path:
    """The classifier's folder, given itself or its run; raises UserError when a run has none."""
    if (path / "classifier.json").is_file():
        return path
    run = Run.open(path)
    if not (run.classifier_path / "classifier.json").is_file():
        raise UserError(f"{run.path} has no classifier: the run is {run.status}", run.way_on)
    return run.classifier_path


def predict_folders(
    classifier: AnyClassifier,
    pictures: Sequence[str],
    top: int = 1,
    preprocess: str = "",
    sure: float | None = None,
) -> list[FilePrediction]:
    """Predictions for files and for all images in folders, in natural order."""
    paths: list[Path] = []
    for place in pictures:
        paths.extend(list_pictures(place))
    return list(predict_files(classifier, paths, top, preprocess, sure=sure))


def predict_files(
    classifier: AnyClassifier,
    paths: Iterable[Path],
    top: int = 1,
    preprocess: str = "",
    root: Path | None = None,
    sure: float | None = None,
) -> Iterator[FilePrediction]:
    """Predictions in the order of `paths`; memory does not grow with their number.

    Relative paths are relative to `root`. With `preprocess="digit"` a digit's ink is fitted and
    centred as in MNIST before the classifier's own preprocessing. `sure` is the coverage of the
    prediction sets, default 0.95; raises UserError if the classifier has no prediction sets.
    """
    function = preprocessing(preprocess)
    remaining = iter(paths)
    while portion := list(islice(remaining, PORTION)):
        yield from _predict_portion(classifier, portion, top, function, root or Path(), sure)


def preprocessing(name: str) -> Preprocess:
    """The function called `name` that comes before a classifier's own preprocessing.

    Raises UserError for an unknown name.
    """
    if name == "digit":
        from eyesight.reader import mnist_digit

        return mnist_digit.digit
    if name:
        raise unknown("preparation", name, ["digit"])
    return lambda picture: picture


def _predict_portion(
    classifier: AnyClassifier,
    paths: Sequence[Path],
    top: int,
    preprocess: Preprocess,
    root: Path,
    sure: float | None,
) -> Iterator[FilePrediction]:
    pixels: list[Pixels] = []
    problems: dict[int, str] = {}
    for number, path in enumerate(paths):
        try:
            pixels.append(classifier.prepare(preprocess((root / path).read_bytes())))
        except BadPicture as error:
            problems[number] = str(error)
        except OSError as error:
            problems[number] = f"unreadable: {error.strerror}"
    predictions: Iterator[FilePrediction] = iter(())
    if pixels:
        predictions = _named(classifier, np.stack(pixels), top, sure)
    for number, path in enumerate(paths):
        if number in problems:
            yield FilePrediction(str(path), problem=problems[number])
        else:
            yield replace(next(predictions), path=str(path))


def _named(
    classifier: AnyClassifier, pixels: Pixels, top: int, sure: float | None
) -> Iterator[FilePrediction]:
    """The predictions for prepared images, without their paths."""
    answers = classifier.answer(pixels)
    sets = answers.set
    if sure is not None:
        sets = prediction_sets(classifier).sets(answers.probabilities, sure)
    for number, row in enumerate(answers.probabilities):
        order = np.argsort(-row, kind="stable")
        names = tuple((classifier.classes[column], float(row[column])) for column in order[:top])
        among = None
        if sets is not None:
            among = tuple(classifier.classes[column] for column in order if sets[number, column])
        unlike = None
        if answers.unlike is not None:
            unlike = bool(answers.unlike[number] > 0)
        yield FilePrediction("", names, set=among, unlike=unlike)


def prediction_sets(classifier: AnyClassifier) -> PredictionSets:
    """The classifier's prediction sets; raises UserError if it was not calibrated."""
    sets = classifier.calibration.sets
    if sets is None:
        reason = (
            classifier.calibration.reason("sets") or "no validation images were reserved for it"
        )
        hint = (
            "train with at least 200 validation images: more images, or a larger share of them, "
            "for example --set data.validation=0.3"
        )
        if reason == UNRESERVED:
            hint = "use the run of a single fold: it has them if the fold has at least 200 images"
        raise UserError(f"this classifier has no prediction sets: {reason}", hint)
    return sets


def draw_predictions(predictions: Sequence[FilePrediction], folder: Path) -> None:
    """Write copies of the images, NAME.named.jpg, with classes and probabilities drawn on them."""
    for prediction, file in _copies(predictions, folder, ".named.jpg"):
        _write(file, annotated(Path(prediction.path).read_bytes(), prediction.top))


def draw_heatmaps(
    classifier: AnyClassifier,
    predictions: Sequence[FilePrediction],
    folder: Path,
    preprocess: str = "",
) -> None:
    """Write Grad-CAM heatmaps of each image's first class, NAME.places.png, into `folder`."""
    classes = len(classifier.classes)
    if classifier.facts.get("only"):
        classes -= 1  # the last class is everything else
    function = preprocessing(preprocess)
    for prediction, file in _copies(predictions, folder, ".places.png"):
        pixels = classifier.prepare(function(Path(prediction.path).read_bytes()))[None]
        if isinstance(classifier, OnnxClassifier):
            heat = classifier.heat(pixels)
        else:
            from eyesight.inference import gradcam

            best = classifier.probabilities(pixels)[:, :classes].argmax(1)
            heat = gradcam.heat(classifier, pixels, best)
        _write(file, overlaid(pixels[0], heat[0]))


def _copies(
    predictions: Sequence[FilePrediction], folder: Path, ending: str
) -> Iterator[tuple[FilePrediction, Path]]:
    """Each readable image with the path of its copy; repeated names are numbered."""
    readable = [prediction for prediction in predictions if not prediction.problem]
    names = unique_names(Path(prediction.path).stem for prediction in readable)
    for prediction, name in zip(readable, names, strict=True):
        yield prediction, folder / (name + ending)


def _write(file: Path, picture: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as opened:
        opened.write(picture)


def csv_header(top: int) -> list[str]:
    """The names of the columns of `csv_row`."""
    names = ["picture", "class", "probability"]
    for number in range(2, top + 1):
        names += [f"class{number}", f"probability{number}"]
    return names


def csv_row(prediction: FilePrediction) -> list[str]:
    """A prediction as the cells of a table: its file, then classes and probabilities."""
    cells = [prediction.path]
    for name, probability in prediction.top:
        cells += [name, f"{probability:.4f}"]
    return cells


def csv_table(predictions: Iterable[FilePrediction], top: int) -> bytes:
    """A CSV row for every prediction; the last column is the problem with a file."""
    header = [*csv_header(top), "problem"]
    rows = [header]
    for prediction in predictions:
        cells = csv_row(prediction)
        empty = [""] * (len(header) - 1 - len(cells))
        rows.append([*cells, *empty, prediction.problem])
    return csv_text(rows).encode("utf-8", "backslashreplace")


def write_submission(predictions: Sequence[FilePrediction], path: Path) -> None:
    """Write the competition's table `id,target`, in the order given; a bad file has no target.

    The ids are file names without extension. Predictions that name more than one class have a
    probability beside each.
    """
    names = file_ids([Path(prediction.path) for prediction in predictions])
    most = max((len(prediction.top) for prediction in predictions), default=1)
    lines = [_submission_header(most)]
    for name, prediction in zip(names, predictions, strict=True):
        cells = [name]
        if most <= 1:
            cells += [target for target, _ in prediction.top]
        else:
            cells += csv_row(prediction)[1:]
        lines.append(cells + [""] * (len(lines[0]) - len(cells)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(csv_text(lines).encode("utf-8", "backslashreplace"))


def _submission_header(most: int) -> list[str]:
    if most <= 1:
        return ["id", "target"]
    return ["id", "target", *csv_header(most)[2:]]


def file_ids(paths: Sequence[Path]) -> list[str]:
    """File names without extension.

    Where two are equal, all get the folders below their common one, and if need be the extension.
    """
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    try:
        root = os.path.commonpath([path.parent.absolute() for path in paths])
    except ValueError:  # on different drives
        return [path.as_posix() for path in paths]
    relative = [path.absolute().relative_to(root) for path in paths]
    names = [path.with_suffix("").as_posix() for path in relative]
    if len(set(names)) == len(names):
        return names
    return [path.as_posix() for path in relative]
