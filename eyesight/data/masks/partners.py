"""Which mask belongs to which image: by their names, and else by the numbers in them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from eyesight.data.decode import BadPicture, Problem
from eyesight.data.formats.listing import FileEntry, Parts
from eyesight.data.masks.mask_file import decode_mask
from eyesight.data.masks.places import Placed, by_name, by_number, by_split
from eyesight.data.source import printable
from eyesight.errors import UserError

EXPECTED = (
    "expected images/ and masks/ with files of the same names, or folders such as train/ and "
    "trainannot/, val/ and valannot/"
)
BY_NUMBER = "images and masks are paired by the numbers in their names"
ONE_FOLDER = "leave one folder of masks in the data set, named masks, and move the others out"
READ = 3  # files of a folder that are read to tell masks from photographs
FEW_VALUES = 16  # of a mask; more are a photograph
ENOUGH = 0.5  # files per image, for a folder to hold the masks of the images beside it


@dataclass
class Partners:
    """Images with their splits, and masks, both by their shared name; what is left out."""

    images: dict[str, tuple[FileEntry, str]] = field(default_factory=dict)
    masks: dict[str, FileEntry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def both(self) -> list[str]:
        """The names of images that have a mask."""
        return [name for name in self.images if name in self.masks]


def find_partners(name: str, places: Sequence[Placed]) -> Partners:
    """The images and masks of a data set.

    Raises UserError where no mask belongs to an image, where one belongs to several, and where two
    folders could hold the masks.
    """
    partners = _by_shared_name(name, places)
    spelled = places
    if not partners.both:
        spelled = by_name(places)
        _refuse_ambiguous(name, spelled)
        partners = _by_shared_name(name, spelled)
    if not partners.both:
        spelled = by_split(places)
        if _is_one_to_one(spelled):
            partners = _by_shared_name(name, spelled)
    if not partners.both:
        spelled = by_number(places)
        if _is_one_to_one(spelled):
            partners = _by_shared_name(name, spelled)
            partners.notes = (BY_NUMBER,)
    if not partners.both:
        raise _no_pair(name, partners)
    _refuse_other_masks(name, partners)
    partners.problems += _without_partner(partners)
    return partners


def _without_partner(partners: Partners) -> Iterator[Problem]:
    """The images without a mask, and the masks without an image."""
    for key, (file, _) in partners.images.items():
        if key not in partners.masks:
            yield Problem(file.id, "no mask", "", fatal=True)
    for key, file in partners.masks.items():
        if key not in partners.images:
            yield Problem(file.id, "no image", "a mask without an image", fatal=True, count=0)


def _by_shared_name(name: str, places: Sequence[Placed]) -> Partners:
    """Images and masks by their shared name; doubles are problems.

    Names are compared in one Unicode form, and without case where that makes no two the same.
    """
    spellings = Counter((at.is_mask, at.rank, _key(at.shared)) for _, at in places)
    folded = not spellings or max(spellings.values()) == 1
    partners = Partners()
    elsewhere: dict[str, FileEntry] = {}  # second masks in another folder
    for file, at in sorted(places, key=lambda pair: pair[1].rank):
        key = _key(at.shared) if folded else unicodedata.normalize("NFC", at.shared)
        taken = key in partners.masks if at.is_mask else key in partners.images
        if not taken:
            if at.is_mask:
                partners.masks[key] = file
            else:
                partners.images[key] = (file, at.split)
        elif not at.rank:
            if at.is_mask and file.parts[:-1] != partners.masks[key].parts[:-1]:
                elsewhere.setdefault(key, file)
            kind = "mask" if at.is_mask else "image"
            detail = f"a second {kind} named {printable(at.shared)}"
            count = 0 if at.is_mask else 1
            partners.problems.append(Problem(file.id, "double", detail, fatal=True, count=count))
    for key, file in elsewhere.items():
        if key in partners.images:
            raise _several_folders(name, [partners.masks[key].parts[:-1], file.parts[:-1]])
    return partners


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _by_key(places: Sequence[Placed]) -> dict[str, tuple[list[FileEntry], list[FileEntry]]]:
    """The images and the masks of each name."""
    groups: dict[str, tuple[list[FileEntry], list[FileEntry]]] = {}
    for file, at in places:
        images, masks = groups.setdefault(_key(at.shared), ([], []))
        (masks if at.is_mask else images).append(file)
    return groups


def _is_one_to_one(places: Sequence[Placed]) -> bool:
    """Whether no name has two images or two masks."""
    return all(len(images) < 2 and len(masks) < 2 for images, masks in _by_key(places).values())


def _refuse_ambiguous(name: str, places: Sequence[Placed]) -> None:
    """Raise UserError for a mask that has the name of two images."""
    for images, masks in _by_key(places).values():
        if masks and len(images) > 1:
            raise UserError(
                f"the mask {printable(masks[0].id)} in {name} has the name of two images: "
                f"{printable(images[0].id)} and {printable(images[1].id)}",
                f"{EXPECTED}; move the folder that does not hold the images out of the data set",
            )


def _no_pair(name: str, partners: Partners) -> UserError:
    """The error when no mask has an image's name."""
    images, masks = partners.images, partners.masks
    folders = Counter(file.parts[:-1] for file in masks.values())
    if len(folders) > 1 and len(folders) == len(images) and max(folders.values()) > 1:
        example = "/".join(masks[next(iter(masks))].parts[:-1])
        return UserError(
            f"images of {name} have several masks, such as the {max(folders.values())} in "
            f"{example}",
            "these are separate objects: merge them into one mask per image, with a number per "
            "class",
        )
    first_image = next(iter(images.values()))[0].id
    first_mask = next(iter(masks.values())).id
    return UserError(
        f"no mask in {name} has the name of an image: {first_image} and {first_mask}", EXPECTED
    )


def _refuse_other_masks(name: str, partners: Partners) -> None:
    """Raise UserError where a folder beside the masks holds masks, too, by its images.

    Of DRIVE's `1st_manual` and `mask` only a person knows that the second is the field of view.
    """
    pairs_in: Counter[Parts] = Counter()
    with_images: set[Parts] = set()
    for key in partners.both:
        pairs_in[partners.masks[key].parts[:-1]] += 1
        with_images.add(partners.images[key][0].parts[:-1])
    beside = {gap: folder for folder in pairs_in for gap in _gaps(folder)}
    others: dict[Parts, list[FileEntry]] = {}
    for file, _ in partners.images.values():
        if file.parts[:-1] not in with_images:
            others.setdefault(file.parts[:-1], []).append(file)
    for folder, files in others.items():
        chosen = next((beside[gap] for gap in _gaps(folder) if gap in beside), None)
        if chosen is None or len(files) < ENOUGH * pairs_in[chosen]:
            continue
        if all(map(_is_mask, files[:READ])):
            raise _several_folders(name, [chosen, folder])


def _gaps(folder: Parts) -> list[tuple[Parts, Parts]]:
    """What is around each name in a path: `masks/train` and `manual/train` share one."""
    return [(folder[:place], folder[place + 1 :]) for place in range(len(folder))]


def _is_mask(file: FileEntry) -> bool:
    """Whether a file's content is that of a mask: one channel of few values."""
    try:
        mask = decode_mask(file.path.read_bytes())
    except (BadPicture, OSError):
        return False
    return mask.values.ndim == 2 and len(np.unique(mask.values)) <= FEW_VALUES


def _several_folders(name: str, folders: Sequence[Parts]) -> UserError:
    """The error where several folders could hold the masks."""
    names = [printable("/".join(folder)) or "the folder itself" for folder in folders]
    return UserError(f"the masks of {name} could be those in {' or '.join(names)}", ONE_FOLDER)
