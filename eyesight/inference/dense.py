"""Pictures in, pictures out: what an autoencoder restores and how far that is from what it was given; a mask for every picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from eyesight.inference.onnx_classifier import Portable, load
from eyesight.runs import Run
from eyesight.system.files import distinct, whole_file

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

WORDS = {"picture": "restored", "mask": "masked"}  # in the names of what is drawn for people
PORTION = (
    16  # pictures prepared before the network looks at them: answers may be as large as pictures
)


@dataclass(frozen=True)
class Rendered:
    """What was made of one file: `score` is the mean squared error of what was restored, `shares` the parts of a mask by class."""

    path: str
    file: str = ""  # where it was written
    score: float | None = None
    unfamiliar: bool | None = (
        None  # whether the error is above what 99 % of the validation pictures stay below
    )
    shares: tuple[tuple[str, float], ...] = ()
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        if self.problem:
            return {"path": self.path, "problem": self.problem}
        found: dict[str, Any] = {"path": self.path, **({"written": self.file} if self.file else {})}
        if self.score is not None:
            return {**found, "anomaly": self.score, "unfamiliar": self.unfamiliar}
        return {**found, "shares": dict(self.shares)}


def target_of(known: Classifier | Portable) -> str:
    """What a model gives for a picture: class, picture or mask."""
    return (
        str(known.facts.get("target", "class"))
        if isinstance(known, Portable)
        else known.network.emits
    )


def render(
    known: Classifier | Portable,
    pictures: Sequence[str],
    out: Path | None = None,
    usual: float | None = None,
    draw: Path | None = None,
) -> list[Rendered]:
    """What the model makes of every picture, in the order given, written into the folder `out`; `usual` errors are not unfamiliar.

    Into the folder `draw` go pictures for people: masks laid over, or what was restored beside what was given.
    """
    paths = [path for where in pictures for path in list_pictures(where)]
    names = named(paths)
    for option, folder in (("--out", out), ("--draw", draw)):
        if folder is not None:
            _folder(folder, option, paths)
    places = Places(names, out, draw)
    made = [
        one
        for start in range(0, len(paths), PORTION)
        for one in _portion(known, paths[start : start + PORTION], places, usual)
    ]
    if out is not None:
        write_table(made, out / "answers.csv")
    return made


def _folder(folder: Path, option: str, paths: Sequence[Path]) -> None:
    if folder.suffix or folder.is_file():
        raise UserError(
            f"{folder} is a file's name, and pictures are written into a folder",
            f"{option} DIR",
            code=2,
        )
    if any(path.resolve().parent == folder.resolve() for path in paths):
        raise UserError(
            f"what is written into {folder} could take the place of pictures in it",
            f"name another folder with {option}",
            code=2,
        )
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class Places:
    """Where what is made of each picture is written, if anywhere."""

    names: dict[Path, str]
    out: Path | None
    draw: Path | None


def named(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for what is made of each file: its own without the ending, with a number where another came with it before."""
    different = list(dict.fromkeys(paths))
    return dict(zip(different, distinct(path.stem for path in different), strict=True))


def _portion(
    known: Classifier | Portable, paths: Sequence[Path], places: Places, usual: float | None
) -> Iterator[Rendered]:
    ready: dict[Path, tuple[Pixels, tuple[int, int]]] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            data = path.read_bytes()
            ready[path] = known.prepare(data), upright_size(data)
        except BadPicture as bad:
            problems[path] = str(bad)
        except OSError as error:
            problems[path] = f"unreadable: {error.strerror}"
    pixels = np.stack([prepared for prepared, _ in ready.values()]) if ready else None
    answers = (
        dict(zip(ready, known.probabilities(pixels), strict=True)) if pixels is not None else {}
    )
    for path in paths:
        if path in problems:
            yield Rendered(str(path), problem=problems[path])
            continue
        pixels, size = ready[path]
        made = said(known, str(path), pixels, answers[path], usual)
        if places.draw:
            _write(
                places.draw / f"{places.names[path]}.{WORDS[target_of(known)]}.png",
                shown(known, pixels, answers[path]),
            )
        if places.out:
            made = replace(made, file=str(places.out / f"{places.names[path]}.png"))
            _write(Path(made.file), encoded(known, answers[path], size))
        yield made


def said(
    known: Classifier | Portable,
    name: str,
    pixels: Pixels,
    answer: npt.NDArray[np.float32],
    usual: float | None,
) -> Rendered:
    """The figures of an answer to a prepared picture: the anomaly score, or the share of every class."""
    if target_of(known) == "picture":
        error = float(np.square(answer.astype(np.float64) - pixels / 255).mean())
        return Rendered(name, score=error, unfamiliar=None if usual is None else error > usual)
    shares = np.bincount(answer.argmax(0).ravel(), minlength=len(known.classes)) / answer[0].size
    return Rendered(name, shares=tuple(zip(known.classes, shares.tolist(), strict=True)))


def encoded(
    known: Classifier | Portable, answer: npt.NDArray[np.float32], size: tuple[int, int]
) -> bytes:
    """An answer as a PNG file: what was restored, or class numbers with their colours as palette, of the picture's own size."""
    if target_of(known) == "picture":
        return encode_png(eight_bits(answer))
    return encode_mask(
        answer.argmax(0).astype(np.uint8),
        colours_of(known),
        size if _whole(known.preparation) else None,
    )


def shown(known: Classifier | Portable, pixels: Pixels, answer: npt.NDArray[np.float32]) -> bytes:
    """An answer as people want to see it, PNG: the mask over the picture, or what was restored beside it."""
    if target_of(known) == "picture":
        return beside(pixels, eight_bits(answer))
    return masked(pixels, answer.argmax(0).astype(np.uint8), colours_of(known))


def eight_bits(answer: npt.NDArray[np.float32]) -> Pixels:
    """A restored picture from 0 to 1 as uint8."""
    return (answer.clip(0, 1) * 255).round().astype(np.uint8)


def colours_of(known: Classifier | Portable) -> list[tuple[int, ...]]:
    """The colours of its classes."""
    return [tuple(colour) for colour in known.facts.get("colours") or palette(len(known.classes))]


def _whole(how: Preparation) -> bool:
    """Whether every part of a prepared picture lies where it lies in the picture, so that its mask can be brought to the old size."""
    return how.resize in ("squash", "none") and not how.pad and how.crop_fraction == 1.0


def _write(file: Path, data: bytes) -> None:
    with whole_file(file) as opened:
        opened.write(data)


def write_table(made: Sequence[Rendered], file: Path) -> None:
    """A line for each picture: its path, what was written, the anomaly score or the shares of the classes."""
    names = list(dict.fromkeys(name for one in made for name, _ in one.shares))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "written", *(names or ["anomaly", "unfamiliar"])])
    for one in made:
        shares = dict(one.shares)
        values = [shares.get(name, "") for name in names] if names else [one.score, one.unfamiliar]
        writer.writerow([one.path, one.file, *("" if value is None else value for value in values)])
    _write(file, text.getvalue().encode(errors="backslashreplace"))


def usual_error(where: Path) -> float | None:
    """The error from which the pictures of an autoencoder's run are unfamiliar, by its validation pictures; None when it is not known."""
    if where.suffix.lower() == ".onnx":
        known = load(where).facts.get("unfamiliar_from")
        return None if known is None else float(known)
    return Run.open(where).unfamiliar_from if (where / "recipe.json").is_file() else None
