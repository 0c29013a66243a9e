"""Where an image file comes from: its camera and how it was encoded, by its header alone."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from eyesight.data.decode import FORMATS, Picture, quiet

MAKE, MODEL, SOFTWARE = 0x010F, 0x0110, 0x0131  # EXIF tags


@dataclass(frozen=True)
class Origin:
    """`camera` is make and model, "" where the file does not say.

    `encoding` is alike for files that the same program wrote with the same settings: format, mode,
    JPEG's quantisation tables, progression and subsampling, and the program's name.
    """

    camera: str = ""
    encoding: str = ""


def origin(data: bytes) -> Origin:
    """What the header of an encoded image tells; nothing where it cannot be read."""
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return Origin(camera_of(image), encoding_of(image))
        except Exception:  # what is wrong with the file is named where it is decoded
            return Origin()


def camera_of(image: Picture) -> str:
    """Make and model by EXIF."""
    exif = image.getexif()
    names = [str(exif.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL)]
    return " ".join(name for name in names if name)


def encoding_of(image: Picture) -> str:
    """Format, mode and settings of the encoder."""
    tables = getattr(image, "quantization", None) or {}
    facts = [
        image.format,
        image.mode,
        [list(table) for table in tables.values()],
        image.info.get("progressive", 0),
        getattr(image, "layer", []),
        str(image.getexif().get(SOFTWARE, "")).strip("\0 "),
    ]
    return repr(facts)
