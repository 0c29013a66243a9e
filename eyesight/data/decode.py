"""From encoded bytes to an upright image of 8 bits, grey or colour.

Every awkward kind of file is handled on purpose. Size and format are read from the header first: an
image of 400 megapixels is refused before a byte of it is decoded.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

Pixels = NDArray[np.uint8]
Picture = Image.Image
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]  # and HEIF once it was needed
MOST_PIXELS = 64 * 2**20
DEPTHS = (8, 10, 12, 14, 16)  # bits that samples of 16 bits may really use
DEEP = "16 bits per sample, scaled to 8"
BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
}
BRANDS = {  # of ISO media files, which begin with a length, "ftyp" and a brand
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"mif1": "HEIC",
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
if features.check("avif"):
    FORMATS.append("AVIF")
_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: Any = None


@dataclass(frozen=True)
class Problem:
    """Something about a file or a folder that a person should know; `fatal` ones are left out."""

    id: str
    kind: str
    detail: str
    fatal: bool
    count: int = 1  # images: several in a folder, none in a row that leads to no file


def left_out_by_kind(problems: Iterable[Problem]) -> dict[str, int]:
    """How many images are left out for each kind of problem; each image counts once."""
    counts: dict[str, int] = {}
    counted: set[str] = set()
    for problem in problems:
        if problem.fatal and problem.count and problem.id not in counted:
            counted.add(problem.id)
            counts[problem.kind] = counts.get(problem.kind, 0) + problem.count
    return counts


class BadPicture(Exception):  # noqa: N818 - caught by whoever reads images, never shown as an error
    """Bytes that cannot become an image.

    `kind` is unreadable, truncated, empty, huge, missing or size.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, eq=False)
class Decoded:
    """An upright image of mode L or RGB, and what the file was."""

    image: Picture
    notes: tuple[tuple[str, str], ...]  # kind and detail of what was mended
    format: str
    mode: str  # of the file, as Pillow names it
    depth: int = 0  # bits that grey samples of 16 bits use; 0 for other images


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Pillow's warnings.

    The blocks are counted, because `warnings.catch_warnings` leaves wrong filters behind when
    several threads enter it.
    """
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
    """The first frame, upright, as mode L or RGB, with what was mended (kind, detail).

    Raises BadPicture.
    """
    decoded = read(data)
    return decoded.image, list(decoded.notes)


def read(data: bytes, depth: int = 0) -> Decoded:
    """As `decode`, with the file's format and mode; raises BadPicture.

    `depth` says how many bits grey samples of 16 bits use; 0 takes all 16.
    """
    if not data:
        raise BadPicture("empty", "the file is empty")
    _register_heif(data)
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _load(image, depth)
        except BadPicture:
            raise
        except MemoryError:
            raise too_large() from None
        except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error …
            raise _explain(error, data) from None


def too_large() -> BadPicture:
    """The error for an image for which there is not enough memory."""
    return BadPicture("huge", "there is not enough memory for this image")


def dimensions(data: bytes, *, upright: bool = False) -> tuple[int, int]:
    """Width and height by the header, before anything is decoded; raises BadPicture.

    With `upright` as they are when the image is turned upright.
    """
    if not data:
        raise BadPicture("empty", "the file is empty")
    if data.startswith(PNG) and len(data) >= 24 and not upright:
        # At a fixed place, 40 times faster than to ask Pillow; `read` checks again.
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    _register_heif(data)
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if upright and _orientation(image) >= 5:
                    return image.size[::-1]
                return image.size
        except MemoryError:
            raise too_large() from None
        except Exception as error:
            raise _explain(error, data) from None


def from_picture(image: Picture) -> Picture:
    """A PIL image, upright, as mode L or RGB; raises BadPicture."""
    with quiet():
        return _load(image, 0).image


def _check_size(width: int, height: int) -> None:
    """Raise BadPicture for an image without pixels or with too many."""
    if width * height > MOST_PIXELS:
        raise BadPicture("huge", f"{width} x {height} is over {MOST_PIXELS // 2**20} megapixels")
    if width < 1 or height < 1:
        raise BadPicture("unreadable", f"an image of {width} x {height} pixels")


def _load(image: Picture, depth: int) -> Decoded:
    _check_size(*image.size)
    # How the file packs its samples is gone after loading.
    raw_mode = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    notes = list(_depth_notes(image.mode, raw_mode))
    # Pillow turns TIFF files itself while loading.
    turned = _orientation(image) if image.format == "TIFF" else 1
    animated = image.format != "MPO" and _is_animated(image)
    image.load()  # after asking for the number of frames, which may leave another one loaded
    if animated:
        notes.append(("animated", "only the first frame is used"))
    values = _wide_samples(image)
    used_depth = 0
    if values is None:
        upright = _plain(image, grey=raw_mode.startswith("LA;16"))
    else:
        used_depth = _used_depth(values)
        upright = Image.fromarray(_eight_bits(values, depth))
    left = _orientation(image)
    if left in UPRIGHT:
        upright = upright.transpose(UPRIGHT[left])
    if left != 1 or turned != 1:
        orientation = left if left != 1 else turned
        notes.append(("rotated", f"rotated by EXIF orientation {orientation}"))
    if image.mode == "CMYK":
        notes.append(("cmyk", "converted to RGB without a colour profile"))
    file_format = image.format or ""
    if file_format == "MPO":
        file_format = "JPEG"
    return Decoded(upright, tuple(notes), file_format, image.mode, used_depth)


def _register_heif(data: bytes) -> None:
    """Teach Pillow to read HEIC when such a file comes and the package pillow-heif is there."""
    if _brand(data) == "HEIC" and "HEIF" not in FORMATS:
        try:
            import pillow_heif
        except ImportError:
            raise BadPicture(
                "unreadable",
                "a HEIC file: pip install 'eyesight[heif]' to read it, or save it as JPEG",
            ) from None
        pillow_heif.register_heif_opener()
        FORMATS.append("HEIF")


def looks_like_image(data: bytes) -> bool:
    """Whether the first bytes are those of a known format, readable or not."""
    return bool(_brand(data)) or any(data.startswith(start) for start in BEGINNINGS)


def _brand(data: bytes) -> str:
    return BRANDS.get(data[8:12], "") if data[4:8] == b"ftyp" else ""


def _explain(error: Exception, data: bytes) -> BadPicture:
    if isinstance(error, Image.DecompressionBombError):
        return BadPicture("huge", f"over {MOST_PIXELS // 2**20} megapixels")
    begins = next((name for start, name in BEGINNINGS.items() if data.startswith(start)), "")
    if _brand(data) == "AVIF" and not features.check("avif"):
        return BadPicture("unreadable", "an AVIF file, which this version of Pillow cannot read")
    begins = begins or _brand(data)
    text = str(error)
    if isinstance(error, UnidentifiedImageError) and not _stops_early(data, begins):
        if begins and len(data) < 512:
            return BadPicture(
                "truncated", f"the {begins} file ends within its header, after {len(data)} bytes"
            )
        return BadPicture(
            "unreadable",
            f"a damaged {begins} file" if begins else "not an image in a supported format",
        )
    if _stops_early(data, begins) or "truncated" in text.lower() or "reached eof" in text.lower():
        return BadPicture("truncated", f"the image is truncated after {len(data)} bytes")
    if text.startswith("Decompressed data too large"):
        return BadPicture(
            "unreadable", "embedded text or a colour profile unpacks to an excessive size"
        )
    return BadPicture("unreadable", text or type(error).__name__)


def _stops_early(data: bytes, begins: str) -> bool:
    """Whether the header points past the end of the file; Pillow only calls such files broken."""
    if begins == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return begins == "TIFF" and int.from_bytes(
        data[4:8], "little" if data[:1] == b"I" else "big"
    ) + 2 > len(data)


def _depth_notes(mode: str, raw_mode: str) -> Iterator[tuple[str, str]]:
    """Notes on samples deeper than 8 bits; the raw mode tells where Pillow drops the low byte."""
    if mode == "F":
        yield "float", "floating-point values, scaled from their range to 0..255"
    elif mode.startswith("I") or ";16" in raw_mode:
        yield "deep16", DEEP


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


def _wide_samples(image: Picture) -> NDArray[Any] | None:
    """The values of an image whose samples are wider than 8 bits, H,W; None for others."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.asarray(image)
    return None


def _plain(image: Picture, *, grey: bool = False) -> Picture:
    """Any mode of 8 bits as L or RGB, transparency on white.

    `grey` where only the file knew that it has no colour.
    """
    mode = image.mode
    if mode in ("P", "PA"):
        grey = grey or _has_grey_palette(image)
    grey = grey or mode in ("1", "L", "LA", "La")
    if image.has_transparency_data or mode in ("La", "RGBa"):
        image = _on_white(image.convert("RGBA"))
    return in_mode(image, "L" if grey else "RGB")


def in_mode(image: Picture, mode: str) -> Picture:
    """The image in this mode; itself where it is already, because converting copies."""
    return image if image.mode == mode else image.convert(mode)


def _has_grey_palette(image: Picture) -> bool:
    colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _on_white(image: Picture) -> Picture:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white


def _is_16_bit(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" and values.min() >= 0 and values.max() <= 65535


def _used_depth(values: NDArray[Any]) -> int:
    """The bits that samples of 16 bits use; 0 for decimals and for wider integers."""
    if not _is_16_bit(values):
        return 0
    peak = int(values.max())
    return next(depth for depth in DEPTHS if peak < 1 << depth)


def _eight_bits(values: NDArray[Any], depth: int = 0) -> Pixels:
    """Wide samples as 8 bits: 0 … 2^depth - 1 of a 16-bit sample become 0 … 255.

    Decimals and wider integers are scaled from their own range; what is not finite is the lowest.
    """
    if _is_16_bit(values):
        peak = (1 << (depth or 16)) - 1
        exact = np.minimum(values, peak).astype(np.uint32)
        return np.asarray((exact * 255 + peak // 2) // peak, dtype=np.uint8)
    exact = values.astype(np.float64)
    finite = np.isfinite(exact)
    if not finite.any():
        raise BadPicture("unreadable", "no pixel has a finite value")
    low, high = float(exact[finite].min()), float(exact[finite].max())
    factor = 255.0 / (high - low) if high > low else 0.0
    scaled = (np.where(finite, exact, low) - low) * factor
    return np.rint(scaled).astype(np.uint8)


def from_array(pixels: Pixels) -> Picture:
    """A uint8 array H,W or H,W,C with 1, 3 or 4 channels as an image of mode L or RGB.

    Raises ValueError for any other array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"uint8 H,W or H,W,C expected, not {pixels.dtype} {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise ValueError(f"1, 3 or 4 channels expected, not {pixels.shape}")
    return _plain(Image.fromarray(np.ascontiguousarray(pixels)))
