"""From encoded bytes to uint8 pixels: the one function that training and serving share."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from eyesight.data.decode import (
    BEGINNINGS,
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
)

__all__ = [
    "BEGINNINGS", "BadPicture", "Decoded", "Picture", "Pixels", "Preparation", "Problem", "decode", "dimensions", "encode_mask",
    "encode_png", "fits", "from_array", "mask_to_pixels", "prepare", "prepare_all", "quiet", "read", "to_pixels", "upright_size",
]  # fmt: skip

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,  # for masks only
}


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes pixels; it travels with the weights."""

    height: int = 0  # 0 keeps the picture's own
    width: int = 0
    channels: int = 3  # 1 grey, 3 colour
    resize: Literal["squash", "crop", "letterbox", "none"] = "squash"
    pad: int = 0  # pixels added on every side after resizing
    padding: Literal["zero", "replicate"] = "zero"
    interpolation: Literal["bilinear", "bicubic", "area"] = (
        "bilinear"  # always antialiased when shrinking
    )
    crop_fraction: float = (
        1.0  # resize to size / fraction, then cut the centre; what pretrained networks expect
    )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width after padding."""
        return self.channels, self.height + 2 * self.pad, self.width + 2 * self.pad

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preparation:
        """What `to_dict` wrote; raises TypeError for unknown fields."""
        return cls(**values)


def prepare(picture: bytes | Pixels, how: Preparation) -> Pixels:
    """Encoded bytes, or uint8 H,W or H,W,C, as uint8 C,H,W; raises BadPicture."""
    image = read(picture).image if isinstance(picture, bytes) else from_array(picture)
    return to_pixels(image, how)


def to_pixels(image: Picture, how: Preparation) -> Pixels:
    """An image of mode L or RGB as uint8 C,H,W; raises BadPicture of kind size under the policy none."""
    pixels = np.asarray(_fit(in_mode(image, "L") if how.channels == 1 else image, how))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if how.resize == "letterbox":
        pixels = _surround(pixels, how)
    if pixels.shape[2] != how.channels:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], how.channels))
    if how.pad:
        pixels = _extend(pixels, ((how.pad, how.pad), (how.pad, how.pad), (0, 0)), how.padding)
    return np.array(
        pixels.transpose(2, 0, 1), order="C"
    )  # a copy of its own: what Pillow lends is read-only


def mask_to_pixels(mask: Pixels, how: Preparation, outside: int) -> Pixels:
    """A mask uint8 H,W, resized, cut and padded as its picture is, by nearest neighbour; `outside` is what lies around the picture."""
    planes = np.asarray(_fit(Image.fromarray(mask), how, "nearest"))
    high, wide = (
        (how.height or planes.shape[0]) - planes.shape[0],
        (how.width or planes.shape[1]) - planes.shape[1],
    )
    by = (
        (high // 2 + how.pad, high - high // 2 + how.pad),
        (wide // 2 + how.pad, wide - wide // 2 + how.pad),
    )
    return np.pad(planes, by, constant_values=outside)


def _fit(image: Picture, how: Preparation, interpolation: str = "") -> Picture:
    """Resized by the policy; the letterbox is left for `_surround` to fill."""
    width, height = how.width or image.width, how.height or image.height
    if how.resize == "none" and image.size != (width, height):
        raise BadPicture(
            "size", f"{image.width} x {image.height} where {width} x {height} is expected"
        )
    wide, high = math.floor(width / how.crop_fraction), math.floor(height / how.crop_fraction)
    if how.resize == "crop":
        scale = max(wide / image.width, high / image.height)
        size = max(wide, int(image.width * scale)), max(high, int(image.height * scale))
    elif how.resize == "letterbox":
        scale = min(wide / image.width, high / image.height)
        size = (
            min(wide, max(1, round(image.width * scale))),
            min(high, max(1, round(image.height * scale))),
        )
    else:
        size = (wide, high) if how.resize == "squash" else image.size
    if size != image.size:
        image = image.resize(size, INTERPOLATIONS[interpolation or how.interpolation])
    cut_wide, cut_high = min(width, image.width), min(height, image.height)
    if image.size == (cut_wide, cut_high):
        return image
    left, top = round((image.width - cut_wide) / 2), round((image.height - cut_high) / 2)
    return image.crop((left, top, left + cut_wide, top + cut_high))


def _surround(pixels: Pixels, how: Preparation) -> Pixels:
    high, wide = (
        (how.height or pixels.shape[0]) - pixels.shape[0],
        (how.width or pixels.shape[1]) - pixels.shape[1],
    )
    return _extend(
        pixels, ((high // 2, high - high // 2), (wide // 2, wide - wide // 2), (0, 0)), how.padding
    )


def _extend(pixels: Pixels, by: tuple[tuple[int, int], ...], padding: str) -> Pixels:
    return np.pad(pixels, by, mode="edge") if padding == "replicate" else np.pad(pixels, by)


def prepare_all(pixels: Pixels, how: Preparation) -> Pixels:
    """`prepare` for an array N,C,H,W of the right size already: the same values to the bit, without a loop."""
    assert fits(pixels, how)
    if (
        how.channels == 1 and pixels.shape[1] == 3
    ):  # ITU-R 601 in the whole numbers that Pillow uses
        red, green, blue = (pixels[:, index : index + 1].astype(np.uint32) for index in range(3))
        pixels = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (len(pixels), how.channels, *pixels.shape[2:]))
    if how.pad:
        pixels = _extend(
            pixels, ((0, 0), (0, 0), (how.pad, how.pad), (how.pad, how.pad)), how.padding
        )
    return np.ascontiguousarray(pixels)


def fits(pixels: Pixels, how: Preparation) -> bool:
    """Whether an array N,C,H,W needs no resizing and no flattening."""
    height, width = pixels.shape[2:]
    same = (how.height or height, how.width or width) == (height, width)
    return same and how.crop_fraction == 1.0 and pixels.shape[1] in (1, 3)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture when it is turned upright; raises BadPicture."""
    return dimensions(data, upright=True)


def encode_mask(
    mask: Pixels, colours: Sequence[Sequence[int]], size: tuple[int, int] | None = None
) -> bytes:
    """A mask uint8 H,W as a PNG file of class numbers whose palette has their colours, brought to a size (width, height)."""
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
