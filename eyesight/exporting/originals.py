"""Held-out images as they were before they were prepared, for whoever has to prepare them too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from eyesight.classifier import Classifier
from eyesight.data import boxes, dataset
from eyesight.data.images import Images
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, Pixels, encode_png, from_array, read
from eyesight.errors import UserError
from eyesight.exporting.parity import kept_images
from eyesight.recipe import Data
from eyesight.runs import Run
from eyesight.system.progress import Talk, silent

MOST = 200  # images, evenly spread
READABLE = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")  # by every browser; and WebP


@dataclass(frozen=True, eq=False)
class Originals:
    """Encoded images that a browser can read; where there are none, prepared ones in `pixels`."""

    origin: str  # which images they are, in words
    files: tuple[bytes, ...] = ()
    pixels: Pixels | None = None  # uint8 N,C,H,W

    def __len__(self) -> int:
        return len(self.files) if self.pixels is None else len(self.pixels)


def held_out_originals(
    run: Run, loaded: Classifier, data: str | None, talk: Talk = silent, most: int = MOST
) -> Originals:
    """At most `most` images at `data`, or else of the run's test part, or that it kept.

    Raises UserError when there are none.
    """
    settings = run.settled.data
    depth = loaded.preparation.depth
    if data is not None:
        settings = replace(run.recipe.data, source=data)
        images = dataset.evaluation_images(settings, loaded.preparation, loaded.classes, talk=talk)
        return _originals(settings, images, data, most, depth)
    try:
        own = dataset.load(settings, talk=talk)
    except (UserError, OSError) as error:
        talk(f"the run's images are not available ({error})")
        return _kept(run, most)
    if own.hash != run.data.get("split"):
        talk("the run's images have changed since training")
        return _kept(run, most)
    for name, images in (("test", own.test), ("validation", own.validation)):
        if len(images):
            return _originals(settings, images, f"{name} images of {own.name}", most, depth)
    return _originals(settings, own.train, f"training images of {own.name}", most, depth)


def _kept(run: Run, most: int) -> Originals:
    held = kept_images(run)
    return Originals(held.origin, pixels=held.pixels[spread(len(held.pixels), most)])


def _originals(settings: Data, images: Images, origin: str, most: int, depth: int) -> Originals:
    source = open_source(settings.source, layout=Layout.of(settings))
    if settings.box:
        source = boxes.crop_to_boxes(source)
    places = {name: place for place, name in enumerate(source.ids)}
    files = []
    for number in spread(len(images), most):
        place = places.get(images.ids[number])
        if place is None:
            continue
        try:
            files.append(readable(source.read(place), depth))
        except (BadPicture, OSError):
            continue
    if not files:
        pixels = images.take(torch.from_numpy(spread(len(images), most))).numpy()
        return Originals(origin, pixels=pixels)
    return Originals(origin, tuple(files))


def spread(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the numbers below `n`, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def readable(image: bytes | Pixels, depth: int = 16) -> bytes:
    """An image as a file that every browser can read; raises BadPicture."""
    if isinstance(image, bytes):
        if image.startswith(READABLE) or image[8:12] == b"WEBP":
            return image
        upright = read(image, depth).image
    else:
        upright = from_array(np.asarray(image))
    pixels = np.asarray(upright)
    return encode_png(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))
