"""The original Chars74K "Fnt" images (EnglishFnt.tgz or its folder) as 52 classes.

Image number k shows the same face in every class, so the split is by number, in order: 716, 150 and
150. The four styles of a font have consecutive numbers; only one font, between validation and test,
has styles in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eyesight.data import archives
from eyesight.data.glyphs.render import CLASSES
from eyesight.data.source import Source, digest, path_stamp, reader
from eyesight.errors import UserError
from eyesight.system.progress import Talk, silent

PICTURES = {"train": 716, "validation": 150, "test": 150}  # per class: 254 fonts in four styles
ORIGINAL = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # Sample001 to Sample062
)
NAME = re.compile(r"Sample(\d{3})/img(\d{3})-(\d{5})\.png$")
PHOTOGRAPHS = re.compile(
    r"/(GoodImg|BadImag)/"
)  # of the archive EnglishImg.tgz, which unpacks beside this one with the same names
HINT = "expected English/Fnt/Sample001/img001-00001.png and so on, as in EnglishFnt.tgz"


def is_original(root: Path) -> bool:
    """Whether a folder, or one up to two levels below, has the layout of the original "Fnt"."""
    images = (
        file for above in ("", "*/", "*/*/") for file in root.glob(f"{above}Sample001/img001-*.png")
    )
    return any(not PHOTOGRAPHS.search(file.as_posix()) for file in images)


def chars74k_source(path: Path, talk: Talk = silent) -> Source:
    """The images in a folder or an archive, read on demand.

    Raises UserError if the layout differs from the original.
    """
    root = path if path.is_dir() else _unpacked(path, talk)
    images = sorted(_pictures(root))
    labels = np.array([label for label, _, _ in images], dtype=np.int64)
    missing = [one for label, one in enumerate(CLASSES) if label not in set(labels.tolist())]
    if missing:
        raise UserError(f"{path} has no Chars74K images of {' '.join(missing)}", HINT)
    numbers = sorted({number for _, number, _ in images})
    share = dict(zip(numbers, split_of(len(numbers)), strict=True))
    if len(numbers) < sum(PICTURES.values()):
        talk(f"{len(numbers)} images per class; the original has {sum(PICTURES.values())}")
    files = [file for _, _, file in images]
    return Source(
        name="chars74k",
        classes=CLASSES,
        ids=tuple(file.relative_to(root).as_posix() for file in files),
        labels=labels,
        splits=np.array([share[number] for _, number, _ in images]),
        read=reader(files),
        pixels=None,
        fingerprint=digest(
            [
                "chars74k",
                root.resolve(),
                *map(path_stamp, files),
            ]
        ),
    )


def _unpacked(path: Path, talk: Talk) -> Path:
    if not path.is_file() or not archives.is_archive(path):
        raise UserError(f"{path} is neither a folder nor an archive of Chars74K", HINT)
    return archives.unpack(path, talk=talk)[0]


def _pictures(root: Path) -> Iterator[tuple[int, int, Path]]:
    """(label, image number, file) of each image of the 52 classes.

    `Hnd` images (shorter numbers) and photographs are skipped.
    """
    for file in root.rglob("img*.png"):
        named = NAME.search(file.as_posix())
        if (
            named is None
            or PHOTOGRAPHS.search(file.as_posix())
            or named[1] != named[2]
            or not 1 <= int(named[1]) <= len(ORIGINAL)
        ):
            continue
        character = ORIGINAL[int(named[1]) - 1]
        if character in CLASSES:
            yield CLASSES.index(character), int(named[3]), file


def split_of(count: int) -> list[str]:
    """The split of each image number in order.

    Training gets whole fonts of four styles, even if there are fewer than 1,016 images.
    """
    whole = sum(PICTURES.values())
    train = (
        max(1, round(count * PICTURES["train"] / whole / 4) * 4) if count > 4 else max(1, count - 2)
    )
    validation = (count - train) // 2
    return ["train"] * train + ["validation"] * validation + ["test"] * (count - train - validation)
