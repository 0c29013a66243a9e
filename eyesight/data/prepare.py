"""From encoded bytes to uint8 pixels: the functions that training and serving share."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from eyesight.data.decode import (
    BEGINNINGS,
    DEPTHS,
    BadPicture,
    Decoded,
    Picture,
    Pixels,
    Problem,
    decode,
    dimensions,
    from_array,
    in_mode,
    quiet,
    read,
    too_large,
)

__all__ = [
    "BEGINNINGS", "BadPicture", "Decoded", "Picture", "Pixels", "Preparation", "Problem", "decode", "dimensions", "encode_mask",
    "encode_png", "fits", "from_array", "mask_to_pixels", "prepare", "prepare_all", "quiet", "read", "to_pixels", "upright_size",
]  # fmt: skip

MOST_SIDE = 1 << 16
MOST_BETWEEN = 32 << 20  # bytes between resizing in one direction and in the other
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,  # for masks only
}


@dataclass(frozen=True)
class Preparation:
    """How an image becomes pixels; it travels with the weights."""

    height: int = 0  # 0 keeps the image's own
    width: int = 0
    channels: int = 3  # 1 grey, 3 colour
    resize: Literal["squash", "crop", "letterbox", "none"] = "squash"
    pad: int = 0  # pixels added on every side after resizing
    padding: Literal["zero", "replicate"] = "zero"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"  # antialiased when shrinking
    crop_fraction: float = 1.0  # resize to size / fraction, then cut the centre, as timm does
    depth: int = 16  # bits that grey samples of 16 bits use; 0 before the images are known

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width after padding."""
        return self.channels, self.height + 2 * self.pad, self.width + 2 * self.pad

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = dataclasses.asdict(self)
        if self.depth == 16:  # as versions wrote it that knew no other
            del values["depth"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """What `to_dict` wrote; raises TypeError or ValueError for anything else."""
        preparation = cls(**values)
        preparation._check()
        return preparation

    def _check(self) -> None:
        for name in ("height", "width", "channels", "pad", "depth"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= MOST_SIDE:
                raise ValueError(f"{name} is {value!r}")
        choices = {
            "resize": ("squash", "crop", "letterbox", "none"),
            "padding": ("zero", "replicate"),
            "interpolation": ("bilinear", "bicubic", "area"),
            "channels": (0, 1, 3),
            "depth": (0, *DEPTHS),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}")
        fraction = self.crop_fraction
        if not isinstance(fraction, int | float) or not 0.01 <= fraction <= 1:
            raise ValueError(f"crop_fraction is {fraction!r}")


def prepare(picture: bytes | Pixels, preparation: Preparation) -> Pixels:
    """Encoded bytes, or uint8 H,W or H,W,C, as uint8 C,H,W; raises BadPicture."""
    if isinstance(picture, bytes):
        return to_pixels(read(picture, preparation.depth).image, preparation)
    return to_pixels(from_array(picture), preparation)


def to_pixels(image: Picture, preparation: Preparation) -> Pixels:
    """An image of mode L or RGB as uint8 C,H,W.

    Raises BadPicture of kind size under the policy none, and of kind huge without enough memory.
    """
    try:
        return _to_pixels(image, preparation)
    except MemoryError:
        raise too_large() from None


def _to_pixels(image: Picture, preparation: Preparation) -> Pixels:
    if preparation.channels == 1:
        image = in_mode(image, "L")
    pixels = np.asarray(_resize(image, preparation))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if preparation.resize == "letterbox":
        pixels = _extend(pixels, _letterbox_margins(pixels, preparation), preparation.padding)
    if pixels.shape[2] != preparation.channels:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], preparation.channels))
    if preparation.pad:
        margin = (preparation.pad, preparation.pad)
        pixels = _extend(pixels, (margin, margin, (0, 0)), preparation.padding)
    # A copy of its own, because what Pillow lends is read-only.
    return np.array(pixels.transpose(2, 0, 1), order="C")


def mask_to_pixels(mask: Pixels, preparation: Preparation, outside: int) -> Pixels:
    """A mask uint8 H,W, resized, cut and padded as its image is, by nearest neighbour.

    `outside` is the value around the image.
    """
    planes = np.asarray(_resize(Image.fromarray(mask), preparation, "nearest"))
    vertical, horizontal, _ = _letterbox_margins(planes, preparation)
    pad = preparation.pad
    margins = (
        (vertical[0] + pad, vertical[1] + pad),
        (horizontal[0] + pad, horizontal[1] + pad),
    )
    return np.pad(planes, margins, constant_values=outside)


def _resize(image: Picture, preparation: Preparation, interpolation: str = "") -> Picture:
    """Resized and cut by the policy; letterbox margins are not filled yet.

    Only the part that is kept is computed, so that memory is bounded by the output.
    """
    width = preparation.width or image.width
    height = preparation.height or image.height
    if preparation.resize == "none" and image.size != (width, height):
        raise BadPicture(
            "size", f"{image.width} x {image.height} where {width} x {height} is expected"
        )
    resized_width, resized_height = _resized_size(image, width, height, preparation)
    kept_width, kept_height = min(width, resized_width), min(height, resized_height)
    left = round((resized_width - kept_width) / 2)
    top = round((resized_height - kept_height) / 2)
    if image.size == (resized_width, resized_height):
        if image.size == (kept_width, kept_height):
            return image
        return image.crop((left, top, left + kept_width, top + kept_height))
    # The kept part in the coordinates of the original image.
    across, down = image.width / resized_width, image.height / resized_height
    x0, x1 = left * across, min((left + kept_width) * across, image.width)
    y0, y1 = top * down, min((top + kept_height) * down, image.height)
    resample = INTERPOLATIONS[interpolation or preparation.interpolation]
    if 4 * kept_width * (y1 - y0) > MOST_BETWEEN and kept_height < y1 - y0:
        # Pillow resizes rows first, which for a tall strip takes more memory than the strip.
        image = image.resize((image.width, kept_height), resample, (0, y0, image.width, y1))
        y0, y1 = 0, kept_height
    return image.resize((kept_width, kept_height), resample, (x0, y0, x1, y1))


def _resized_size(
    image: Picture, width: int, height: int, preparation: Preparation
) -> tuple[int, int]:
    """Width and height that the whole image is resized to."""
    wide = math.floor(width / preparation.crop_fraction)
    high = math.floor(height / preparation.crop_fraction)
    if preparation.resize == "crop":
        scale = max(wide / image.width, high / image.height)
        return max(wide, int(image.width * scale)), max(high, int(image.height * scale))
    if preparation.resize == "letterbox":
        scale = min(wide / image.width, high / image.height)
        fitted_width = max(1, round(image.width * scale))
        fitted_height = max(1, round(image.height * scale))
        return min(wide, fitted_width), min(high, fitted_height)
    if preparation.resize == "squash":
        return wide, high
    return image.size


Margins = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def _letterbox_margins(pixels: Pixels, preparation: Preparation) -> Margins:
    """Rows and columns to add around H,W,… so that it has the size of the preparation."""
    missing_rows = (preparation.height or pixels.shape[0]) - pixels.shape[0]
    missing_columns = (preparation.width or pixels.shape[1]) - pixels.shape[1]
    above, left = missing_rows // 2, missing_columns // 2
    return (above, missing_rows - above), (left, missing_columns - left), (0, 0)


def _extend(pixels: Pixels, margins: tuple[tuple[int, int], ...], padding: str) -> Pixels:
    if padding == "replicate":
        return np.pad(pixels, margins, mode="edge")
    return np.pad(pixels, margins)


def prepare_all(pixels: Pixels, preparation: Preparation) -> Pixels:
    """`prepare` for an array N,C,H,W that `fits`: the same values to the bit, without a loop."""
    assert fits(pixels, preparation)
    if preparation.channels == 1 and pixels.shape[1] == 3:
        pixels = _luminance(pixels)
    pixels = np.broadcast_to(pixels, (len(pixels), preparation.channels, *pixels.shape[2:]))
    if preparation.pad:
        margin = (preparation.pad, preparation.pad)
        pixels = _extend(pixels, ((0, 0), (0, 0), margin, margin), preparation.padding)
    return np.ascontiguousarray(pixels)


def _luminance(pixels: Pixels) -> Pixels:
    """N,3,H,W to N,1,H,W by ITU-R 601, in the whole numbers that Pillow uses."""
    red = pixels[:, 0:1].astype(np.uint32)
    green = pixels[:, 1:2].astype(np.uint32)
    blue = pixels[:, 2:3].astype(np.uint32)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def fits(pixels: Pixels, preparation: Preparation) -> bool:
    """Whether an array N,C,H,W needs no resizing and no flattening."""
    height, width = pixels.shape[2:]
    if (preparation.height or height, preparation.width or width) != (height, width):
        return False
    return preparation.crop_fraction == 1.0 and pixels.shape[1] in (1, 3)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image when it is turned upright; raises BadPicture."""
    return dimensions(data, upright=True)


def encode_mask(
    mask: Pixels, colours: Sequence[Sequence[int]], size: tuple[int, int] | None = None
) -> bytes:
    """A mask uint8 H,W as a PNG file of class numbers whose palette has their colours.

    It is brought to `size` (width, height) where one is given.
    """
    image = Image.fromarray(mask)
    if size is not None and size != image.size:
        image = image.resize(size, INTERPOLATIONS["nearest"])
    image = image.convert("L")
    image.putpalette([part for colour in colours for part in colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def encode_png(pixels: Pixels) -> bytes:
    """A uint8 array C,H,W with 1 or 3 channels as a PNG file."""
    image = Image.fromarray(
        np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def thumbnail(pixels: Pixels, row: int) -> bytes:
    """One prepared image of uint8 N,C,H,W as a PNG file."""
    return encode_png(pixels[row])
