"""From encoded bytes to uint8 pixels: the functions that training and serving share."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from PIL import Image

from eyesight.data.decode import (
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
    looks_like_image,
    quiet,
    read,
    too_large,
)

__all__ = [
    "MOST_SIDE", "BadPicture", "Decoded", "Picture", "Pixels", "Preparation", "Problem", "decode",
    "dimensions",
    "encode_mask", "encode_png", "fits", "from_array", "looks_like_image", "mask_to_pixels",
    "prepare", "prepare_all", "preview", "quiet", "read", "stacked", "thumbnail", "to_pixels",
    "together", "upright_size",
]  # fmt: skip

MOST_SIDE = 1 << 16
STRIP = 8 << 20  # bytes of an image that are converted at a time
# How many rows or columns on each side a filter takes in, of an image that is enlarged.
REACHES = {
    Image.Resampling.BILINEAR: 1.0,
    Image.Resampling.BICUBIC: 2.0,
    Image.Resampling.BOX: 0.5,
    Image.Resampling.NEAREST: 0.5,
}
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
    # An image prepared in several ways, one below the other from the top left corner: what the
    # members of a blend see. Height, width and channels then are those of all together.
    parts: tuple[Preparation, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width after padding."""
        return self.channels, self.height + 2 * self.pad, self.width + 2 * self.pad

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        values = dataclasses.asdict(self)
        if self.depth == 16:  # as versions wrote it that knew no other
            del values["depth"]
        del values["parts"]
        if self.parts:
            values["parts"] = [part.to_dict() for part in self.parts]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preparation:
        """What `to_dict` wrote; raises TypeError or ValueError for anything else."""
        own = cast(dict[str, Any], dict(values))
        own["parts"] = tuple(cls.from_dict(part) for part in own.get("parts", ()))
        preparation = cls(**own)
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
        if self.parts and self.shape != together(self.parts).shape:
            raise ValueError(f"parts do not make up {self.shape}")


def together(parts: Sequence[Preparation]) -> Preparation:
    """The preparation in several ways at once; the only one itself where all are alike."""
    distinct = tuple(dict.fromkeys(parts))
    if len(distinct) == 1:
        return distinct[0]
    shapes = [part.shape for part in distinct]
    return Preparation(
        height=sum(height for _, height, _ in shapes),
        width=max(width for _, _, width in shapes),
        channels=max(channels for channels, _, _ in shapes),
        resize="none",
        depth=distinct[0].depth,
        parts=distinct,
    )


def stacked(images: Sequence[Pixels], shape: tuple[int, int, int]) -> Pixels:
    """Images …,C,H,W, one below the other, as one of `shape`; what none covers is 0."""
    whole = np.zeros((*images[0].shape[:-3], *shape), dtype=np.uint8)
    top = 0
    for image in images:
        height, width = image.shape[-2:]
        whole[..., top : top + height, :width] = image  # grey in every channel
        top += height
    return whole


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
    if preparation.parts:
        parts = [_to_pixels(image, part) for part in preparation.parts]
        return stacked(parts, preparation.shape)
    if preparation.channels == 1:
        image = in_mode(image, "L")
    pixels = _planes(_resize(image, preparation))
    if len(pixels) != preparation.channels:
        pixels = np.repeat(pixels, preparation.channels, axis=0)
    if preparation.resize == "letterbox":
        pixels = _extend(pixels, _letterbox_margins(pixels, preparation), preparation.padding)
    margin = (preparation.pad, preparation.pad)
    return _extend(pixels, (margin, margin), preparation.padding)


def _planes(image: Picture) -> Pixels:
    """The pixels of an image of mode L or RGB, uint8 C,H,W.

    Large images are converted in strips, because NumPy takes two copies of what Pillow lends it.
    """
    channels = len(image.getbands())
    planes = np.empty((channels, image.height, image.width), dtype=np.uint8)
    step = max(1, STRIP // max(1, image.width * channels))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        strip = image
        if step < image.height:
            strip = image.crop((0, top, image.width, bottom))
        rows = np.asarray(strip).reshape(bottom - top, image.width, channels)
        planes[:, top:bottom] = rows.transpose(2, 0, 1)
    return planes


def mask_to_pixels(mask: Pixels, preparation: Preparation, outside: int) -> Pixels:
    """A mask uint8 H,W, resized, cut and padded as its image is, by nearest neighbour.

    `outside` is the value around the image.
    """
    planes = np.asarray(_resize(Image.fromarray(mask), preparation, "nearest"))
    (above, below), (left, right) = _letterbox_margins(planes[None], preparation)
    pad = preparation.pad
    margins = ((above + pad, below + pad), (left + pad, right + pad))
    return np.pad(planes, margins, constant_values=outside)


def _resize(image: Picture, preparation: Preparation, interpolation: str = "") -> Picture:
    """Resized and cut by the policy; letterbox margins are not filled yet.

    Of a thin image, which would become huge before it is cut, only the part that is kept is
    computed: memory is bounded by the output.
    """
    width = preparation.width or image.width
    height = preparation.height or image.height
    if preparation.resize == "none" and image.size != (width, height):
        raise BadPicture(
            "size", f"{image.width} x {image.height} where {width} x {height} is expected"
        )
    size = _resized_size(image, width, height, preparation)
    kept_width, kept_height = min(width, size[0]), min(height, size[1])
    left, top = round((size[0] - kept_width) / 2), round((size[1] - kept_height) / 2)
    kept = (left, top, left + kept_width, top + kept_height)
    resample = INTERPOLATIONS[interpolation or preparation.interpolation]
    largest = max(size[0] * size[1], size[0] * image.height)
    if image.size != size and 4 * largest > MOST_BETWEEN:
        return _resize_part(image, size, kept, resample)
    if image.size != size:
        image = _columns_first(image, size, resample)
    if image.size == (kept_width, kept_height):
        return image
    return image.crop(kept)


def _columns_first(image: Picture, size: tuple[int, int], resample: Image.Resampling) -> Picture:
    """`image.resize(size)`, columns before rows.

    Pillow before 13 always did so. Later ones choose the order by the shape, and the order decides
    the last bit: the same image would be prepared differently by two versions, and in a web page.
    """
    return image.resize((size[0], image.height), resample).resize(size, resample)


def _resize_part(
    image: Picture,
    size: tuple[int, int],
    kept: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> Picture:
    """What `image.resize(size).crop(kept)` gives, without the whole in between.

    Rows are resized last where that takes less memory.
    """
    across, down = image.width / size[0], image.height / size[1]
    left, right = kept[0] * across, min(kept[2] * across, image.width)
    top, bottom = kept[1] * down, min(kept[3] * down, image.height)
    width, height = kept[2] - kept[0], kept[3] - kept[1]
    if width * (bottom - top) > image.width * height:
        image = image.resize((image.width, height), resample, (0, top, image.width, bottom))
        top, bottom = 0, height
        return image.resize((width, height), resample, (left, top, right, bottom))
    # Columns first, as in `_columns_first`, of those rows alone that the kept part needs.
    first, last = _needed(top, bottom, height, image.height, resample)
    if last - first < image.height:
        start, end = _needed(left, right, width, image.width, resample)
        image = image.crop((start, first, end, last))
        left, right = _shifted(left, start), _shifted(right, start)
        top, bottom = _shifted(top, first), _shifted(bottom, first)
    wide = image.resize((width, image.height), resample, (left, 0, right, image.height))
    return wide.resize((width, height), resample, (0, top, width, bottom))


def _needed(
    low: float, high: float, size: int, most: int, resample: Image.Resampling
) -> tuple[int, int]:
    """The first row or column that the filter reads between `low` and `high`, and the end."""
    reach = REACHES[resample] * max(1.0, (high - low) / size) + 2
    return max(0, math.floor(low - reach)), min(most, math.ceil(high + reach))


def _shifted(edge: float, start: int) -> float:
    """An edge of a box after `start` rows or columns were cut; Pillow's edges are float32."""
    return float(np.float32(edge)) - start


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


Margins = tuple[tuple[int, int], tuple[int, int]]  # above and below, left and right


def _letterbox_margins(pixels: Pixels, preparation: Preparation) -> Margins:
    """What to add around C,H,W so that it has the size of the preparation."""
    height, width = pixels.shape[1:]
    missing_rows = (preparation.height or height) - height
    missing_columns = (preparation.width or width) - width
    above, left = missing_rows // 2, missing_columns // 2
    return (above, missing_rows - above), (left, missing_columns - left)


def _extend(pixels: Pixels, margins: Margins, padding: str) -> Pixels:
    """Images …,H,W with margins of zeros or of their edges."""
    if margins == ((0, 0), (0, 0)):
        return pixels
    widths = [(0, 0)] * (pixels.ndim - 2) + list(margins)
    if padding == "replicate":
        return np.pad(pixels, widths, mode="edge")
    return np.pad(pixels, widths)


def prepare_all(pixels: Pixels, preparation: Preparation) -> Pixels:
    """`prepare` for an array N,C,H,W that `fits`: the same values to the bit, without a loop."""
    assert fits(pixels, preparation)
    if preparation.channels == 1 and pixels.shape[1] == 3:
        pixels = _luminance(pixels)
    pixels = np.broadcast_to(pixels, (len(pixels), preparation.channels, *pixels.shape[2:]))
    margin = (preparation.pad, preparation.pad)
    return np.ascontiguousarray(_extend(pixels, (margin, margin), preparation.padding))


def _luminance(pixels: Pixels) -> Pixels:
    """N,3,H,W to N,1,H,W by ITU-R 601, in the whole numbers that Pillow uses."""
    red = pixels[:, 0:1].astype(np.uint32)
    green = pixels[:, 1:2].astype(np.uint32)
    blue = pixels[:, 2:3].astype(np.uint32)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def fits(pixels: Pixels, preparation: Preparation) -> bool:
    """Whether an array N,C,H,W needs no resizing and no flattening."""
    height, width = pixels.shape[2:]
    if preparation.parts:
        return False
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


def preview(picture: bytes | Pixels, most_side: int) -> bytes:
    """Encoded bytes, or uint8 H,W or H,W,C, as a PNG file whose sides are at most `most_side`.

    Raises BadPicture.
    """
    image = read(picture).image if isinstance(picture, bytes) else from_array(picture)
    scale = min(1.0, most_side / max(image.size))
    width = max(1, round(image.width * scale))
    height = max(1, round(image.height * scale))
    return encode_png(to_pixels(image, Preparation(height, width, 3)))


def thumbnail(pixels: Pixels, row: int) -> bytes:
    """One prepared image of uint8 N,C,H,W as a PNG file."""
    return encode_png(pixels[row])
