"""What a file is among images and masks, by its folders and its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eyesight.data.formats.listing import FileEntry
from eyesight.data.formats.masks_beside import images_of_masks
from eyesight.data.source import EXTENSIONS, extension
from eyesight.data.vocabulary import MASK_WORDS, split_and_rest

FORMAT = r"(?:[-_ ]?(?:png|jpe?g|tiff?|gif|bmp))?"  # masks_png, SegmentationClassPNG
MASK_FOLDER = re.compile(  # masks, trainannot, val_labels, SegmentationClass
    rf"(.*?)[-_ ]?(?:{MASK_WORDS}|segmentationclass(?:raw|aug)?){FORMAT}", re.IGNORECASE
)
IMAGE_FOLDER = re.compile(
    r"(.*?)[-_ ]?(?:jpegimages|leftimg8bit|images?|pictures?|photos?|imgs?|frames?|inputs?)"
    rf"{FORMAT}",
    re.IGNORECASE,
)
NUMBERED = re.compile(  # 1, mask_1 and img 01, also 21_training
    rf"(?:(?:{MASK_WORDS}|images?|imgs?)[-_ ]?)?([0-9]+)(?:[-_ ].*)?", re.IGNORECASE
)
MASK_ENDINGS = (  # of masks' names; of several masks of one image the first kind counts
    re.compile(r"[-_]gtfine_labelTrainIds$", re.IGNORECASE),
    re.compile(r"[-_]gtfine_labelIds$", re.IGNORECASE),
    re.compile(r"[-_]gtcoarse_labelTrainIds$", re.IGNORECASE),
    re.compile(r"[-_]gtcoarse_labelIds$", re.IGNORECASE),
    re.compile(
        rf"(?:_L|[-_](?:{MASK_WORDS}|labelIds|labelTrainIds))$", re.IGNORECASE
    ),  # CamVid's _L
)
OTHER_MASKS = re.compile(
    r"[-_](?:gt(?:fine|coarse)_)(?:color|instanceIds|polygons)$", re.IGNORECASE
)
IMAGE_ENDING = re.compile(r"[-_](?:leftImg8bit|sat|image|img)$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """What a file is among images and masks.

    Its kind, the name it shares with its partner, its split.
    """

    is_mask: bool
    shared: str
    split: str
    rank: int = 0  # of several masks of one image the lowest counts


Placed = tuple[FileEntry, Place]


def _named_split(folders: list[str]) -> str:
    """The first folder that is called as a split; "" for none."""
    for folder in folders:
        split, rest = split_and_rest(folder)
        if split and not rest:
            return split
    return ""


def place(file: FileEntry, wrappers: int = 0) -> Place | None:
    """What a file is by its folders and its name.

    The first folders that are around all files, `wrappers` of them, say nothing: `Kvasir-SEG/`.
    None for files of instance numbers and colours, by their names.
    """
    is_mask = False
    kept: list[str] = list(file.parts[:wrappers])
    for part in file.parts[wrappers:-1]:
        match = MASK_FOLDER.fullmatch(part)
        if match:
            is_mask = True
        else:
            match = IMAGE_FOLDER.fullmatch(part)
        word = match[1] if match else part
        if word:
            kept.append(word)
    split = _named_split(kept)
    stem = Path(file.parts[-1]).stem
    rank = 0
    if is_mask:
        if OTHER_MASKS.search(stem):
            return None
        stem, rank = _mask_stem(stem)
    else:
        stem = IMAGE_ENDING.sub("", stem)
    return Place(is_mask, "/".join([*kept, stem]), split, rank)


def _mask_stem(stem: str) -> tuple[str, int]:
    """The name a mask shares with its image, and the rank of its kind.

    `x_mask` and `x.jpg` give `x`.
    """
    if extension(stem) in EXTENSIONS:  # x.jpg.png beside x.jpg
        stem = Path(stem).stem
    for rank, ending in enumerate(MASK_ENDINGS):
        shorter = ending.sub("", stem)
        if shorter != stem:
            return shorter, rank
    return stem, 0


def all_places(files: Sequence[FileEntry], wrappers: int) -> list[Placed]:
    """What each file is, without by-products.

    Where no folder is one of masks, names tell: `1_mask.png` beside `1.png`.
    """
    places: list[Placed] = []
    for file in files:
        at = place(file, wrappers)
        if at is not None:
            places.append((file, at))
    if any(at.is_mask for _, at in places):
        return places
    images = images_of_masks(files)
    named: list[Placed] = []
    for file, at in places:
        image = images.get(file.location)
        if image is None:
            named.append((file, at))
            continue
        owner = place(image, wrappers)
        if owner is not None:
            named.append((file, replace(owner, is_mask=True)))
    return named


def common_folders(files: Sequence[FileEntry]) -> int:
    """How many folders are around all files."""
    levels = zip(*(file.parts[:-1] for file in files), strict=False)
    count = 0
    for names in levels:
        if len(set(names)) > 1:
            break
        count += 1
    return count


def by_name(places: Sequence[Placed]) -> list[Placed]:
    """The files by their names and the folder above theirs: `CXR/a.png`, `masks/a.png`."""
    return [
        (file, replace(at, shared="/".join([*file.parts[:-2], _stem(at)]))) for file, at in places
    ]


def by_split(places: Sequence[Placed]) -> list[Placed]:
    """The files by their names and splits, wherever they lie: `x/train/a`, `y/train_masks/a`."""
    return [(file, replace(at, shared=f"{at.split}/{_stem(at)}")) for file, at in places]


def by_number(places: Sequence[Placed]) -> list[Placed]:
    """The files by the numbers in their names and the folder above theirs: `CXR/1`, `mask_1`."""
    numbered: list[Placed] = []
    for file, at in places:
        stem = _stem(at)
        match = NUMBERED.fullmatch(stem)
        if match is not None:
            stem = str(int(match[1]))
        numbered.append((file, replace(at, shared="/".join([*file.parts[:-2], stem]))))
    return numbered


def _stem(at: Place) -> str:
    return at.shared.rpartition("/")[2]
