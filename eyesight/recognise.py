"""What is on these pictures: files in, named classes out, through the same preparation as in training."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyesight import portable
from eyesight.data.prepare import BadPicture, Pixels
from eyesight.data.sources import list_pictures
from eyesight.errors import UserError
from eyesight.files import whole_file
from eyesight.portable import Portable

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

PORTION = 256  # pictures prepared before the network looks at them


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


def recognise(model: Path, pictures: Sequence[str], top: int = 1, weights: Path | None = None) -> list[Answer]:
    """An answer for every picture, in the order given (folders in natural order); `weights` is a file for a pretrained network."""
    paths = [path for where in pictures for path in list_pictures(where)]
    known = load(model) if weights is None else pretrained(str(model), weights)
    return [answer for start in range(0, len(paths), PORTION) for answer in _portion(known, paths[start : start + PORTION], top)]


def _portion(known: Classifier | Portable, paths: Sequence[Path], top: int) -> Iterator[Answer]:
    pixels: list[Pixels] = []
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            pixels.append(known.prepare(path.read_bytes()))
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


def load(model: Path) -> Classifier | Portable:
    """The classifier in an ONNX file, which needs no torch, in its folder, in its run, or a pretrained network by its name."""
    if not model.exists() and len(model.parts) == 1 and model.suffix != ".onnx":
        return pretrained(str(model))
    if model.suffix.lower() == ".onnx":
        return portable.load(model)
    from eyesight import classifier

    return classifier.load(classifier_folder(model))


def pretrained(name: str, file: Path | None = None) -> Classifier:
    """A pretrained network with the classes it was trained on, its weights from `file` or from where they can be had."""
    from eyesight import transfer

    return transfer.recogniser(name, file)


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
