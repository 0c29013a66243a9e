"""A `Source`: named images with labels, nothing decoded yet; and which file names count as images.

A file is an image by its name or by its first bytes: a photo without extension is used, and a
broken `.jpg` is not overlooked.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from eyesight.data.prepare import BadPicture, Problem
from eyesight.errors import UserError
from eyesight.system.digest import sha256

Read = Callable[[int], "bytes | np.ndarray"]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
NaturalKey = tuple[list[str | tuple[int, str]], str]

EXTENSIONS = frozenset(
    """.jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .tif .tiff .webp .avif .heic .heif .jp2 .tga
    .pbm .pgm .ppm .pnm""".split()  # noqa: SIM905
)
FONTS = (".ttf", ".otf", ".ttc", ".otc")
NUMBERS = re.compile("([0-9]+)")
SYSTEM = frozenset(
    [
        "__macosx",
        "__pycache__",
        "@eadir",
        "thumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "#recycle",
        "lost+found",
        "system volume information",
    ]
)
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP|P[1-6]\s+[0-9#]"
    rb"|.{4}ftyp(avi[fs]|hei[cx]|mif1)",
    re.DOTALL,
)
MOST_BYTES = 1 << 29  # one encoded image of more than half a gigabyte is an accident or an attack


@dataclass(frozen=True, eq=False)
class Source:
    """Named images with labels; nothing is decoded yet."""

    name: str  # as the user wrote it
    classes: tuple[str, ...]  # class names; their order is fixed here
    ids: tuple[str, ...]  # folder: posix path relative to its root; arrays: "train/00012"
    labels: np.ndarray  # int64 N, -1 = unlabelled
    splits: np.ndarray  # str N: "train", "validation", "test", or "" where the data does not say
    read: Read  # encoded bytes, or a decoded uint8 array H,W or H,W,C; raises BadPicture
    pixels: np.ndarray | None  # uint8 N,C,H,W when everything is already an array of one size
    fingerprint: str  # cheap to compute; changes whenever the content might have
    problems: tuple[Problem, ...] = ()  # of the listing
    boxes: Callable[[], Sequence[Box]] | None = None  # around each object; read only when called
    notes: tuple[str, ...] = ()  # which folders, columns and splits were used
    advice: tuple[str, ...] = ()  # where the classes may be, for the error of a single class
    groups: tuple[str, ...] | None = None  # N; images of one group stay on one side of a split


def natural(text: str) -> NaturalKey:
    """A sorting key that puts "2" before "10"."""
    pieces = NUMBERS.split(text)  # text and digits take turns, so that like is compared with like
    key: list[str | tuple[int, str]] = []
    for position, piece in enumerate(pieces):
        if position % 2:
            digits = piece.lstrip("0")
            key.append((len(digits), digits))
        else:
            key.append(piece)
    return key, text


def natural_text(name: str) -> str:
    """`natural` as one short text, for lists of millions of names; 01 and 1 are equal."""
    return NUMBERS.sub(_number_text, name)


def _number_text(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"\0{chr(len(digits))}{digits}"


def hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system rather than to the person."""
    return name.startswith(".") or name.lower() in SYSTEM


def extension(name: str) -> str:
    """The file name's ending with its dot, in lower case."""
    return f".{name.rpartition('.')[2]}".lower() if "." in name else ""


def is_picture(path: str | Path) -> bool:
    """Whether name or first bytes are an image's; an unreadable file counts by its name alone."""
    if extension(str(path)) in EXTENSIONS:
        return True
    try:
        with Path(path).open("rb") as file:
            return MAGIC.match(file.read(32)) is not None
    except OSError:
        return False


def printable(name: str) -> str:
    """The name with bytes that are no text escaped, to be printed and written as JSON."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def count_of_images(count: int) -> str:
    """`1 image`, `1,200 images`."""
    return "1 image" if count == 1 else f"{count:,} images"


def class_name(name: str) -> str:
    """The name in one Unicode form: macOS and Linux store the same letters differently."""
    return unicodedata.normalize("NFC", printable(name)).strip()


def digest(parts: Iterable[object]) -> str:
    """A short SHA-256 of the parts' texts, in order."""
    text = "\0".join(printable(str(part)) for part in parts)
    return sha256(text.encode())[:32]


def file_stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes whenever a file is written to or replaced, without reading it.

    It only decides whether a file has to be read again: the content decides what it is.
    """
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return status.st_dev, status.st_ino, status.st_size, *times


def path_stamp(path: Path) -> tuple[str | int, ...]:
    """`file_stamp` with the path that all links lead to."""
    return str(path.resolve()), *file_stamp(path.stat())


def in_order(names: Iterable[str], *, letters: bool = False) -> tuple[str, ...]:
    """The distinct class names in natural order.

    Raises UserError when two differ only in case; single letters may, with `letters`.
    """
    classes = sorted(set(names), key=natural)
    first_of: dict[str, str] = {}
    for name in classes:
        other = first_of.setdefault(name.casefold(), name)
        if other == name or (letters and len(name) == len(other) == 1):
            continue
        raise UserError(
            f"classes {other!r} and {name!r} differ only in case",
            "rename one or merge the two; some file systems cannot tell them apart",
        )
    return tuple(classes)


def reader(paths: Sequence[str | Path]) -> Read:
    """A function from a row to that file's bytes.

    It raises BadPicture for what cannot be read or would fill the memory.
    """

    def read(index: int) -> bytes:
        path = Path(paths[index])
        try:
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise BadPicture("huge", f"the file has {size:,} bytes")
            return path.read_bytes()
        except OSError as error:
            raise BadPicture("unreadable", error.strerror or str(error)) from error

    return read


def from_arrays(
    name: str,
    parts: Sequence[tuple[str, np.ndarray, np.ndarray]],
    classes: tuple[str, ...],
    fingerprint: str,
) -> Source:
    """A source from (split, pixels uint8 N,C,H,W, labels int N) parts of one image size."""
    numbering: defaultdict[str, count[int]] = defaultdict(count)
    ids: list[str] = []
    for split, part_pixels, _ in parts:
        rows = numbering[split]
        ids += [f"{split or 'picture'}/{next(rows):05d}" for _ in range(len(part_pixels))]
    if len(parts) == 1:
        pixels = parts[0][1]
    else:
        pixels = np.concatenate([part_pixels for _, part_pixels, _ in parts])
    labels = np.concatenate([part_labels for *_, part_labels in parts]).astype(np.int64)
    splits = np.repeat([split for split, *_ in parts], [len(part[1]) for part in parts])

    def read(index: int) -> np.ndarray:
        image = pixels[index]
        if len(image) == 1:
            return np.asarray(image[0])
        return np.ascontiguousarray(image.transpose(1, 2, 0))

    return Source(
        name, classes, tuple(ids), labels, splits.astype("<U10"), read, pixels, fingerprint
    )
