"""Stanford Dogs in its official layout.

Images, lists with the official split, and annotations, each as an archive or a folder.

All images come from ImageNet, so results with weights pretrained on ImageNet are optimistic.
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
    """The archive of a part (images, lists, annotation) in a folder, or None."""
    return next(
        (file for suffix in archives.SUFFIXES if (file := root / f"{part}{suffix}").is_file()), None
    )


def from_archives(name: str, root: Path, images: Path, talk: Talk) -> Source:
    """The images of images.tar, with the lists and annotations beside it."""
    folder, checksum = archives.unpack(images, talk=talk)
    tree = listing.walk(folder)
    pictures = [file for file in tree.files if is_picture(file.location)]
    source = folders.open_folders(name, tree, pictures)
    return complete(replace(source, fingerprint=digest(["archive", checksum])), root, talk)


def complete(source: Source, root: Path, talk: Talk | None) -> Source:
    """Add breeds, split and boxes to the images of Stanford Dogs; leave other sources unchanged.

    Archives beside the pictures are opened only with somebody to `talk` to: inside an archive they
    could nest for ever.
    """
    if not source.classes or not all(SYNSET.fullmatch(name) for name in source.classes):
        return source
    places = {part: _places(root, part, talk) for part in ("lists", "annotation")}
    return by_breed(with_boxes(with_lists(source, places["lists"]), places["annotation"]))


def _places(root: Path, part: str, talk: Talk | None) -> list[Path]:
    """Possible places of a part: the folder itself, a subfolder of its name, its archive."""
    archive = packed(root, part) if talk else None
    folders = [root, root / part, root / part.title()]
    if archive and talk:
        inside = archives.unpack(archive, talk=talk)[0]
        folders += [inside, inside / part, inside / part.title()]
    return folders


def by_breed(source: Source) -> Source:
    """Shorten classes such as `n02085620-Chihuahua` to the breed, if that keeps them distinct."""
    breeds = tuple(SYNSET.sub(r"\1", name).replace("_", " ") for name in source.classes)
    return (
        source
        if len({breed.casefold() for breed in breeds}) < len(breeds)
        else replace(source, classes=breeds)
    )


def with_lists(source: Source, places: list[Path]) -> Source:
    """Apply the official split (12,000 and 8,580 images) if one of these folders has the lists."""
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
            f"{missing:,} of {len(splits):,} images are in neither list of {folder}",
            "the lists belong to other images; remove them",
        )
    return replace(
        source, splits=splits, fingerprint=digest([source.fingerprint, *splits.tolist()])
    )


def short(name: str) -> str:
    """An image's name in the lists and annotations: folder and file."""
    return "/".join(name.split("/")[-2:])


def read_list(file: Path) -> list[str]:
    """Read the image names of a list file; raises UserError if it is invalid."""
    from scipy.io import loadmat  # slow to import, and needed here only

    try:
        rows = loadmat(file)["file_list"].ravel()
        return [str(np.asarray(row).ravel()[0]) for row in rows]
    except Exception as error:  # a damaged file can raise various errors
        raise UserError(
            f"{file} is not a list of Stanford Dogs: {error}",
            "download lists.tar again, or remove the lists",
        ) from None


def with_boxes(source: Source, places: list[Path]) -> Source:
    """Add bounding boxes if the annotations are in one of these places; they are read on demand."""
    first = short(source.ids[0]).rpartition(".")[0]
    folder = next((place for place in places if (place / first).is_file()), None)
    return (
        source if folder is None else replace(source, boxes=partial(read_boxes, folder, source.ids))
    )


def read_boxes(folder: Path, ids: tuple[str, ...]) -> list[Box]:
    """The largest box of each image.

    Raises UserError if an annotation is missing or has no box.
    """
    return [_largest(folder / short(name).rpartition(".")[0]) for name in ids]


def _largest(file: Path) -> Box:
    try:
        sides = SIDES.findall(file.read_bytes())
    except OSError as error:
        raise UserError(
            f"the annotation {file} cannot be read: {error.strerror}",
            "download annotation.tar again",
        ) from None
    if not sides:
        raise UserError(
            f"the annotation {file} has no bounding box",
            "download annotation.tar again, or leave out data.box",
        )
    boxes = [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in sides]
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
