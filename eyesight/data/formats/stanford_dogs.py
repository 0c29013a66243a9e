"""Stanford Dogs as its authors give it.

Images, lists with the official split, annotations, each an archive or a folder.

All of its pictures come from ImageNet, so whatever was pretrained on ImageNet has seen them:
results with such weights are optimistic.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from eyesight.data import archives
from eyesight.data.formats import folders, listing
from eyesight.data.source import Box, Source, digest, is_picture
from eyesight.errors import UserError
from eyesight.system.progress import Talk

SYNSET = re.compile(r"n\d{8}-(.+)")
LISTS = {"train_list.mat": "train", "test_list.mat": "test"}
SIDES = re.compile(
    rb"<xmin>(-?\d+)</xmin>\s*<ymin>(-?\d+)</ymin>\s*<xmax>(-?\d+)</xmax>\s*<ymax>(-?\d+)</ymax>"
)


def packed(root: Path, part: str) -> Path | None:
    """The archive of a part (images, lists, annotation) in a folder, unless it is missing."""
    return next(
        (file for suffix in archives.SUFFIXES if (file := root / f"{part}{suffix}").is_file()), None
    )


def from_archives(name: str, root: Path, images: Path, talk: Talk) -> Source:
    """The pictures in images.tar, with what lies beside it."""
    folder, checksum = archives.unpack(images, talk=talk)
    tree = listing.walk(folder)
    pictures = [file for file in tree.files if is_picture(file.location)]
    source = folders.open_folders(name, tree, pictures)
    return complete(replace(source, fingerprint=digest(["archive", checksum])), root, talk)


def complete(source: Source, root: Path, talk: Talk | None) -> Source:
    """Add breeds, split and boxes to images in the folders of Stanford Dogs.

    Leave others as they are.

    Archives beside the pictures are opened only with somebody to `talk` to: inside an archive they
    could nest for ever.
    """
    if not source.classes or not all(SYNSET.fullmatch(name) for name in source.classes):
        return source
    places = {part: _places(root, part, talk) for part in ("lists", "annotation")}
    return by_breed(with_boxes(with_lists(source, places["lists"]), places["annotation"]))


def _places(root: Path, part: str, talk: Talk | None) -> list[Path]:
    """Where a part may lie: in the folder itself, in one of its name, in its archive."""
    archive = packed(root, part) if talk else None
    folders = [root, root / part, root / part.title()]
    if archive and talk:
        inside = archives.unpack(archive, talk=talk)[0]
        folders += [inside, inside / part, inside / part.title()]
    return folders


def by_breed(source: Source) -> Source:
    """Classes such as `n02085620-Chihuahua` by the breed alone, when no two breeds would be one."""
    breeds = tuple(SYNSET.sub(r"\1", name).replace("_", " ") for name in source.classes)
    return (
        source
        if len({breed.casefold() for breed in breeds}) < len(breeds)
        else replace(source, classes=breeds)
    )


def with_lists(source: Source, places: list[Path]) -> Source:
    """The official split (12,000 and 8,580 pictures) where the lists lie in one of these places.

    Else as it was.
    """
    folder = next(
        (place for place in places if all((place / name).is_file() for name in LISTS)), None
    )
    if folder is None:
        return source
    parts = {name: part for file, part in LISTS.items() for name in read_list(folder / file)}
    splits = np.array([parts.get(short(name), "") for name in source.ids])
    missing = int((splits == "").sum())
    if missing:
        raise UserError(
            f"{missing:,} of {len(splits):,} pictures are in neither list of {folder}",
            "the lists belong to other pictures; remove them",
        )
    return replace(
        source, splits=splits, fingerprint=digest([source.fingerprint, *splits.tolist()])
    )


def short(name: str) -> str:
    """A picture's name as the lists and annotations have it: its folder and its file."""
    return "/".join(name.split("/")[-2:])


def read_list(file: Path) -> list[str]:
    """The picture names in a list file; raises UserError when it is none."""
    from scipy.io import loadmat  # slow to import, and needed here only

    try:
        rows = loadmat(file)["file_list"].ravel()
        return [str(np.asarray(row).ravel()[0]) for row in rows]
    except Exception as error:  # a damaged file raises whatever its first bytes lead to
        raise UserError(
            f"{file} is not a list of Stanford Dogs: {error}",
            "fetch lists.tar again, or remove the lists",
        ) from None


def with_boxes(source: Source, places: list[Path]) -> Source:
    """The bounding boxes, where the annotations lie in one of these places.

    They are read when somebody wants them.
    """
    first = short(source.ids[0]).rpartition(".")[0]
    folder = next((place for place in places if (place / first).is_file()), None)
    return (
        source if folder is None else replace(source, boxes=partial(read_boxes, folder, source.ids))
    )


def read_boxes(folder: Path, ids: tuple[str, ...]) -> list[Box]:
    """The largest box of each picture.

    Raises UserError when an annotation is missing or holds none.
    """
    return [_largest(folder / short(name).rpartition(".")[0]) for name in ids]


def _largest(file: Path) -> Box:
    try:
        boxes: list[Box] = [tuple(map(int, sides)) for sides in SIDES.findall(file.read_bytes())]  # type: ignore[misc]
    except OSError as error:
        raise UserError(
            f"the annotation {file} cannot be read: {error.strerror}", "fetch annotation.tar again"
        ) from None
    if not boxes:
        raise UserError(
            f"the annotation {file} holds no bounding box",
            "fetch annotation.tar again, or leave out data.box",
        )
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
