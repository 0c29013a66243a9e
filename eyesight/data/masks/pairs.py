"""Images and their masks, paired by name: `images/` and `masks/`, or `train/` and `trainannot/`.

A mask without an image, one of another size or with unknown values is named and left out, as is its
image.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from eyesight.data import archives
from eyesight.data.decode import BadPicture, Pixels, Problem, dimensions
from eyesight.data.formats import listing
from eyesight.data.formats.listing import FileEntry, Tree
from eyesight.data.formats.masks_beside import images_of_masks
from eyesight.data.formats.thumbnails import without_thumbnails
from eyesight.data.masks import legend
from eyesight.data.masks.legend import Legend
from eyesight.data.masks.mask_file import Mask, decode_mask
from eyesight.data.masks.shapes import drawn_shapes
from eyesight.data.named import is_named
from eyesight.data.source import (
    EXTENSIONS,
    Source,
    digest,
    extension,
    is_picture,
    printable,
    reader,
)
from eyesight.data.vocabulary import split_and_rest
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.progress import Talk, silent

WORDS = (
    r"annot(?:ation)?s?|masks?|labels?|gt|gtfine|gtcoarse|groundtruth|trimaps?|seg(?:mentation)?s?"
)
FORMAT = r"(?:[-_ ]?(?:png|jpe?g|tiff?|gif|bmp))?"  # masks_png, SegmentationClassPNG
MASK_FOLDER = re.compile(  # masks, trainannot, val_labels, SegmentationClass
    rf"(.*?)[-_ ]?(?:{WORDS}|segmentationclass(?:raw|aug)?){FORMAT}", re.IGNORECASE
)
IMAGE_FOLDER = re.compile(
    r"(.*?)[-_ ]?(?:jpegimages|leftimg8bit|images?|pictures?|photos?|imgs?|frames?|inputs?)"
    rf"{FORMAT}",
    re.IGNORECASE,
)
OTHER_FOLDER = re.compile(  # instances and drawings, not classes
    rf"segmentationobject{FORMAT}|segmentationclass[-_ ]?visuali[sz]ation|__.*", re.IGNORECASE
)
PREFIX = re.compile(r"(?:masks?|labels?|gt|seg|images?|imgs?)[-_ ]?(?=\d)", re.IGNORECASE)
MASK_ENDINGS = (  # of masks' names; of several masks of one image the first kind counts
    re.compile(r"[-_]gt(?:fine|coarse)_labelTrainIds$", re.IGNORECASE),
    re.compile(r"[-_]gt(?:fine|coarse)_labelIds$", re.IGNORECASE),
    re.compile(rf"(?:_L|[-_](?:{WORDS}|labelIds|labelTrainIds))$", re.IGNORECASE),  # CamVid's _L
)
OTHER_MASKS = re.compile(
    r"[-_](?:gt(?:fine|coarse)_)(?:color|instanceIds|polygons)$", re.IGNORECASE
)
IMAGE_ENDING = re.compile(r"[-_](?:leftImg8bit|sat|image|img)$", re.IGNORECASE)
EXPECTED = (
    "expected images/ and masks/ with files of the same names, or folders such as train/ and "
    "trainannot/, val/ and valannot/"
)
FIRST = 20  # files by which a folder is judged
ReadMask = Callable[[int], Mask]


@dataclass(frozen=True, eq=False)
class Pairs:
    """A source of images, all of one class, and a function from a row to its mask.

    The function raises BadPicture.
    """

    source: Source
    mask: ReadMask
    legend: Legend | None
    fingerprint: str  # of the masks
    usual: Legend | None = None  # what the values mean where no file says so and they fit


@dataclass(frozen=True)
class Place:
    """What a file is among images and masks.

    Its kind, the name it shares with its partner, its split.
    """

    is_mask: bool
    shared: str
    split: str
    rank: int = 0  # of several masks of one image the lowest counts


def open_pairs(data: Data, talk: Talk = silent) -> Pairs:
    """Images with masks at `data.source`: a folder, an archive, or the drawn set `shapes`.

    Raises UserError, which says what is there instead.
    """
    is_name = is_named(data.source, talk)
    if data.source == "shapes":
        pixels, masks, source, names = drawn_shapes()
        source = replace(source, read=pixels)
        return Pairs(source, lambda row: Mask(masks(row)), names, source.fingerprint)
    root = Path(data.source).expanduser()
    if is_name:
        hint = f"{EXPECTED}; or use the generated set shapes"
        if root.exists():
            hint = f"use ./{data.source} for the folder of this name"
        raise UserError(f"the named data set {data.source} has no masks", hint)
    if not root.exists():
        raise UserError(
            f"{data.source} does not exist", f"{EXPECTED}; or use the generated set shapes"
        )
    if root.is_file() and archives.is_archive(root):
        root = archives.unpack(root, talk=talk)[0]
    if not root.is_dir():
        raise UserError(f"{data.source} contains no masks", EXPECTED)
    named = Path(data.names).expanduser() if data.names else legend.find(inner(root))
    return _pairs(data.source, root, legend.read(named) if named else None)


def inner(root: Path) -> Path:
    """The folder itself, or the only one in it, as archives have it."""
    entries = [path for path in root.iterdir() if not path.name.startswith(".")]
    if len(entries) == 1 and entries[0].is_dir():
        return inner(entries[0])
    return root


def is_masked(where: str) -> bool:
    """Whether a name, a folder or an archive looks like images with masks.

    That is: folders called so beside each other at the top, in a split, or in the folder of each
    image.
    """
    if is_named(where):
        return where == "shapes"
    root = Path(where).expanduser()
    if root.is_file() and archives.is_archive(root):
        root = archives.unpack(root, talk=silent)[0]
    if not root.is_dir():
        return False
    top = _folders(inner(root))
    splits = [folder for folder in top if split_and_rest(folder.name)[0]]
    levels = [top, *map(_folders, splits or top[:1])]
    return any(map(_side_by_side, levels))


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _side_by_side(folders: Sequence[Path]) -> bool:
    """Whether a folder of masks stands beside one of images: `masks` beside `images`."""
    masks: set[str] = set()
    images: set[str] = set()
    for folder in folders:
        name = folder.name.lower()
        if match := MASK_FOLDER.fullmatch(name):
            if not _holds_other_files(folder):
                masks.add(match[1])
        else:
            images.add(name)
            if match := IMAGE_FOLDER.fullmatch(name):
                images.add(match[1])
    return bool(masks & images)


def _holds_other_files(folder: Path) -> bool:
    """Whether the first files in a folder are no images: boxes as text, for example."""
    first_files = [file.location for file in islice(listing.stream(Tree(folder)), FIRST)]
    return bool(first_files) and not any(map(is_picture, first_files))


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
    None for instance numbers and other by-products.
    """
    is_mask = False
    kept: list[str] = list(file.parts[:wrappers])
    for part in file.parts[wrappers:-1]:
        if OTHER_FOLDER.fullmatch(part):
            return None
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


def _pairs(name: str, root: Path, names: Legend | None) -> Pairs:
    """Every image that has a mask; what has no partner is a problem."""
    tree = listing.walk(root)
    files = [file for file in tree.files if is_picture(file.location)]
    files, thumbnails = without_thumbnails(files)
    places = _places(files)
    images, masks, problems = _by_shared_name(places)
    if not masks or not images:
        missing = "masks" if images else "images"
        raise UserError(
            f"{name} contains no {missing}: found {len(images):,} images and {len(masks):,} masks",
            "\n".join([EXPECTED, *_other_masks(tree)]),
        )
    if not images.keys() & masks.keys():
        images, masks, problems = _by_shared_name(_loose(places))
    both = [key for key in images if key in masks]
    if not both:
        raise _no_pair(name, images, masks)
    problems = [*tree.problems, *thumbnails, *problems]
    for key, (file, _) in images.items():
        if key not in masks:
            problems.append(Problem(file.id, "no mask", "", fatal=True))
    for key, file in masks.items():
        if key not in images:
            problems.append(Problem(file.id, "no image", "a mask without an image", fatal=True))
    image_files = [images[key][0] for key in both]
    mask_files = [masks[key] for key in both]
    splits = [images[key][1] for key in both]
    facts = [
        (file.location, file.identity, split)
        for file, split in zip(image_files, splits, strict=True)
    ]
    source = Source(
        name=name,
        classes=("picture",),
        ids=tuple(file.id for file in image_files),
        labels=np.zeros(len(both), dtype=np.int64),
        splits=np.array(splits, dtype="<U10"),
        read=reader([file.location for file in image_files]),
        pixels=None,
        fingerprint=digest(["pairs", *facts]),
        problems=tuple(problems),
    )
    fingerprint = digest((file.location, file.identity) for file in mask_files)
    usual = legend.CAMVID if _is_camvid(tree) else None
    return Pairs(source, mask_reader(mask_files, image_files), names, fingerprint, usual)


def _places(files: Sequence[FileEntry]) -> list[tuple[FileEntry, Place]]:
    """What each file is, without by-products.

    Where no folder is one of masks, names tell: `1_mask.png` beside `1.png`.
    """
    wrappers = _wrappers(files)
    places: list[tuple[FileEntry, Place]] = []
    for file in files:
        at = place(file, wrappers)
        if at is not None:
            places.append((file, at))
    if any(at.is_mask for _, at in places):
        return places
    images = images_of_masks(files)
    named: list[tuple[FileEntry, Place]] = []
    for file, at in places:
        image = images.get(file.location)
        if image is None:
            named.append((file, at))
        elif owner := place(image, wrappers):
            named.append((file, replace(owner, is_mask=True)))
    return named


def _wrappers(files: Sequence[FileEntry]) -> int:
    """How many folders are around all files."""
    levels = zip(*(file.parts[:-1] for file in files), strict=False)
    count = 0
    for names in levels:
        if len(set(names)) > 1:
            break
        count += 1
    return count


def _loose(places: Sequence[tuple[FileEntry, Place]]) -> list[tuple[FileEntry, Place]]:
    """The files by the folder above theirs and their numbers: `CXR/1.png`, `masks/mask_1.png`."""
    loose: list[tuple[FileEntry, Place]] = []
    for file, at in places:
        stem = PREFIX.sub("", at.shared.rpartition("/")[2])
        loose.append((file, replace(at, shared="/".join([*file.parts[:-2], stem]))))
    return loose


def _other_masks(tree: Tree) -> list[str]:
    """A hint where a folder of masks holds files that are no images."""
    for file in tree.files:
        if not is_picture(file.location) and any(map(MASK_FOLDER.fullmatch, file.parts[:-1])):
            return [f"masks are read from image files such as .png, not from {file.id}"]
    return []


def _by_shared_name(
    spelled: Sequence[tuple[FileEntry, Place]],
) -> tuple[dict[str, tuple[FileEntry, str]], dict[str, FileEntry], list[Problem]]:
    """Images with splits, and masks, both by their shared name; doubles are problems.

    Names are compared in one Unicode form, and without case where that makes no two the same.
    """
    spellings = Counter((at.is_mask, at.rank, _key(at.shared)) for _, at in spelled)
    folded = not spellings or max(spellings.values()) == 1
    images: dict[str, tuple[FileEntry, str]] = {}
    masks: dict[str, FileEntry] = {}
    problems: list[Problem] = []
    for file, at in sorted(spelled, key=lambda pair: pair[1].rank):
        key = _key(at.shared) if folded else unicodedata.normalize("NFC", at.shared)
        taken = key in masks if at.is_mask else key in images
        if taken:
            kind = "mask" if at.is_mask else "image"
            if not at.rank:
                detail = f"a second {kind} named {printable(at.shared)}"
                problems.append(Problem(file.id, "double", detail, fatal=True))
        elif at.is_mask:
            masks[key] = file
        else:
            images[key] = (file, at.split)
    return images, masks, problems


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _no_pair(
    name: str, images: dict[str, tuple[FileEntry, str]], masks: dict[str, FileEntry]
) -> UserError:
    """The error when no mask has an image's name."""
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


def _is_camvid(tree: Tree) -> bool:
    """Whether a folder is called as in CamVid, whose numbers need no file of names."""
    return any("trainannot" in map(str.lower, folder) for folder in tree.folders)


def mask_reader(masks: Sequence[FileEntry], images: Sequence[FileEntry]) -> ReadMask:
    """A function from a row to its mask, of the size of the upright image.

    Raises BadPicture for others.
    """
    read_mask = reader([file.location for file in masks])
    read_image = reader([file.location for file in images])

    def read(index: int) -> Mask:
        mask = decode_mask(_bytes(read_mask(index)))
        expected = dimensions(_bytes(read_image(index)), upright=True)
        if mask.size != expected:
            detail = (
                f"{printable(masks[index].id)} is {mask.size[0]}x{mask.size[1]}, but its image "
                f"is {expected[0]}x{expected[1]}"
            )
            raise BadPicture("mask size", detail)
        return mask

    return read


def _bytes(contents: bytes | Pixels) -> bytes:
    assert isinstance(contents, bytes), "a file is read as its bytes"
    return contents
