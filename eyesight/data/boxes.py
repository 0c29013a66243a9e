"""Pictures cut to the bounding boxes that their data set gives for them, before anything else happens to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eyesight.data.prepare import BadPicture, read
from eyesight.data.source import Source, digest
from eyesight.errors import UserError


def cut(source: Source) -> Source:
    """The same pictures, each cut to its box; raises UserError where the data gives none."""
    if source.boxes is None:
        hint = "Stanford Dogs has them in annotation.tar, beside images.tar; leave out data.box to train on whole pictures"
        raise UserError(f"data.box needs bounding boxes, and {source.name} has none", hint)
    boxes, whole = source.boxes(), source.read

    def inside(index: int) -> np.ndarray:
        found = whole(index)
        pixels = np.asarray(read(found).image) if isinstance(found, bytes) else found
        left, top, right, bottom = boxes[index]
        part = pixels[max(0, top) : bottom, max(0, left) : right]
        if not part.size:
            raise BadPicture("box", f"its bounding box {boxes[index]} lies outside of it")
        return part

    fingerprint = digest(["boxes", source.fingerprint, *boxes]) if source.fingerprint else ""
    return replace(source, read=inside, pixels=None, boxes=None, fingerprint=fingerprint)
