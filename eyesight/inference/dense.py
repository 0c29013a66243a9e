"""Predict images: reconstructions with their errors, and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eyesight.data.masks.legend import palette
from eyesight.data.opening import list_pictures
from eyesight.data.prepare import (
    BadPicture,
    Pixels,
    Preparation,
    encode_mask,
    encode_png,
    upright_size,
)
from eyesight.errors import UserError
from eyesight.inference.annotate import beside, masked
from eyesight.inference.onnx_classifier import OnnxClassifier, load
from eyesight.runs import Run
from eyesight.system.files import unique_names, whole_file
from eyesight.system.tables import csv_text

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

WORDS = {"picture": "restored", "mask": "masked"}  # in the names of drawn files
PORTION = 16  # images in a batch, since an output may be as large as an image


@dataclass(frozen=True)
class Rendered:
    """The output for one file.

    `score` is the mean squared error of a reconstruction, `shares` the area of each mask class.
    """

    path: str
    file: str = ""  # where it was written
    score: float | None = None
    unfamiliar: bool | None = None  # the error is above that of 99 % of the validation images
    shares: tuple[tuple[str, float], ...] = ()
    problem: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        values: dict[str, object] = {"path": self.path}
        if self.problem:
            return {**values, "problem": self.problem}
        if self.file:
            values["written"] = self.file
        if self.score is not None:
            return {**values, "anomaly": self.score, "unfamiliar": self.unfamiliar}
        return {**values, "shares": dict(self.shares)}


def target_of(classifier: Classifier | OnnxClassifier) -> str:
    """The target of a network: class, picture or mask."""
    if isinstance(classifier, OnnxClassifier):
        return str(classifier.facts.get("target", "class"))
    return classifier.network.emits


def render(
    classifier: Classifier | OnnxClassifier,
    pictures: Sequence[str],
    out: Path | None = None,
    usual: float | None = None,
    draw: Path | None = None,
) -> list[Rendered]:
    """The output for every image, in the order given, written into the folder `out`.

    Reconstruction errors above `usual` are unfamiliar. With `draw`, masks over their images or
    reconstructions beside them are written into that folder.
    """
    paths: list[Path] = []
    for place in pictures:
        paths.extend(list_pictures(place))
    for option, folder in (("--out", out), ("--draw", draw)):
        if folder is not None:
            _make_folder(folder, option, paths)
    places = Places(named(paths), out, draw)
    rendered: list[Rendered] = []
    for start in range(0, len(paths), PORTION):
        rendered.extend(_portion(classifier, paths[start : start + PORTION], places, usual))
    if out is not None:
        write_table(rendered, out / "answers.csv")
    return rendered


def _make_folder(folder: Path, option: str, paths: Sequence[Path]) -> None:
    if folder.suffix or folder.is_file():
        raise UserError(
            f"{folder} is a file name, but images are written into a folder",
            f"{option} DIR",
            code=2,
        )
    if any(path.resolve().parent == folder.resolve() for path in paths):
        raise UserError(
            f"the output in {folder} could overwrite input images",
            f"name another folder with {option}",
            code=2,
        )
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class Places:
    """Where outputs and drawings are written, if anywhere."""

    names: dict[Path, str]
    out: Path | None
    draw: Path | None


def named(paths: Sequence[Path]) -> dict[Path, str]:
    """A unique name for each file's output: its stem, numbered if repeated."""
    different = list(dict.fromkeys(paths))
    return dict(zip(different, unique_names(path.stem for path in different), strict=True))


def _read(
    classifier: Classifier | OnnxClassifier, paths: Sequence[Path]
) -> tuple[dict[Path, tuple[Pixels, tuple[int, int]]], dict[Path, str]]:
    """Prepared pixels and upright size of each readable file, and reasons for the others."""
    ready: dict[Path, tuple[Pixels, tuple[int, int]]] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            data = path.read_bytes()
            ready[path] = classifier.prepare(data), upright_size(data)
        except BadPicture as error:
            problems[path] = str(error)
        except OSError as error:
            problems[path] = f"unreadable: {error.strerror}"
    return ready, problems


def _portion(
    classifier: Classifier | OnnxClassifier,
    paths: Sequence[Path],
    places: Places,
    usual: float | None,
) -> Iterator[Rendered]:
    ready, problems = _read(classifier, paths)
    outputs: dict[Path, npt.NDArray[np.float32]] = {}
    if ready:
        batch = np.stack([pixels for pixels, _ in ready.values()])
        outputs = dict(zip(ready, classifier.probabilities(batch), strict=True))
    for path in paths:
        if path in problems:
            yield Rendered(str(path), problem=problems[path])
            continue
        pixels, size = ready[path]
        rendered = figures(classifier, str(path), pixels, outputs[path], usual)
        name = places.names[path]
        if places.draw:
            file = places.draw / f"{name}.{WORDS[target_of(classifier)]}.png"
            _write(file, drawn(classifier, pixels, outputs[path]))
        if places.out:
            file = places.out / f"{name}.png"
            _write(file, encoded(classifier, outputs[path], size))
            rendered = replace(rendered, file=str(file))
        yield rendered


def figures(
    classifier: Classifier | OnnxClassifier,
    name: str,
    pixels: Pixels,
    output: npt.NDArray[np.float32],
    usual: float | None,
) -> Rendered:
    """The figures of an output for a prepared image: its error, or the area of each class."""
    if target_of(classifier) == "picture":
        error = float(np.square(output.astype(np.float64) - pixels / 255).mean())
        unfamiliar = None
        if usual is not None:
            unfamiliar = error > usual
        return Rendered(name, score=error, unfamiliar=unfamiliar)
    counts = np.bincount(output.argmax(0).ravel(), minlength=len(classifier.classes))
    shares = (counts / output[0].size).tolist()
    return Rendered(name, shares=tuple(zip(classifier.classes, shares, strict=True)))


def encoded(
    classifier: Classifier | OnnxClassifier,
    output: npt.NDArray[np.float32],
    size: tuple[int, int],
) -> bytes:
    """An output as PNG: the reconstruction, or class numbers with a palette."""
    if target_of(classifier) == "picture":
        return encode_png(eight_bits(output))
    mask = output.argmax(0).astype(np.uint8)
    if not _whole(classifier.preparation):
        return encode_mask(mask, colours_of(classifier))
    return encode_mask(mask, colours_of(classifier), size)


def drawn(
    classifier: Classifier | OnnxClassifier, pixels: Pixels, output: npt.NDArray[np.float32]
) -> bytes:
    """A visualisation as PNG: a mask over its image, or both images side by side."""
    if target_of(classifier) == "picture":
        return beside(pixels, eight_bits(output))
    return masked(pixels, output.argmax(0).astype(np.uint8), colours_of(classifier))


def eight_bits(output: npt.NDArray[np.float32]) -> Pixels:
    """A reconstruction from 0 to 1 as uint8."""
    return (output.clip(0, 1) * 255).round().astype(np.uint8)


def colours_of(classifier: Classifier | OnnxClassifier) -> list[tuple[int, ...]]:
    """The colours of the classes."""
    colours = classifier.facts.get("colours") or palette(len(classifier.classes))
    return [tuple(colour) for colour in colours]


def _whole(preparation: Preparation) -> bool:
    """Whether preparation keeps the whole image, so that its mask can be resized back."""
    squashed = preparation.resize in ("squash", "none")
    return squashed and not preparation.pad and preparation.crop_fraction == 1.0


def _write(file: Path, data: bytes) -> None:
    with whole_file(file) as opened:
        opened.write(data)


def write_table(rendered: Sequence[Rendered], file: Path) -> None:
    """Write a CSV line for each image: path, written file, and its error or the classes' areas."""
    names: dict[str, None] = {}
    for item in rendered:
        names.update(dict.fromkeys(name for name, _ in item.shares))
    rows: list[list[object]] = [["picture", "written", *(names or ["anomaly", "unfamiliar"])]]
    for item in rendered:
        values: list[object] = [item.score, item.unfamiliar]
        if names:
            shares = dict(item.shares)
            values = [shares.get(name) for name in names]
        cells = ["" if value is None else value for value in values]
        rows.append([item.path, item.file, *cells])
    _write(file, csv_text(rows).encode(errors="backslashreplace"))


def usual_error(path: Path) -> float | None:
    """The reconstruction error above which images are unfamiliar to an autoencoder.

    Measured on validation images; None if unknown.
    """
    if path.suffix.lower() == ".onnx":
        return load(path).facts.get("unfamiliar_from")
    if (path / "recipe.json").is_file():
        return Run.open(path).unfamiliar_from
    return None
