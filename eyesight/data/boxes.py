"""Images cropped to the bounding boxes that their data set gives, before they are prepared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eyesight.data.prepare import BadPicture, Pixels, read
from eyesight.data.source import Source, digest
from eyesight.errors import UserError


def crop_to_boxes(source: Source) -> Source:
    """The same images, each cropped to its box; raises UserError where the data gives none."""
    if source.boxes is None:
        raise UserError(
            f"data.box needs bounding boxes, and {source.name} has none",
            "for Stanford Dogs, put annotation.tar beside images.tar; leave out data.box to "
            "train on whole images",
        )
    boxes = source.boxes()

    def read_cropped(index: int) -> Pixels:
        content = source.read(index)
        pixels = content if isinstance(content, np.ndarray) else np.asarray(read(content).image)
        left, top, right, bottom = boxes[index]
        cropped = pixels[max(0, top) : bottom, max(0, left) : right]
        if not cropped.size:
            raise BadPicture("box", f"its bounding box {boxes[index]} is outside the image")
        return cropped

    fingerprint = ""
    if source.fingerprint:
        fingerprint = digest(["boxes", source.fingerprint, *boxes])
    return replace(source, read=read_cropped, pixels=None, boxes=None, fingerprint=fingerprint)
