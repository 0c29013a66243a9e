"""What else lies beside images without classes, for the hint of an error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from eyesight.data.formats.listing import FileEntry, Tree
from eyesight.data.source import printable
from eyesight.errors import listed

BOXES = (
    "the .json, .xml or .txt files beside the images may be bounding boxes; eyesight "
    "trains classifiers, not detectors"
)
LABEL_FILES = frozenset(
    [".mat", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".parquet", ".pkl", ".pickle"]
    + [".h5", ".hdf5", ".npy", ".db", ".xml"]
)
NO_LABELS = ("readme", "license", "licence", "attribution", "requirements")
AS_TABLE = "write them to a CSV with the columns path and label"
SEPARATOR = re.compile(r"[._ (-]")
LETTERS = re.compile(r"[^\W\d_]+")
MOST = 3  # files that are named
REPEATED = 3  # images whose names begin with the same word, on average, for it to be a class


def label_hints(tree: Tree, pictures: Sequence[FileEntry]) -> list[str]:
    """Where the classes may be: boxes, files of labels that are not read, or the images' names."""
    hints: list[str] = []
    others = [file for file in tree.files if _suffix(file) in LABEL_FILES]
    others = [file for file in others if not file.parts[-1].casefold().startswith(NO_LABELS)]
    if _are_boxes(others, pictures):
        hints.append(BOXES)
    elif others:
        names = listed([file.id for file in others[:MOST]], MOST)
        more = f" and {len(others) - MOST:,} more" if len(others) > MOST else ""
        hints.append(f"labels are not read from {names}{more}: {AS_TABLE}")
    words = class_words(pictures)
    if words:
        names = listed([repr(printable(word)) for word in words[:MOST]], MOST)
        hints.append(
            f"the names of the images begin with {names}: if these are the classes, move the "
            f"images of each into a folder of its own, or {AS_TABLE}"
        )
    return hints


def class_words(pictures: Sequence[FileEntry]) -> list[str]:
    """The first words of the images' names where they could be classes: `cat.0.jpg`, `dog_1.jpg`.

    There are two at least, and each begins several names.
    """
    counts: Counter[str] = Counter()
    for file in pictures:
        counts[_first_word(PurePath(file.parts[-1]).stem)] += 1
    words = [word for word, _ in counts.most_common()]
    if "" in counts or len(words) < 2 or REPEATED * len(words) > len(pictures):
        return []
    return words


def _first_word(stem: str) -> str:
    """What comes before the first separator, or else the letters before the first number."""
    first, *others = SEPARATOR.split(stem)
    if others:
        return first
    match = LETTERS.match(stem)
    return match[0] if match else ""


def _are_boxes(others: Sequence[FileEntry], pictures: Sequence[FileEntry]) -> bool:
    """Whether files are XML or JSON, or a text for each image."""
    suffixes = {_suffix(file) for file in others}
    if suffixes & {".json", ".xml"}:
        return True
    stems = {PurePath(file.parts[-1]).stem for file in pictures}
    texts = [file for file in others if _suffix(file) == ".txt"]
    return any(PurePath(file.parts[-1]).stem in stems for file in texts)


def _suffix(file: FileEntry) -> str:
    return PurePath(file.parts[-1]).suffix.casefold()
