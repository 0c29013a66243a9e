"""What a network said, drawn on a picture: names with their probabilities, where it looked, masks, what was restored.

Pillow's own letters are Latin only, so that names in other scripts look for a font of this machine.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from eyesight.data.prepare import Picture, Pixels, encode_png, read

SIDES = (
    320,
    1600,
)  # pixels of the longer side of an annotated copy; smaller pictures are enlarged, larger ones shrunk
SIDE = 224  # pixels that the shorter side of an overlay has at least
FONTS = (
    "NanumGothic",
    "NotoSansCJK-Regular.ttc",
    "AppleSDGothicNeo.ttc",
    "malgun.ttf",
    "msgothic.ttc",
    "DejaVuSans",
)
RAMP = np.array(
    [(20, 10, 60), (150, 30, 110), (240, 110, 40), (255, 235, 130)], np.float32
)  # from cold to hot
STRENGTH = 0.7  # of the hottest place's colour
SHADE = 0.6  # how much of a pixel a mask covers

Top = Sequence[tuple[str, float]]


def annotated(picture: bytes, top: Top) -> bytes:
    """A copy of an encoded picture as JPEG, upright, with names and probabilities written on it; raises BadPicture."""
    image = _sized(read(picture).image.convert("RGB"))
    texts = [f"{name}  {100 * sure:.1f} %" for name, sure in top]
    size = max(12, round(min(image.size) / 20))
    font = _fitting(texts, size, image.width)
    high = math.ceil(1.4 * font.size)
    wide = math.ceil(max((font.getlength(text) for text in texts), default=0)) + 2 * high // 3
    panel = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((0, 0, wide, high * len(texts) + high // 3), fill=(0, 0, 0, 150))
    for row, (text, (_, sure)) in enumerate(zip(texts, top, strict=True)):
        y = high // 6 + row * high
        draw.rectangle((0, y, round(wide * sure), y + high - 2), fill=(40, 120, 190, 190))
        draw.text((high // 3, y + high / 2), text, fill="white", font=font, anchor="lm")
    image.paste(panel, mask=panel.getchannel("A"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def _sized(image: Picture) -> Picture:
    """Not too small to write on, and no larger than a screen."""
    longer = max(image.size)
    scale = min(max(longer, SIDES[0]), SIDES[1]) / longer
    return (
        image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        if scale != 1
        else image
    )


def _fitting(texts: Sequence[str], size: int, width: int) -> ImageFont.FreeTypeFont:
    """Letters of `size` pixels, or as many fewer as the longest text needs to stay on a picture `width` wide."""
    font = _font("".join(texts), size)
    longest = max((font.getlength(text) for text in texts), default=0) + size
    return font if longest <= width else font.font_variant(size=max(6, size * width / longest))


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)
    if all(ord(letter) < 256 for letter in text):
        return own
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return own


def overlaid(pixels: Pixels, heat: npt.NDArray[np.float32]) -> bytes:
    """What the network saw, uint8 C,H,W, as PNG with the heat h,w ≥ 0 of its places over it: grey where cold, bright where hot."""
    shown = _enlarged(np.broadcast_to(pixels, (3, *pixels.shape[1:]))).astype(np.float32)
    height, width = shown.shape[1:]
    spread = Image.fromarray(heat.astype(np.float32) / max(float(heat.max()), 1e-12)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    hot = np.asarray(spread).clip(0, 1)
    place = hot * (len(RAMP) - 1)
    colour = np.stack(
        [np.interp(place, np.arange(len(RAMP)), RAMP[:, channel]) for channel in range(3)]
    )
    grey = shown.mean(0, keepdims=True)
    base = hot * shown + (1 - hot) * (0.7 * grey)
    mixed = base + STRENGTH * hot * (colour - base)
    return encode_png(mixed.clip(0, 255).astype(np.uint8))


def overlay(picture: Pixels, mask: Pixels, colours: npt.NDArray[np.uint8]) -> Pixels:
    """A mask uint8 H,W in colour over its picture uint8 H,W,3; what is ignored shows the picture."""
    table = np.zeros((256, 3), dtype=np.float64)
    table[: len(colours)] = colours
    cover = np.where(mask < len(colours), SHADE, 0.0)[:, :, None]
    return np.asarray((picture * (1 - cover) + table[mask] * cover).round(), dtype=np.uint8)


def masked(pixels: Pixels, mask: Pixels, colours: Sequence[Sequence[int]]) -> bytes:
    """What the network saw, uint8 C,H,W, as PNG under the mask uint8 H,W that it gave."""
    picture = np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)
    return encode_png(
        _enlarged(overlay(picture, mask, np.array(colours, dtype=np.uint8)).transpose(2, 0, 1))
    )


def beside(pixels: Pixels, restored: Pixels) -> bytes:
    """What the network saw and what it restored, both uint8 C,H,W, side by side as PNG."""
    gap = np.full((*pixels.shape[:2], max(1, pixels.shape[2] // 14)), 255, np.uint8)
    return encode_png(_enlarged(np.concatenate([pixels, gap, restored], axis=2)))


def _enlarged(pixels: Pixels) -> Pixels:
    """Every pixel a square, where the picture would be too small to see."""
    scale = max(1, math.ceil(SIDE / min(pixels.shape[1:])))
    return pixels.repeat(scale, 1).repeat(scale, 2)
