"""Pictures in, pictures out: what an autoencoder restores and how far that is from what it was given; a mask for every picture."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eyesight.data.legend import palette
from eyesight.data.prepare import BadPicture, Pixels, Preparation, encode_mask, encode_png, upright_size
from eyesight.data.sources import list_pictures
from eyesight.errors import UserError
from eyesight.files import whole_file
from eyesight.portable import Portable
from eyesight.runs import Run

if TYPE_CHECKING:
    from eyesight.classifier import Classifier

PORTION = 16  # pictures prepared before the network looks at them: answers may be as large as pictures


@dataclass(frozen=True)
class Rendered:
    """What was made of one file: `score` is the mean squared error of what was restored, `shares` the parts of a mask by class."""

    path: str
    file: str = ""  # where it was written
    score: float | None = None
    unfamiliar: bool | None = None  # whether the error is above what 99 % of the validation pictures stay below
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
    return str(known.facts.get("target", "class")) if isinstance(known, Portable) else known.network.emits


def render(known: Classifier | Portable, pictures: Sequence[str], out: Path | None = None, usual: float | None = None) -> list[Rendered]:
    """What the model makes of every picture, in the order given, written into the folder `out`; `usual` errors are not unfamiliar."""
    paths = [path for where in pictures for path in list_pictures(where)]
    names = named(paths)
    if out is not None:
        if out.suffix or out.is_file():
            raise UserError(f"{out} is a file's name, and pictures are written into a folder", "--out DIR", code=2)
        if any(path.resolve().parent == out.resolve() for path in paths):
            raise UserError(f"what is written into {out} could take the place of pictures in it", "name another folder with --out", code=2)
        out.mkdir(parents=True, exist_ok=True)
    made = [one for start in range(0, len(paths), PORTION) for one in _portion(known, paths[start : start + PORTION], out, names, usual)]
    if out is not None:
        write_table(made, out / "answers.csv")
    return made


def named(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for what is made of each file: its own without the ending, with a number where that is not its alone."""
    stems = Counter(path.stem for path in paths)
    return {path: path.stem if stems[path.stem] == 1 else f"{path.stem}-{place}" for place, path in enumerate(paths)}


def _portion(
    known: Classifier | Portable, paths: Sequence[Path], out: Path | None, names: dict[Path, str], usual: float | None
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
    answers = dict(zip(ready, known.probabilities(pixels), strict=True)) if pixels is not None else {}
    for path in paths:
        if path in problems:
            yield Rendered(str(path), problem=problems[path])
        elif target_of(known) == "picture":
            yield _restored(path, ready[path][0], answers[path], out and out / f"{names[path]}.png", usual)
        else:
            yield _segmented(known, path, ready[path][1], answers[path], out and out / f"{names[path]}.png")


def _restored(path: Path, pixels: Pixels, answer: npt.NDArray[np.float32], file: Path | None, usual: float | None) -> Rendered:
    error = float(np.square(answer.astype(np.float64) - pixels / 255).mean())
    if file:
        _write(file, encode_png((answer.clip(0, 1) * 255).round().astype(np.uint8)))
    return Rendered(str(path), str(file or ""), error, None if usual is None else error > usual)


def _segmented(
    known: Classifier | Portable, path: Path, size: tuple[int, int], answer: npt.NDArray[np.float32], file: Path | None
) -> Rendered:
    mask = answer.argmax(0).astype(np.uint8)
    colours = [tuple(colour) for colour in known.facts.get("colours") or palette(len(known.classes))]
    if file:
        _write(file, encode_mask(mask, colours, size if _whole(known.preparation) else None))
    shares = np.bincount(mask.ravel(), minlength=len(known.classes)) / mask.size
    return Rendered(str(path), str(file or ""), shares=tuple(zip(known.classes, shares.tolist(), strict=True)))


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
    _write(file, text.getvalue().encode())


def usual_error(where: Path) -> float | None:
    """The error from which the pictures of an autoencoder's run are unfamiliar, by its validation pictures; None when it is not known."""
    if not (where / "recipe.json").is_file():
        return None
    result = Run.open(where).result
    found = (result.get("validation") or result.get("test") or {}).get("unfamiliar_from")
    return None if found is None else float(found)
