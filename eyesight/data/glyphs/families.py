"""Font families, their four styles, and groups of families with the same design.

The same glyphs are published under many names (DejaVu Sans, Bitstream Vera, Verana), so a split by
name alone would leak training glyphs into the test set.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from eyesight.data.glyphs.render import Face
from eyesight.data.source import FONTS
from eyesight.errors import UserError

# Correlation over all 52 images: DejaVu and Vera 1.000, Liberation and Arimo .993; one of each pair
# is left out.
SAME = 0.98
KIN = 0.95  # FreeSerif and Doulos .962, Roboto and Inter .952; both are kept, in the same split
FULL = {
    "train": 179,
    "validation": 38,
    "test": 38,
}  # families of four styles; the last held-out ones contribute two
WEIGHTS = (
    (r"hairline|thin", 100),
    (r"(extra|ultra) ?-?light", 200),
    (r"light", 300),
    (r"(semi|demi) ?-?bold|demi\b", 600),
    (r"(extra|ultra) ?-?bold|heavy", 800),
    (r"black", 900),
    (r"bold|gruesa", 700),
    (r"medium", 500),
)
ITALIC = re.compile(r"ital|obli|slant|inclin|kursiv|cursiv", re.IGNORECASE)
WIDTH = re.compile(
    r"cond|narrow|ext(ended|\b)|expand|wide|compress|caption|display|outline|inverted|sharp",
    re.IGNORECASE,
)
NO_DESIGN = re.compile(
    r"(regular|italics?|oblique|bold|light|thin|medium|demi|semi|extra|black|condensed|narrow|wide"
    r"|outline|solid|shadow|sans?serif|std|pro|adf|brk|gwf|sil"
    r"|no2|no3|display|text|caption|math|alt|[0-9])+$"
)


@dataclass(frozen=True)
class Family:
    """A font family and its face for each style; "regular" always exists."""

    name: str
    faces: dict[str, Face]


def font_folders() -> list[Path]:
    """$EYESIGHT_FONTS, or the system's font folders."""
    if given := os.environ.get("EYESIGHT_FONTS"):
        return [Path(part).expanduser() for part in given.split(os.pathsep) if part]
    home = Path.home()
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
        return [
            Path(os.environ.get("WINDIR") or "C:/Windows") / "Fonts",
            local / "Microsoft" / "Windows" / "Fonts",
        ]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    return [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / ".local" / "share" / "fonts",
        home / ".fonts",
    ]


def font_files(folders: Iterable[Path]) -> list[Path]:
    """The TrueType and OpenType files in the folders, without duplicates.

    Raises UserError if a folder does not exist or there are no fonts.
    """
    folders = list(folders)
    files: dict[Path, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in FONTS and path.is_file():
                files.setdefault(path.resolve(), path)
    if not files:
        raise UserError(
            f"no font files in {', '.join(map(str, folders))}",
            "set EYESIGHT_FONTS to the folders to search",
        )
    return list(files.values())


def families(faces: Iterable[tuple[str, str, Face]]) -> list[Family]:
    """(family, style, face) triples, grouped; sorted by name."""
    grouped: dict[str, list[tuple[str, Face]]] = {}
    for family, style, face in faces:
        grouped.setdefault(" ".join(family.split()), []).append((style, face))
    return [Family(name, styles(_with_unique_styles(grouped[name]))) for name in sorted(grouped)]


def _with_unique_styles(faces: list[tuple[str, Face]]) -> list[tuple[str, Face]]:
    """The faces of a family with unique style names.

    If several faces have the same style, such as the four "Light" of Courier Prime, the file name
    is used.
    """
    counts = Counter(style for style, _ in faces)
    return [(Path(face[0]).stem if counts[style] > 1 else style, face) for style, face in faces]


def styles(faces: Sequence[tuple[str, Face]]) -> dict[str, Face]:
    """The regular, italic, bold and bold italic face; missing styles are absent."""
    regular = min(
        faces,
        key=lambda face: (
            _italic(face),
            _unusual(face),
            abs(_weight(face) - 400),
            len(face[0]),
            face[1],
        ),
    )
    chosen = {"regular": regular[1]}
    usable = [
        face for face in faces if face[1] != regular[1] and _unusual(face) == _unusual(regular)
    ]
    for style, italic, weight in (
        ("italic", True, _weight(regular)),
        ("bold", False, 700),
        ("bold italic", True, 700),
    ):
        fitting = [
            face
            for face in usable
            if _italic(face) == italic and _fits(_weight(face), weight, _weight(regular))
        ]
        if fitting:
            chosen[style] = min(
                fitting, key=lambda face: (abs(_weight(face) - weight), len(face[0]), face[1])
            )[1]
    return chosen


def _fits(weight: int, target: int, regular: int) -> bool:
    return abs(weight - regular) <= 100 if target == regular else weight >= max(600, regular + 200)


def _weight(face: tuple[str, Face]) -> int:
    return next(
        (weight for pattern, weight in WEIGHTS if re.search(pattern, face[0], re.IGNORECASE)), 400
    )


def _italic(face: tuple[str, Face]) -> bool:
    return ITALIC.search(face[0]) is not None


def _unusual(face: tuple[str, Face]) -> bool:
    return WIDTH.search(face[0]) is not None


def similarity(pictures: np.ndarray) -> np.ndarray:
    """Similarity float32 F,F of the families' glyphs, from images uint8 F,52,…; 1 for copies.

    A family that shares a tenth of its images pixel by pixel with another counts as a copy.
    """
    ink = 255 - pictures.reshape(len(pictures), -1).astype(np.float32)
    ink -= ink.mean(axis=1, keepdims=True)
    ink /= np.maximum(np.linalg.norm(ink, axis=1, keepdims=True), 1e-6)
    owners: dict[bytes, list[int]] = {}
    for row, family in enumerate(pictures):
        for picture in family:
            owners.setdefault(picture.tobytes(), []).append(row)
    shared = np.zeros((len(pictures), len(pictures)), np.int64)
    for rows in owners.values():
        shared[np.ix_(rows, rows)] += 1
    return np.where(shared * 10 > pictures.shape[1], np.float32(1), ink @ ink.T)


def copies(families: Sequence[Family], alike: np.ndarray) -> dict[int, int]:
    """Row of a family → row of the one it duplicates; the one with more styles is kept."""
    order = sorted(
        range(len(families)),
        key=lambda row: (-len(families[row].faces), len(families[row].name), families[row].name),
    )
    kept: list[int] = []
    repeats: dict[int, int] = {}
    for row in order:
        nearest = max(kept, key=lambda other: alike[row, other], default=row)
        if nearest != row and alike[row, nearest] > SAME:
            repeats[row] = nearest
        else:
            kept.append(row)
    return repeats


def designs(names: Sequence[str], alike: np.ndarray) -> list[list[str]]:
    """Groups of families that must be in the same split.

    By name (Inter, Inter Display) or by their glyphs.
    """
    group = list(range(len(names)))
    stems = [stem(name) for name in names]
    for row in range(len(names)):
        for other in range(row):
            if alike[row, other] > KIN or _is_prefix(stems[row], stems[other]):
                old, new = group[row], group[other]
                group = [new if member == old else member for member in group]
    return [
        [name for name, member in zip(names, group, strict=True) if member == one]
        for one in sorted(set(group))
    ]


def stem(name: str) -> tuple[str, ...]:
    """The words of a family name, without weight, width, ornament and foundry."""
    words = re.findall(
        r"[^\W_]+", re.sub(r"\bseries \w+", "", name.lower())
    )  # Roadgeek Series C, D, E: one design, six widths
    plain = [short for word in words if (short := NO_DESIGN.sub("", word))]
    return tuple(plain or words)


def _is_prefix(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether one name is a prefix of the other: Gentium, Gentium Basic."""
    count = min(len(first), len(second))
    return first[:count] == second[:count]


def split_families(groups: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Split → families, with each group in one split.

    179, 38 and 38 families if available, otherwise in that proportion.

    The order is given by a checksum of the names, so adding a font moves few others. Large groups
    go to training, so that no design dominates the test set. Raises UserError for fewer than three
    groups.
    """
    total = sum(map(len, groups))
    if len(groups) < 3:
        raise UserError(
            f"only {len(groups)} font designs are usable; training, validation and test sets "
            "need at least one each",
            "install more fonts (on Debian: make fonts), or set EYESIGHT_FONTS to folders of fonts",
        )
    held_out = min(FULL["test"], max(1, round(total * 150 / 1016)))
    left = sorted(groups, key=lambda group: (len(group) > 2, sha256(group[0].encode()).digest()))
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for split in ("test", "validation"):
        while len(parts[split]) < held_out and len(left) > (2 if split == "test" else 1):
            room = held_out - len(parts[split])
            group = next((group for group in left if len(group) <= room), left[0])
            left.remove(group)
            parts[split] += group[:room]
    rest = sorted(left, key=lambda group: sha256(group[0].encode()).digest())
    parts["train"] = [name for group in rest for name in group][: FULL["train"]]
    return parts
