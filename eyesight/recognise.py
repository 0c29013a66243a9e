"""What is on these pictures: files in, named classes out, through the same preparation as in training."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from eyesight import portable
from eyesight.data.prepare import BadPicture, Pixels
from eyesight.data.sources import list_pictures
from eyesight.drawing import annotated, overlaid
from eyesight.errors import UserError, unknown
from eyesight.files import whole_file
from eyesight.portable import Portable

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

Known: TypeAlias = "Classifier | Portable"
PORTION = 256  # pictures prepared before the network looks at them
First = Callable[[bytes], "bytes | Pixels"]  # what is done to a picture before the preparation of the training


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one file, or what is wrong with it."""

    path: str
    top: tuple[tuple[str, float], ...] = ()
    problem: str = ""
    anomaly: float | None = None  # an autoencoder's error, where one was asked
    unfamiliar: bool | None = None  # whether that is more than it makes of nearly all pictures of the kind it learnt: then nothing is sure

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        doubt = {} if self.anomaly is None else {"anomaly": self.anomaly, "unfamiliar": self.unfamiliar}
        return {"path": self.path, "top": [{"class": name, "probability": sure} for name, sure in self.top], **doubt}


def recognise(known: Known, pictures: Sequence[str], top: int = 1, first: str = "") -> list[Answer]:
    """An answer for every picture, in the order given (folders in natural order).

    `first` is "digit" to fit and centre a digit's ink as in MNIST before the network's own preparation.
    """
    paths = [path for where in pictures for path in list_pictures(where)]
    prepare_first = beforehand(first)
    portions = (paths[start : start + PORTION] for start in range(0, len(paths), PORTION))
    return [answer for portion in portions for answer in _portion(known, portion, top, prepare_first)]


def beforehand(name: str) -> First:
    """The preparation called `name` that comes before the network's own; raises UserError for an unknown one."""
    if name == "digit":
        from eyesight import ink

        return ink.digit
    if name:
        raise unknown("preparation", name, ["digit"])
    return lambda picture: picture


def _portion(known: Known, paths: Sequence[Path], top: int, first: First) -> Iterator[Answer]:
    pixels: list[Pixels] = []
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            pixels.append(known.prepare(first(path.read_bytes())))
        except BadPicture as bad:
            problems[path] = str(bad)
        except OSError as error:
            problems[path] = f"unreadable: {error.strerror}"
    values = iter(known.probabilities(np.stack(pixels)) if pixels else np.zeros((0, len(known.classes)), np.float32))
    for path in paths:
        if path in problems:
            yield Answer(str(path), problem=problems[path])
        else:
            sure = next(values)
            best = np.argsort(-sure, kind="stable")[:top]
            yield Answer(str(path), tuple((known.classes[place], float(sure[place])) for place in best))


def load(model: Path, weights: Path | None = None, only: str | None = None) -> Known:
    """The classifier in an ONNX file, which needs no torch, in its folder, in its run, or a pretrained network by its name.

    `weights` is a file for a pretrained network; `only` ("dogs") narrows it to some of its classes.
    """
    if weights is not None or is_name(model):
        from eyesight import transfer

        return transfer.recogniser(str(model), weights, only)
    if only is not None:
        raise UserError("only a pretrained network can be narrowed", f"name one, such as tf_efficientnet_lite0, instead of {model}", code=2)
    if model.suffix.lower() == ".onnx":
        return portable.load(model)
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
            from eyesight import explain

            heat = explain.heat(known, pixels, known.probabilities(pixels)[:, :named].argmax(1))
        _write(file, overlaid(pixels[0], heat[0]))


def _copies(answers: Sequence[Answer], folder: Path, ending: str) -> Iterator[tuple[Answer, Path]]:
    """Every answered picture with the file for its copy; of pictures with one name, from several folders, the later get a number."""
    seen: Counter[str] = Counter()
    for answer in answers:
        if not answer.problem:
            stem = Path(answer.path).stem
            seen[stem] += 1
            yield answer, folder / (stem + (f"-{seen[stem]}" if seen[stem] > 1 else "") + ending)


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
        raise UserError(
            f"{run.path} holds no classifier: the run is {run.status}", f"eyesight train {run.path} --resume --out {run.path.parent}"
        )
    return run.classifier_path


def write_table(answers: Sequence[Answer], path: Path) -> None:
    """The competition's table `id,target`: ids are file names without extension, in the order given; a bad file's target is empty."""
    stems = [Path(answer.path).stem for answer in answers]
    unique = max(Counter(stems).values(), default=1) == 1
    lines = [("id", "target")]
    for answer, stem in zip(answers, stems, strict=True):
        lines.append((stem if unique else Path(answer.path).as_posix(), answer.top[0][0] if answer.top else ""))
    with whole_file(path) as file:
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        csv.writer(text, lineterminator="\n").writerows(lines)
        text.detach()
