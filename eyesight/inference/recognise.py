"""What is on these pictures: files in, named classes out, through the same preparation as in training."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from eyesight.data.opening import list_pictures
from eyesight.errors import UserError
from eyesight.inference import onnx_classifier
from eyesight.inference.annotate import annotated, overlaid
from eyesight.inference.onnx_classifier import Portable
from eyesight.inference.predict import Answer, Known, answers, beforehand
from eyesight.system.files import distinct, whole_file


def recognise(known: Known, pictures: Sequence[str], top: int = 1, first: str = "") -> list[Answer]:
    """An answer for every picture, in the order given (folders in natural order); `first` as in `answers`."""
    return list(
        answers(known, (path for where in pictures for path in list_pictures(where)), top, first)
    )


def load(model: Path, weights: Path | None = None, only: str | None = None) -> Known:
    """The classifier in an ONNX file, which needs no torch, in its folder, in its run, or a pretrained network by its name.

    `weights` is a file for a pretrained network; `only` ("dogs") narrows it to some of its classes.
    """
    if weights is not None or is_name(model):
        from eyesight.inference.pretrained import recogniser  # imports torch

        return recogniser(str(model), weights, only)
    if only is not None:
        raise UserError(
            "only a pretrained network can be narrowed",
            f"name one, such as tf_efficientnet_lite0, instead of {model}",
            code=2,
        )
    if model.suffix.lower() == ".onnx":
        return onnx_classifier.load(model)
    from eyesight import classifier

    return classifier.load(classifier_folder(model))


def is_name(model: Path) -> bool:
    """Whether this can only be the name of a pretrained network, since it is no path to anything."""
    return not model.exists() and len(model.parts) == 1 and model.suffix != ".onnx"


def draw(answers: Sequence[Answer], folder: Path) -> None:
    """Copies of the answered pictures in `folder`, NAME.named.jpg, with the names and probabilities written on them."""
    for answer, file in _copies(answers, folder, ".named.jpg"):
        _write(file, annotated(Path(answer.path).read_bytes(), answer.top))


def look(known: Known, answers: Sequence[Answer], folder: Path, first: str = "") -> None:
    """What the network saw of the answered pictures, NAME.places.png, with the places that spoke for its first class bright."""
    named, prepare_first = len(known.classes) - bool(known.facts.get("only")), beforehand(first)
    for answer, file in _copies(answers, folder, ".places.png"):
        pixels = known.prepare(prepare_first(Path(answer.path).read_bytes()))[None]
        if isinstance(known, Portable):
            heat = known.heat(pixels)
        else:
            from eyesight.inference import gradcam

            heat = gradcam.heat(known, pixels, known.probabilities(pixels)[:, :named].argmax(1))
        _write(file, overlaid(pixels[0], heat[0]))


def _copies(answers: Sequence[Answer], folder: Path, ending: str) -> Iterator[tuple[Answer, Path]]:
    """Every answered picture with the file for its copy; of pictures with one name, from several folders, the later get a number."""
    answered = [answer for answer in answers if not answer.problem]
    names = distinct(Path(answer.path).stem for answer in answered)
    yield from (
        (answer, folder / (name + ending)) for answer, name in zip(answered, names, strict=True)
    )


def _write(file: Path, picture: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as opened:
        opened.write(picture)


def classifier_folder(where: Path) -> Path:
    """The classifier's folder, given itself or its run; raises UserError when a run has none."""
    if (where / "classifier.json").is_file():
        return where
    from eyesight.runs import Run

    run = Run.open(where)
    if not (run.classifier_path / "classifier.json").is_file():
        raise UserError(f"{run.path} holds no classifier: the run is {run.status}", run.way_on)
    return run.classifier_path


def write_table(answers: Sequence[Answer], path: Path) -> None:
    """The competition's table `id,target`: ids are file names without extension, in the order given; a bad file's target is empty."""
    names = ids([Path(answer.path) for answer in answers])
    lines = [
        ("id", "target"),
        *(
            (name, answer.top[0][0] if answer.top else "")
            for name, answer in zip(names, answers, strict=True)
        ),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        text = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        csv.writer(text, lineterminator="\n").writerows(lines)
        text.detach()


def ids(paths: Sequence[Path]) -> list[str]:
    """File names without extension; where two are equal, with the folders below the one that all share, and if need be the extension."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    try:
        above = os.path.commonpath([path.parent.absolute() for path in paths])
    except ValueError:  # on different drives
        return [path.as_posix() for path in paths]
    below = [path.absolute().relative_to(above) for path in paths]
    short = [path.with_suffix("").as_posix() for path in below]
    return short if len(set(short)) == len(short) else [path.as_posix() for path in below]
