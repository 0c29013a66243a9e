"""Images and their masks, paired by name: `images/` and `masks/`, or `train/` and `trainannot/`.

A mask without an image, one of another size or with unknown values is named and left out, as is its
image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from eyesight.data import archives
from eyesight.data.decode import BadPicture, Pixels, dimensions
from eyesight.data.formats import listing
from eyesight.data.formats.listing import FileEntry, Tree
from eyesight.data.formats.thumbnails import without_thumbnails
from eyesight.data.masks import legend
from eyesight.data.masks.by_products import without_by_products
from eyesight.data.masks.legend import Legend
from eyesight.data.masks.mask_file import Mask, decode_mask
from eyesight.data.masks.partners import EXPECTED, find_partners
from eyesight.data.masks.places import (
    IMAGE_FOLDER,
    MASK_FOLDER,
    all_places,
    common_folders,
    place,
)
from eyesight.data.masks.shapes import drawn_shapes
from eyesight.data.named import is_named
from eyesight.data.source import (
    Source,
    digest,
    is_picture,
    printable,
    reader,
)
from eyesight.data.vocabulary import split_and_rest
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.progress import Talk, silent

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


def _pairs(name: str, root: Path, names: Legend | None) -> Pairs:
    """Every image that has a mask; what has no partner is a problem."""
    tree = listing.walk(root)
    files = [file for file in tree.files if is_picture(file.location)]
    files, thumbnails = without_thumbnails(files)
    wrappers = common_folders(files)
    files, by_products = without_by_products(files, wrappers)
    places = all_places(files, wrappers)
    if len({at.is_mask for _, at in places}) < 2:
        raise _one_kind(name, tree, files)
    partners = find_partners(name, places)
    both = partners.both
    image_files = [partners.images[key][0] for key in both]
    mask_files = [partners.masks[key] for key in both]
    splits = [partners.images[key][1] for key in both]
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
        problems=(*tree.problems, *thumbnails, *by_products, *partners.problems),
        notes=partners.notes,
    )
    fingerprint = digest((file.location, file.identity) for file in mask_files)
    usual = legend.CAMVID if _is_camvid(tree) else None
    return Pairs(source, mask_reader(mask_files, image_files), names, fingerprint, usual)


def _one_kind(name: str, tree: Tree, files: Sequence[FileEntry]) -> UserError:
    """The error for images without masks, or masks without images: what was seen and what is read.

    Files of other formats count here as what their folder says: `images/1.npy` beside
    `masks/1.png`.
    """
    in_folders = [file for file in tree.files if len(file.parts) > 1]
    kinds = Counter(at.is_mask for _, at in all_places(files, common_folders(in_folders)))
    missing, is_mask = ("masks", True) if kinds[False] else ("images", False)
    hints = [EXPECTED]
    for file in in_folders:
        at = place(file, common_folders(in_folders))
        if not is_picture(file.location) and at is not None and at.is_mask == is_mask:
            hints.append(f"{missing} are read from files such as .png, not from {file.id}")
            break
    return UserError(
        f"{name} contains no {missing}: found {kinds[False]:,} images and {kinds[True]:,} masks",
        "\n".join(hints),
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
