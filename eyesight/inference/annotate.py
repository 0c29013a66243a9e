"""Draw on images: class names with probabilities, heatmaps, masks, reconstructions.

Pillow's font is Latin only, so names in other scripts need a font of this machine.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from eyesight.data.prepare import Picture, Pixels, encode_png, read

SIDES = (320, 1600)  # smallest and largest longer side of an annotated copy, in pixels
SIDE = 224  # pixels that the shorter side of an overlay has at least
FONTS = (
    "NanumGothic",
    "NotoSansCJK-Regular.ttc",
    "AppleSDGothicNeo.ttc",
    "malgun.ttf",
    "msgothic.ttc",
    "DejaVuSans",
)
COLD_TO_HOT = [(20, 10, 60), (150, 30, 110), (240, 110, 40), (255, 235, 130)]
RAMP = np.array(COLD_TO_HOT, np.float32)
STRENGTH = 0.7  # of the hottest place's colour
SHADE = 0.6  # share of a pixel that a mask covers
LATIN = 256  # Pillow's own font has the letters below

Top = Sequence[tuple[str, float]]


def annotated(picture: bytes, top: Top) -> bytes:
    """A copy of an encoded image as JPEG, upright, with class names and probabilities drawn on it.

    Raises BadPicture.
    """
    image = _sized(read(picture).image.convert("RGB"))
    texts = [f"{name}  {100 * probability:.1f} %" for name, probability in top]
    size = max(12, round(min(image.size) / 20))
    font = _fitting(texts, size, image.width)
    line = math.ceil(1.4 * font.size)
    longest = max((font.getlength(text) for text in texts), default=0)
    width = math.ceil(longest) + 2 * line // 3
    panel = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((0, 0, width, line * len(texts) + line // 3), fill=(0, 0, 0, 150))
    for row, (text, (_, probability)) in enumerate(zip(texts, top, strict=True)):
        y = line // 6 + row * line
        draw.rectangle((0, y, round(width * probability), y + line - 2), fill=(40, 120, 190, 190))
        draw.text((line // 3, y + line / 2), text, fill="white", font=font, anchor="lm")
    image.paste(panel, mask=panel.getchannel("A"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def sheet(pictures: Sequence[bytes], captions: Sequence[str], columns: int = 5) -> bytes:
    """Encoded images in a grid with a caption below each, as PNG; raises BadPicture."""
    side, line, gap = 128, 20, 8
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new(
        "RGB", (columns * (side + gap) + gap, rows * (side + line + gap) + gap), "white"
    )
    draw = ImageDraw.Draw(grid)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = gap + number % columns * (side + gap)
        y = gap + number // columns * (side + line + gap)
        image = read(picture).image.convert("RGB")
        scale = side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        grid.paste(image.resize(size), (x, y))
        font = _fitting([caption], 13, side)
        draw.text((x, y + side + line / 2), caption, fill="black", font=font, anchor="lm")
    file = io.BytesIO()
    grid.save(file, "PNG")
    return file.getvalue()


def _sized(image: Picture) -> Picture:
    """The image, resized to at least the smallest and at most the largest size for drawing."""
    smallest, largest = SIDES
    longer = max(image.size)
    scale = min(max(longer, smallest), largest) / longer
    if scale == 1:
        return image
    width = max(1, round(image.width * scale))
    height = max(1, round(image.height * scale))
    return image.resize((width, height))


def _fitting(texts: Sequence[str], size: int, width: int) -> ImageFont.FreeTypeFont:
    """A font of `size` pixels, or smaller to fit the longest text."""
    font = _font("".join(texts), size)
    longest = max((font.getlength(text) for text in texts), default=0) + size
    if longest <= width:
        return font
    return font.font_variant(size=max(6, size * width / longest))


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)
    if all(ord(letter) < LATIN for letter in text):
        return own
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return own


def overlaid(pixels: Pixels, heat: npt.NDArray[np.float32]) -> bytes:
    """A heatmap h,w ≥ 0 over a prepared image uint8 C,H,W, as PNG; cold regions are grey."""
    image = _enlarged(_colour(pixels)).astype(np.float32)
    height, width = image.shape[1:]
    scaled = heat.astype(np.float32) / max(float(heat.max()), 1e-12)
    smooth = Image.fromarray(scaled).resize((width, height), Image.Resampling.BICUBIC)
    hot = np.asarray(smooth).clip(0, 1)
    place = hot * (len(RAMP) - 1)
    channels = [np.interp(place, np.arange(len(RAMP)), RAMP[:, channel]) for channel in range(3)]
    colour = np.stack(channels)
    grey = image.mean(0, keepdims=True)
    base = hot * image + (1 - hot) * (0.7 * grey)
    mixed = base + STRENGTH * hot * (colour - base)
    return encode_png(mixed.clip(0, 255).astype(np.uint8))


def overlay(picture: Pixels, mask: Pixels, colours: npt.NDArray[np.uint8]) -> Pixels:
    """A mask uint8 H,W in colour over its image uint8 H,W,3; ignored pixels show the image."""
    table = np.zeros((256, 3), dtype=np.float64)
    table[: len(colours)] = colours
    cover = np.where(mask < len(colours), SHADE, 0.0)[:, :, None]
    mixed = picture * (1 - cover) + table[mask] * cover
    return np.asarray(mixed.round(), dtype=np.uint8)


def masked(pixels: Pixels, mask: Pixels, colours: Sequence[Sequence[int]]) -> bytes:
    """A mask uint8 H,W over its prepared image uint8 C,H,W, as PNG.

    The edges of an area have exactly the colour of its class, its inside lets the image through.
    """
    table = np.array(colours, dtype=np.uint8)
    classes = _enlarged(mask[None])[0]
    mixed = overlay(_enlarged(_colour(pixels)).transpose(1, 2, 0), classes, table)
    outline = _edges(classes) & (classes < len(table))
    mixed[outline] = table[classes[outline]]
    return encode_png(np.ascontiguousarray(mixed.transpose(2, 0, 1)))


def _edges(mask: Pixels) -> npt.NDArray[np.bool_]:
    """Where a mask H,W differs from the next pixel, on both sides."""
    edges = np.zeros(mask.shape, dtype=np.bool_)
    across = mask[:, 1:] != mask[:, :-1]
    down = mask[1:] != mask[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def beside(pixels: Pixels, restored: Pixels) -> bytes:
    """An image and its reconstruction, both uint8 C,H,W, side by side as PNG."""
    channels, height, width = pixels.shape
    gap = np.full((channels, height, max(1, width // 14)), 255, np.uint8)
    return encode_png(_enlarged(np.concatenate([pixels, gap, restored], axis=2)))


def _colour(pixels: Pixels) -> Pixels:
    """C,H,W with three channels."""
    return np.broadcast_to(pixels, (3, *pixels.shape[1:]))


def _enlarged(pixels: Pixels) -> Pixels:
    """C,H,W with repeated pixels if the image is very small."""
    scale = max(1, math.ceil(SIDE / min(pixels.shape[1:])))
    return pixels.repeat(scale, 1).repeat(scale, 2)
