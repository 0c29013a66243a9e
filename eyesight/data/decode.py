"""From encoded bytes to an upright picture of eight bits, grey or colour; every awkward kind of file is handled on purpose.

Size and format are read from the header first: a picture of 400 megapixels is refused before a byte of it is decoded.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]
Picture = Image.Image
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 64 * 2**20
BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # and then width and height
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: Any = None


@dataclass(frozen=True)
class Problem:
    """Something about one picture that a person should know; `fatal` ones are left out."""

    id: str
    kind: str
    detail: str
    fatal: bool


class BadPicture(Exception):  # noqa: N818 - bad pictures are expected: it is caught by whoever reads them, never shown as an error
    """Bytes that cannot become a picture: `kind` is unreadable, truncated, empty, huge, missing or size."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, eq=False)
class Decoded:
    """An upright picture of mode L or RGB, and what the file was."""

    image: Picture
    notes: tuple[tuple[str, str], ...]  # kind and detail of what was mended
    format: str
    mode: str  # of the file, as Pillow names it


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Pillow's warnings; counted, because `warnings.catch_warnings` entered by several threads leaves wrong filters behind."""
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)


def decode(data: bytes) -> tuple[Picture, list[tuple[str, str]]]:
    """The first frame, upright, as mode L or RGB, with what was mended (kind, detail); raises BadPicture."""
    decoded = read(data)
    return decoded.image, list(decoded.notes)


def read(data: bytes) -> Decoded:
    """As `decode`, with the file's format and mode; raises BadPicture."""
    if not data:
        raise BadPicture("empty", "the file has no bytes")
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _load(image)
        except (BadPicture, MemoryError):
            raise
        except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error … on broken files
            raise _explain(error, data) from None


def dimensions(data: bytes, *, upright: bool = False) -> tuple[int, int]:
    """Width and height as the header gives them, or as they are when turned upright, before anything is decoded; raises BadPicture."""
    if not data:
        raise BadPicture("empty", "the file has no bytes")
    if (
        data.startswith(PNG) and len(data) >= 24 and not upright
    ):  # at a fixed place, 40 times faster than to ask; `read` checks again
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return image.size[::-1] if upright and _orientation(image) >= 5 else image.size
        except MemoryError:
            raise
        except Exception as error:
            raise _explain(error, data) from None


def from_picture(image: Picture) -> Picture:
    """A PIL image, upright, as mode L or RGB; raises BadPicture."""
    with quiet():
        return _load(image).image


def _load(image: Picture) -> Decoded:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadPicture("huge", f"{width} x {height} is over {MOST_PIXELS // 2**20} megapixels")
    if width < 1 or height < 1:
        raise BadPicture("unreadable", f"a picture of {width} x {height} pixels")
    raw = " ".join(
        str(tile[3]) for tile in getattr(image, "tile", ())
    )  # how the file packs its samples; gone after loading
    notes = list(_depth(image.mode, raw))
    turned = (
        _orientation(image) if image.format == "TIFF" else 1
    )  # Pillow turns TIFF files itself while loading
    image.load()
    if image.format != "MPO" and _is_animated(image):
        notes.append(("animated", "only the first frame is used"))
    left = _orientation(image)
    upright = _plain(image, grey=raw.startswith("LA;16"))
    if left in UPRIGHT:
        upright = upright.transpose(UPRIGHT[left])
    if left != 1 or turned != 1:
        notes.append(
            ("rotated", f"turned upright as EXIF orientation {left if left != 1 else turned} says")
        )
    if image.mode == "CMYK":
        notes.append(("cmyk", "converted to RGB without a colour profile"))
    return Decoded(
        upright,
        tuple(notes),
        {"MPO": "JPEG"}.get(image.format or "", image.format or ""),
        image.mode,
    )


def _explain(error: Exception, data: bytes) -> BadPicture:
    if isinstance(error, Image.DecompressionBombError):
        return BadPicture("huge", f"over {MOST_PIXELS // 2**20} megapixels")
    begins = next((name for start, name in BEGINNINGS.items() if data.startswith(start)), "")
    text = str(error)
    if isinstance(error, UnidentifiedImageError) and not _stops_early(data, begins):
        if begins and len(data) < 512:
            return BadPicture(
                "truncated", f"the {begins} file stops within its header, after {len(data)} bytes"
            )
        return BadPicture(
            "unreadable",
            f"a damaged {begins} file" if begins else "not a picture of a known format",
        )
    if _stops_early(data, begins) or "truncated" in text.lower() or "reached eof" in text.lower():
        return BadPicture(
            "truncated", f"the file ends before the picture does, after {len(data)} bytes"
        )
    if text.startswith("Decompressed data too large"):
        return BadPicture(
            "unreadable", "text or a profile inside unpacks to more than any picture needs"
        )
    return BadPicture("unreadable", text or type(error).__name__)


def _stops_early(data: bytes, begins: str) -> bool:
    """Whether the header points past the end of the file, for the formats that Pillow only calls broken then."""
    if begins == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return begins == "TIFF" and int.from_bytes(
        data[4:8], "little" if data[:1] == b"I" else "big"
    ) + 2 > len(data)


def _depth(mode: str, raw: str) -> Iterator[tuple[str, str]]:
    """Notes on samples deeper than 8 bits; the raw mode says so where Pillow itself drops the low byte."""
    if mode == "F":
        yield "float", "decimal values scaled from their own range to 0..255"
    elif mode.startswith("I") or ";16" in raw:
        yield "deep16", "16 bits a sample scaled to 8"


def _orientation(image: Picture) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block does not make the pixels bad
        return 1
    return value if value in UPRIGHT else 1


def _is_animated(image: Picture) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # later frames may be broken; only the first is used
        return False


def _plain(image: Picture, *, grey: bool = False) -> Picture:
    """Any mode as L or RGB, 8 bits, transparency on white; `grey` where only the file knew that it has no colour."""
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    grey = (
        grey or mode in ("1", "L", "LA", "La") or (mode in ("P", "PA") and _has_grey_palette(image))
    )
    if image.has_transparency_data or mode in ("La", "RGBa"):
        image = _on_white(image.convert("RGBA"))
    return in_mode(image, "L" if grey else "RGB")


def in_mode(image: Picture, mode: str) -> Picture:
    """The picture in this mode, itself where it is already."""
    return (
        image if image.mode == mode else image.convert(mode)
    )  # converting copies even where nothing changes


def _has_grey_palette(image: Picture) -> bool:
    colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _on_white(image: Picture) -> Picture:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white


def _eight_bits(values: NDArray[Any]) -> Pixels:
    """16-bit samples times 1/257; decimals and wider integers from their own range to 0..255, what is not finite as the lowest."""
    if values.dtype.kind != "f" and values.min() >= 0 and values.max() <= 65535:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    exact = values.astype(np.float64)
    finite = np.isfinite(exact)
    if not finite.any():
        raise BadPicture("unreadable", "no pixel has a finite value")
    low, high = float(exact[finite].min()), float(exact[finite].max())
    scaled = (np.where(finite, exact, low) - low) * (255.0 / (high - low) if high > low else 0.0)
    return np.rint(scaled).astype(np.uint8)


def from_array(pixels: Pixels) -> Picture:
    """A uint8 array H,W or H,W,C with 1, 3 or 4 channels as an image of mode L or RGB."""
    assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3), (
        f"uint8 H,W or H,W,C expected, not {pixels.dtype} {pixels.shape}"
    )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    assert pixels.ndim == 2 or pixels.shape[2] in (3, 4), (
        f"1, 3 or 4 channels expected, not {pixels.shape}"
    )
    return _plain(Image.fromarray(np.ascontiguousarray(pixels)))
