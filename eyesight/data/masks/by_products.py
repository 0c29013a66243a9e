"""Folders beside images and masks that are neither, by their names: `edges`, `labels_vis`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from eyesight.data.decode import Problem
from eyesight.data.formats.listing import FileEntry, Parts
from eyesight.data.masks.places import FORMAT, place
from eyesight.data.source import printable
from eyesight.data.vocabulary import is_mask_folder, words_in

NAMES = """
    edge edges boundary boundaries border borders contour contours outline outlines skeleton
    skeletons instance instances object objects depth depths disparity heatmap heatmaps trimap
    trimaps superpixel superpixels overlay overlays vis viz visual visualisation visualisations
    visualization visualizations prediction predictions pred preds scribble scribbles keypoint
    keypoints box boxes bbox bboxes fov
"""
WORDS = frozenset(NAMES.split())
COLOURS = frozenset(["color", "colors", "colour", "colours", "rgb"])  # of masks: `labels_color`
JOINED = re.compile(rf"segmentationobject{FORMAT}|segmentationclassvisuali[sz]ation|__.*", re.I)
ENOUGH = 0.5  # images per mask that the other folders must hold


def without_by_products(
    files: Sequence[FileEntry], wrappers: int
) -> tuple[list[FileEntry], list[Problem]]:
    """The files outside of by-products, and the folders that are left out.

    Where the other folders do not hold images and masks, such a name says nothing: `depth/` beside
    `masks/`. Nor does one that holds both, as `images/boxes/` beside `masks/boxes/`.
    """
    named: dict[FileEntry, Parts] = {}
    kinds: dict[str, set[bool]] = {}
    is_mask: dict[FileEntry, bool] = {}
    for file in files:
        at = place(file, wrappers)
        is_mask[file] = at is not None and at.is_mask
        folder = _by_product(file.parts[:-1], wrappers)
        if folder is not None:
            named[file] = folder
            kinds.setdefault(folder[-1].casefold(), set()).add(is_mask[file])
    aside = {file: named[file] for file in named if len(kinds[named[file][-1].casefold()]) == 1}
    kept = [file for file in files if file not in aside]
    masks = sum(is_mask[file] for file in kept)
    if not masks or len(kept) - masks < ENOUGH * masks:
        return list(files), []
    counts = Counter(aside.values())
    return kept, [_ignored(folder, count) for folder, count in counts.items()]


def _by_product(folder: Parts, wrappers: int) -> Parts | None:
    """The outermost folder of a path that is called as by-products are; None without one."""
    for depth in range(wrappers, len(folder)):
        if _is_by_product(folder[depth]):
            return folder[: depth + 1]
    return None


def _is_by_product(name: str) -> bool:
    words = set(words_in(name))
    if words & WORDS or JOINED.fullmatch(name):
        return True
    colours = words & COLOURS
    return bool(colours) and any(map(is_mask_folder, words - colours))


def _ignored(folder: Parts, count: int) -> Problem:
    files = "1 file" if count == 1 else f"{count:,} files"
    detail = f"{files}: neither images nor masks, by the folder's name"
    return Problem(printable("/".join(folder)), "ignored_folder", detail, fatal=False)
