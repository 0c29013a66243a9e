"""Pictures and their masks, found by name: `images/` and `masks/`, or split folders beside each other such as `train/` and `trainannot/`.

A mask without a picture, one of another size or with unknown values is named and left out, as is its picture.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyesight.data import archives
from eyesight.data.decode import FORMATS, BadPicture, Problem, dimensions, quiet
from eyesight.data.formats import listing
from eyesight.data.formats.listing import FileEntry
from eyesight.data.masks import legend
from eyesight.data.masks.legend import Legend
from eyesight.data.masks.shapes import drawn_shapes
from eyesight.data.named import is_named
from eyesight.data.source import Source, digest, is_picture, printable, reader
from eyesight.data.vocabulary import exact_split
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.system.progress import Talk, silent

WORDS = r"annot(?:ation)?s?|masks?|labels?|gt|groundtruth|seg(?:mentation)?s?"
MASK_FOLDER = re.compile(rf"(.*?)[-_ ]?(?:{WORDS})", re.IGNORECASE)  # masks, trainannot, val_labels
PICTURE_FOLDER = re.compile(
    r"(.*?)[-_ ]?(?:images?|pictures?|photos?|imgs?|frames?)", re.IGNORECASE
)
ENDING = re.compile(
    rf"(?:_L|[-_](?:{WORDS}|labelIds|labelTrainIds))$", re.IGNORECASE
)  # 0001TP_006690_L.png is a mask of CamVid's
EXPECTED = "expected images/ and masks/ with files of the same names, or folders such as train/ and trainannot/, val/ and valannot/"
Values = npt.NDArray[np.integer]
ReadMask = Callable[[int], Values]


@dataclass(frozen=True, eq=False)
class Pairs:
    """A source of pictures, all of one class, and a function from a row to its mask: values H,W, or colours H,W,3; raises BadPicture."""

    source: Source
    mask: ReadMask
    legend: Legend | None
    fingerprint: str  # of the masks
    usual: Legend | None = None  # what the values mean where no file says so and they fit


def open_pairs(wanted: Data, talk: Talk = silent) -> Pairs:
    """Pictures with masks at `wanted.source`: a folder, an archive, or the drawn set `shapes`; UserError says what was found instead."""
    known = is_named(wanted.source, talk)
    if wanted.source == "shapes":
        pixels, masks, source, names = drawn_shapes()
        return Pairs(replace(source, read=pixels), masks, names, source.fingerprint)
    root = Path(wanted.source).expanduser()
    if known:
        ways = (
            f"write ./{wanted.source} to mean what lies in this folder"
            if root.exists()
            else f"{EXPECTED}; a drawn set is called shapes"
        )
        raise UserError(f"{wanted.source} is a named data set that has no masks", ways)
    if not root.exists():
        raise UserError(
            f"{wanted.source} does not exist", f"{EXPECTED}; a drawn set is called shapes"
        )
    if root.is_file() and archives.is_archive(root):
        root = archives.unpack(root, talk=talk)[0]
    if not root.is_dir():
        raise UserError(f"{wanted.source} holds no masks", EXPECTED)
    named = Path(wanted.names).expanduser() if wanted.names else legend.find(inner(root))
    return _pairs(wanted.source, root, legend.read(named) if named else None)


def inner(root: Path) -> Path:
    """The folder itself, or the only one in it, as archives have it."""
    inside = [path for path in root.iterdir() if not path.name.startswith(".")]
    return inner(inside[0]) if len(inside) == 1 and inside[0].is_dir() else root


def is_masked(where: str) -> bool:
    """Whether a name, a folder or an archive looks like pictures with masks: folders called so beside others, or in each split's."""
    if is_named(where):
        return where == "shapes"
    root = Path(where).expanduser()
    if root.is_file() and archives.is_archive(root):
        root = archives.unpack(root, talk=silent)[0]
    if not root.is_dir():
        return False
    top = _folders(inner(root))
    split = [folder for folder in top if exact_split(folder.name)]
    return any(
        _side_by_side({folder.name.lower() for folder in level})
        for level in (top, *map(_folders, split))
    )


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _side_by_side(names: set[str]) -> bool:
    """Whether a folder of masks stands beside one of pictures: `masks` beside `images`, `trainannot` beside `train`."""
    matches = [(name, match[1]) for name in names if (match := MASK_FOLDER.fullmatch(name))]
    plain = {name for name in names if not MASK_FOLDER.fullmatch(name)}
    pictures = {match[1] for name in plain if (match := PICTURE_FOLDER.fullmatch(name))} | plain
    return any(shared in pictures for _, shared in matches)


def place(file: FileEntry) -> tuple[bool, str, str]:
    """(whether it is a mask, the name it shares with its partner, its split)."""
    is_mask, kept = False, []
    for part in file.parts[:-1]:
        if match := MASK_FOLDER.fullmatch(part):
            is_mask = True
        else:
            match = PICTURE_FOLDER.fullmatch(part)
        kept += [word for word in [match[1] if match else part] if word]
    split = next((split for split in map(exact_split, kept) if split), "")
    stem = Path(file.parts[-1]).stem
    return is_mask, "/".join([*kept, ENDING.sub("", stem) if is_mask else stem]), split


def _pairs(name: str, root: Path, names: Legend | None) -> Pairs:
    tree = listing.walk(root)
    problems = list(tree.problems)
    pictures: dict[str, tuple[FileEntry, str]] = {}
    masks: dict[str, FileEntry] = {}
    for file in (file for file in tree.files if is_picture(file.location)):
        is_mask, shared, split = place(file)
        if shared in (masks if is_mask else pictures):
            problems.append(
                Problem(
                    file.id,
                    "double",
                    f"a second {'mask' if is_mask else 'picture'} called {shared}",
                    fatal=True,
                )
            )
        elif is_mask:
            masks[shared] = file
        else:
            pictures[shared] = (file, split)
    if not masks or not pictures:
        missing = "masks" if pictures else "pictures"
        raise UserError(
            f"{name} holds no {missing}: {len(pictures):,} pictures and {len(masks):,} masks were found",
            EXPECTED,
        )
    problems += [
        Problem(pictures[key][0].id, "no mask", "", fatal=True)
        for key in pictures
        if key not in masks
    ]
    problems += [
        Problem(masks[key].id, "no picture", "a mask without its picture", fatal=True)
        for key in masks
        if key not in pictures
    ]
    both = [key for key in pictures if key in masks]
    if not both:
        examples = f"{next(iter(pictures.values()))[0].id} and {next(iter(masks.values())).id}"
        raise UserError(f"no mask in {name} has the name of a picture: {examples}", EXPECTED)
    found = [pictures[key][0] for key in both]
    listed = [
        (file.location, file.identity, pictures[key][1])
        for file, key in zip(found, both, strict=True)
    ]
    return Pairs(
        Source(
            name=name,
            classes=("picture",),
            ids=tuple(file.id for file in found),
            labels=np.zeros(len(both), dtype=np.int64),
            splits=np.array([pictures[key][1] for key in both], dtype="<U10"),
            read=reader([file.location for file in found]),
            pixels=None,
            fingerprint=digest(["pairs", *listed]),
            problems=tuple(problems),
        ),
        mask_reader([masks[key] for key in both], found),
        names,
        digest((file.location, file.identity) for file in (masks[key] for key in both)),
        legend.CAMVID
        if any("trainannot" in map(str.lower, file.parts) for file in masks.values())
        else None,
    )


def numbers(pairs: Pairs, row: int) -> Values:
    """A mask as numbers H,W, its colours looked up where it has some; raises BadPicture, and UserError without a file of colours."""
    return in_numbers(pairs.mask(row), pairs.legend.colours if pairs.legend else ())


def mask_reader(masks: Sequence[FileEntry], pictures: Sequence[FileEntry]) -> ReadMask:
    """A function from a row to its mask, of the size of the upright picture; raises BadPicture when it is not."""
    read_mask, read_picture = (
        reader([file.location for file in masks]),
        reader([file.location for file in pictures]),
    )

    def look(index: int) -> Values:
        values = decoded(_bytes(read_mask(index)))
        size, wanted = values.shape[1::-1], dimensions(_bytes(read_picture(index)), upright=True)
        if size != wanted:
            sizes = f"{size[0]}x{size[1]}, its picture {wanted[0]}x{wanted[1]}"
            raise BadPicture("mask size", f"{printable(masks[index].id)} is {sizes}")
        return values

    return look


def _bytes(found: bytes | npt.NDArray[np.uint8]) -> bytes:
    assert isinstance(found, bytes), "a file is read as its bytes"
    return found


def decoded(data: bytes) -> Values:
    """A mask's values H,W as the file keeps them (a palette's numbers, not its colours), or colours H,W,3; raises BadPicture."""
    with quiet():
        try:
            dimensions(data)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.format == "JPEG":
                    raise BadPicture(
                        "mask", "a JPEG file does not keep the values of a mask: save it as PNG"
                    )
                if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
                    values = np.asarray(image)
                    return values.astype(np.uint8 if image.mode in ("1", "L", "P") else np.int64)
                colours = np.asarray(image.convert("RGB"))
        except (BadPicture, MemoryError):
            raise
        except (
            Exception
        ) as error:  # Pillow raises OSError, ValueError, SyntaxError … on broken files
            raise BadPicture("mask", f"the mask cannot be read: {error}") from None
    return colours


def in_numbers(values: Values, key_colours: Sequence[legend.Colour]) -> Values:
    """Colours H,W,3 as the places of their classes, H,W; raises BadPicture for an unknown colour, UserError without a file of colours.

    What is grey may be numbers although colours are given, which are for drawing then. In a file of colours, and where every class is some
    grey, a known colour comes first: black and white are two classes, not the class 0 and what is ignored.
    """
    grey = (
        values
        if values.ndim == 2
        else values[:, :, 0]
        if (values == values[:, :, :1]).all()
        else None
    )
    if grey is not None and not key_colours:
        return grey
    if not key_colours:
        raise UserError(
            "the masks are in colour, and no file says which colour means what",
            "put a classes.csv with lines such as road,128,64,128 beside the masks, or name it with --set data.names=FILE",
        )
    numbers = grey is not None and (
        grey.max(initial=0) < len(key_colours) or grey.max(initial=0) == legend.IGNORED
    )
    if (
        grey is not None
        and numbers
        and values.ndim == 2
        and not all(len(set(colour)) == 1 for colour in key_colours)
    ):
        return grey
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    codes = values.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    known = np.array([(red << 16) + (green << 8) + blue for red, green, blue in key_colours])
    order = np.argsort(known)
    at: Values = order[np.searchsorted(known[order], codes).clip(max=len(known) - 1)]
    if (strange := codes[known[at] != codes]).size:
        if grey is not None and numbers:
            return grey
        code, count = Counter(strange.ravel().tolist()).most_common(1)[0]
        colour = (code >> 16, code >> 8 & 255, code & 255)
        raise BadPicture(
            "mask value",
            f"the colour {colour}, in {count:,} pixels, is not among those of the classes",
        )
    return at
