"""A `Source`: named pictures with labels, nothing decoded yet; and the rules on which file names count as pictures.

A file is a picture by its name or by its first bytes, so a photo without extension is found and a broken `.jpg` is not overlooked.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from eyesight.data.prepare import BadPicture, Problem
from eyesight.errors import UserError

Read = Callable[[int], "bytes | np.ndarray"]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .tif .tiff .webp .avif .heic .heif .jp2 .tga .pbm .pgm .ppm .pnm".split()  # noqa: SIM905
)
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
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP|P[1-6]\s+[0-9#]|.{4}ftyp(avi[fs]|hei[cx]|mif1)",
    re.DOTALL,
)
MOST_BYTES = 1 << 29  # one encoded picture of more than half a gigabyte is an accident or an attack


@dataclass(frozen=True, eq=False)
class Source:
    """Named pictures with labels; nothing is decoded yet."""

    name: str  # as the user said it
    classes: tuple[str, ...]  # the order is fixed here
    ids: tuple[str, ...]  # folder: posix path relative to its root; arrays: "train/00012"
    labels: np.ndarray  # int64 N, -1 = unlabelled
    splits: np.ndarray  # str N: "train", "validation", "test", or "" where the data does not say
    read: Read  # encoded bytes, or a decoded uint8 array H,W or H,W,C; raises BadPicture
    pixels: np.ndarray | None  # uint8 N,C,H,W when everything is already an array of one size
    fingerprint: str  # cheap to compute; changes whenever the content might have
    problems: tuple[Problem, ...] = ()  # found while listing
    boxes: Callable[[], Sequence[Box]] | None = (
        None  # around what each picture is of, where the data says; read only when asked for
    )


def natural(text: str) -> tuple[list[Any], str]:
    """A sorting key that puts "2" before "10"."""
    parts: list[Any] = NUMBERS.split(
        text
    )  # text and digits take turns, so that like is compared with like
    parts[1::2] = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    return parts, text


def in_natural_order(name: str) -> str:
    """`natural` in one short text, for lists of millions of names; where two are equal (01 and 1) the names decide."""
    return NUMBERS.sub(lambda digits: f"\0{chr(len(shorn := digits[0].lstrip('0')))}{shorn}", name)


def hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system rather than to the person."""
    return name.startswith(".") or name.lower() in SYSTEM


def extension(name: str) -> str:
    """The file name's ending with its dot, in lower case."""
    return f".{name.rpartition('.')[2]}".lower() if "." in name else ""


def is_picture(path: str | Path) -> bool:
    """Whether the name or else the first bytes say picture; an unreadable file counts by its name alone."""
    if extension(str(path)) in EXTENSIONS:
        return True
    try:
        with Path(path).open("rb") as file:
            return MAGIC.match(file.read(32)) is not None
    except OSError:
        return False


def printable(name: str) -> str:
    """The name with bytes that are no text escaped, so that it can be printed and written as JSON."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def class_name(name: str) -> str:
    """The name in one Unicode form: macOS and Linux store the same letters differently."""
    return unicodedata.normalize("NFC", printable(name)).strip()


def digest(parts: Iterable[object]) -> str:
    """A short SHA-256 of the parts' texts, in order."""
    return hashlib.sha256("\0".join(printable(str(part)) for part in parts).encode()).hexdigest()[
        :32
    ]


def in_order(names: Iterable[str], *, letters: bool = False) -> tuple[str, ...]:
    """The distinct class names in natural order; UserError when two differ only in case (single letters may, with `letters`)."""
    classes = sorted(set(names), key=natural)
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name and not (letters and len(name) == len(other) == 1):
            raise UserError(
                f"classes {other!r} and {name!r} differ only in case",
                "rename one or merge the two; some file systems cannot tell them apart",
            )
    return tuple(classes)


def reader(places: Sequence[str | Path]) -> Read:
    """A function from a row to that file's bytes; it raises BadPicture for what cannot be read or would fill the memory."""

    def read(index: int) -> bytes:
        path = Path(places[index])
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
    """A source from (split, pixels uint8 N,C,H,W, labels int N) parts of one size; parts of one split are counted on."""
    rows: defaultdict[str, count[int]] = defaultdict(count)
    ids = tuple(
        f"{split or 'picture'}/{next(rows[split]):05d}"
        for split, pixels, _ in parts
        for _ in range(len(pixels))
    )
    pixels = parts[0][1] if len(parts) == 1 else np.concatenate([part[1] for part in parts])
    labels = np.concatenate([part[2] for part in parts]).astype(np.int64)
    splits = np.concatenate([np.full(len(part[1]), part[0], dtype="<U10") for part in parts])

    def read(index: int) -> np.ndarray:
        picture = pixels[index]
        return picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))

    return Source(name, classes, ids, labels, splits, read, pixels, fingerprint)


FONTS = (".ttf", ".otf", ".ttc", ".otc")
