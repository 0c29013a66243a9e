"""One mask file: its values as the file keeps them, and its colours looked up in a legend."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyesight.data.decode import FORMATS, BadPicture, dimensions, quiet
from eyesight.data.masks.legend import IGNORED, Colour, Legend
from eyesight.errors import UserError

Values = npt.NDArray[np.integer]
PNG_DEPTH, PNG_COLOUR_TYPE = 24, 25  # places in a PNG's header
BACKGROUND_NAMES = frozenset(
    ["background", "back", "bg", "none", "void", "unlabelled", "unlabeled"]
)


@dataclass(frozen=True, eq=False)
class Mask:
    """A decoded mask: values H,W or colours H,W,3, with what else the file keeps.

    `palette` (uint8 256,3) is given where the values are the numbers of a palette, `transparent`
    (bool H,W) where some pixels are.
    """

    values: Values
    palette: npt.NDArray[np.uint8] | None = None
    transparent: npt.NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.values.shape[1], self.values.shape[0]


def decode_mask(data: bytes) -> Mask:
    """A mask from its file's bytes; raises BadPicture for what keeps no class numbers."""
    with quiet():
        try:
            dimensions(data)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.format == "JPEG":
                    raise BadPicture("mask", "JPEG changes the values of a mask: save it as PNG")
                return _decoded(image, data)
        except (BadPicture, MemoryError):
            raise
        except (
            Exception
        ) as error:  # Pillow raises OSError, ValueError, SyntaxError … on broken files
            raise BadPicture("mask", f"the mask cannot be read: {error}") from None


def _decoded(image: Image.Image, data: bytes) -> Mask:
    if image.mode == "P":
        numbers = np.asarray(image).astype(np.uint8)
        palette = np.zeros((256, 3), dtype=np.uint8)
        colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
        palette[: len(colours)] = colours
        return Mask(numbers, palette)
    if image.mode in ("1", "L"):
        values = np.asarray(image).astype(np.uint8)
        return Mask(values // _grey_step(data))
    if image.mode.startswith("I"):
        return Mask(np.asarray(image).astype(np.int64))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        with_alpha = np.asarray(image.convert("RGBA"))
        transparent = with_alpha[:, :, 3] == 0
        if not transparent.any():
            return Mask(_flat(with_alpha[:, :, :3], image.mode))
        return Mask(_flat(with_alpha[:, :, :3], image.mode), None, transparent)
    return Mask(np.asarray(image.convert("RGB")))


def _flat(colours: npt.NDArray[np.uint8], mode: str) -> Values:
    """Grey values H,W of a grey image, or the colours."""
    if mode in ("LA", "La"):
        return colours[:, :, 0]
    return colours


def _grey_step(data: bytes) -> int:
    """What Pillow multiplies the grey values of a PNG of 2 or 4 bits by; 1 for other files."""
    is_grey_png = data.startswith(b"\x89PNG") and data[PNG_COLOUR_TYPE] == 0
    if is_grey_png and data[PNG_DEPTH] in (2, 4):
        return 255 // ((1 << data[PNG_DEPTH]) - 1)
    return 1


def class_numbers(mask: Mask, legend: Legend | None) -> Values:
    """A mask as class numbers H,W: colours are looked up in the legend, values stay as they are.

    With colours in the legend, those of a palette count as those of an RGB file do, so that the
    same mask gives the same classes in either. Grey values may be numbers although colours are
    given, which are for drawing then; a grey that is a class's colour comes first where every class
    is some grey.

    Raises BadPicture for a colour that is no class's, and UserError for colours without a legend.
    """
    colours = legend.colours if legend else ()
    if not colours:
        numbers = _plain_numbers(mask.values)
    elif mask.palette is not None:
        numbers = _palette_numbers(mask, colours)
    else:
        numbers = _by_colour(mask.values, colours)
    if mask.transparent is None:
        return numbers
    return _with_background(numbers, mask.transparent, legend)


def _plain_numbers(values: Values) -> Values:
    grey = _as_grey(values)
    if grey is None:
        raise UserError(
            "the masks are in colour, but no file assigns colours to classes",
            "put a classes.csv with lines such as road,128,64,128 beside the masks, or set it "
            "with --set data.names=FILE",
        )
    return grey


def _as_grey(values: Values) -> Values | None:
    """Values H,W of what has no colour; None for colours."""
    if values.ndim == 2:
        return values
    if (values == values[:, :, :1]).all():
        return values[:, :, 0]
    return None


def _palette_numbers(mask: Mask, colours: Sequence[Colour]) -> Values:
    """By the colours of the palette where each used one is a class's; else by its numbers."""
    assert mask.palette is not None
    used = np.unique(mask.values)
    places = _places(mask.palette[used], colours)
    if (places >= 0).all():
        table = np.zeros(256, dtype=np.int64)
        table[used] = places
        return table[mask.values]
    numbers = used[used != IGNORED]
    if not len(numbers) or numbers.max() < len(colours):
        return mask.values
    return _by_colour(mask.palette[mask.values], colours)


def _places(pixels: npt.NDArray[np.integer], colours: Sequence[Colour]) -> npt.NDArray[np.int64]:
    """Colours …,3 as places among `colours`, −1 for others."""
    codes = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    codes_of_classes = np.array([(red << 16) + (green << 8) + blue for red, green, blue in colours])
    order = np.argsort(codes_of_classes)
    nearest = order[np.searchsorted(codes_of_classes[order], codes).clip(max=len(order) - 1)]
    return np.where(codes_of_classes[nearest] == codes, nearest, -1)


def _by_colour(values: Values, colours: Sequence[Colour]) -> Values:
    """Class numbers of grey values H,W or colours H,W,3 by a legend's colours."""
    grey = _as_grey(values)
    highest = int(grey.max(initial=0)) if grey is not None else -1
    may_be_numbers = grey is not None and (highest < len(colours) or highest == IGNORED)
    only_grey_classes = all(len(set(colour)) == 1 for colour in colours)
    if grey is not None and may_be_numbers and values.ndim == 2 and not only_grey_classes:
        return grey
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    places = _places(values, colours)
    if (places >= 0).all():
        return places
    if grey is not None and may_be_numbers:
        return grey
    strangers = [tuple(colour) for colour in values[places < 0].reshape(-1, 3).tolist()]
    colour, count = Counter(strangers).most_common(1)[0]
    raise BadPicture(
        "mask value",
        f"the colour {colour} of {count:,} pixels belongs to no class",
    )


def _with_background(
    numbers: Values, transparent: npt.NDArray[np.bool_], legend: Legend | None
) -> Values:
    """Transparent pixels as the background, whatever colour lies under them.

    Raises BadPicture where no class is called so: dropping the alpha would make them another class.
    """
    if legend is None:
        background = 0 if (numbers[transparent] == 0).all() else -1
    else:
        names = [name.casefold() for name in legend.names]
        background = next((i for i, name in enumerate(names) if name in BACKGROUND_NAMES), -1)
    if background < 0:
        raise BadPicture(
            "mask",
            f"{int(transparent.sum()):,} pixels are transparent, but there is no class named "
            "background",
        )
    return np.where(transparent, background, numbers)
