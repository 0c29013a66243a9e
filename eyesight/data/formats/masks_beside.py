"""Masks that lie among the images of a class folder: `benign_1_mask.png` beside `benign_1.png`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from eyesight.data.formats.listing import FileEntry, Parts
from eyesight.data.prepare import Problem
from eyesight.data.source import count_of_images, printable
from eyesight.data.vocabulary import MASK_WORDS

MASK_NAME = re.compile(rf"(.+?)[-_. ](?:{MASK_WORDS})(?:[-_ ]?\d+)?", re.IGNORECASE)
# Of the images of a folder so many must have such a mask: a single `cat_gt.jpg` may be a photo.
ENOUGH = 0.5


def images_of_masks(files: Sequence[FileEntry]) -> dict[str, FileEntry]:
    """Location of each mask → the image beside it whose name it bears.

    Only in folders where at least half of the images have one.
    """
    images = {(file.parts[:-1], _stem(file)): file for file in files}
    owners: dict[Parts, dict[str, FileEntry]] = {}
    for file in files:
        match = MASK_NAME.fullmatch(_stem(file))
        if match is None:
            continue
        image = images.get((file.parts[:-1], match[1].casefold()))
        if image is not None:
            owners.setdefault(file.parts[:-1], {})[file.location] = image
    sizes = Counter(file.parts[:-1] for file in files)
    masks: dict[str, FileEntry] = {}
    for folder, inside in owners.items():
        with_mask = {image.location for image in inside.values()}
        if len(with_mask) >= ENOUGH * (sizes[folder] - len(inside)):
            masks |= inside
    return masks


def without_masks(pictures: Sequence[FileEntry]) -> tuple[list[FileEntry], list[Problem]]:
    """The images that are no mask of another one, and the folders whose masks are left out."""
    masks = images_of_masks(pictures)
    images = [file for file in pictures if file.location not in masks]
    counts = Counter(file.parts[:-1] for file in pictures if file.location in masks)
    problems = []
    for folder, count in counts.items():
        detail = (
            f"{count_of_images(count)} left out: masks of the images beside them, by their names; "
            "use --set data.target=mask to train on masks, or rename them to use them as images"
        )
        problem = Problem(printable("/".join(folder)), "masks", detail, fatal=True, count=count)
        problems.append(problem)
    return images, problems


def _stem(file: FileEntry) -> str:
    return PurePath(file.parts[-1]).stem.casefold()
