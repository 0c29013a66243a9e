"""The images to audit: opened, prepared in one size, and no more than the budget has time for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eyesight.auditing import learnt
from eyesight.auditing.record import CopiedImage
from eyesight.data import dataset
from eyesight.data.decode import left_out_by_kind
from eyesight.data.duplicates import copied_from
from eyesight.data.images import Images
from eyesight.data.layout import Layout
from eyesight.data.opening import open_source
from eyesight.data.prepare import BadPicture, Preparation, dimensions
from eyesight.data.scan import FEW
from eyesight.data.source import Box, Source, count_of_images, digest
from eyesight.data.store import Store, prepare_store
from eyesight.errors import UserError
from eyesight.recipe import Data
from eyesight.runs import Run
from eyesight.system import memory
from eyesight.system.progress import Reporter

Size = tuple[int, int]  # width and height
PREPARE_SHARE = 0.25  # largest share of a budget for preparing images
DECODED = 40e6  # pixels a second that a core decodes and resizes
FILE_PIXELS = 20_000  # pixels decoded in the time that opening a file takes
FEWEST = 256  # images that are prepared in any case
SAMPLED = 30  # images whose size is looked at
FEATURE_BUDGET_SHARE = 0.4  # of a budget, in which the features of all images should be computed
PACE = 150.0  # images of 128 pixels a second on two cores without AMX
SIDES = (224, 160, 128)
SMALL = 64  # images up to this side are kept as they are


@dataclass(frozen=True, eq=False)
class Material:
    """The images to audit.

    `dropped` are exact copies that the store left out, each with the id of the image it copies.
    """

    name: str
    source: Source
    store: Store
    images: Images
    splits: tuple[str, ...]
    dropped: tuple[tuple[CopiedImage, str], ...]
    learnt: Mapping[str, float] = field(default_factory=dict)  # margins of a run, by id
    notes: tuple[str, ...] = ()  # on what was left out
    left_out: int = 0  # images that there was no time to prepare


def open_material(where: str | Path | Data, budget: float, reporter: Reporter) -> Material:
    """Open the images of a data set or a run, with their splits."""
    data = where if isinstance(where, Data) else Data(str(where))
    run = None
    if not isinstance(where, Data) and (Path(where) / "recipe.json").is_file():
        run = Run.open(Path(where))
        data = run.settled.data
        if data.target != "class":
            raise UserError(
                f"{where} predicts a {data.target} for each image; the audit needs class labels",
                "name a run of a classifier, or its data",
            )
    whole = open_source(data.source, layout=Layout.of(data), talk=reporter.message)
    sizes = sampled_sizes(whole)
    source = affordable_part(whole, sizes, budget)
    notes = []
    left_out = len(whole.ids) - len(source.ids)
    if left_out:
        notes.append(
            f"{left_out:,} of {len(whole.ids):,} images left out, because preparing them all "
            "would exceed the budget"
        )
    store = prepare_store(
        source,
        data,
        progress=reporter.counter("preparing images"),
        preparation=preparation(source, sizes, budget),
    )
    bad = sum(left_out_by_kind(store.problems).values())
    if bad:
        reporter.message(
            f"left out {count_of_images(bad)}; list them with `eyesight data {data.source}`"
        )
    images = dataset.images_of(store)
    if len(set(store.labels.tolist())) < 2:
        raise UserError(
            f"{data.source} has images of only one class; the audit needs at least two",
            "use one folder per class",
        )
    splits = dict(zip(source.ids, source.splits.tolist(), strict=True))
    by_run: dict[str, float] = {}
    if run is not None:
        splits |= splits_of_run(data)
        by_run = learnt.margins_of(run, data)
    names = tuple(str(splits[one]) for one in store.ids)
    return Material(
        data.source,
        source,
        store,
        images,
        names,
        dropped_copies(source, store, splits),
        by_run,
        tuple(notes),
        left_out,
    )


def splits_of_run(data: Data) -> dict[str, str]:
    """The split of each image of a run, by id."""
    loaded = dataset.load(data)
    parts = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    return {one: name for name, images in parts.items() for one in images.ids}


def preparation(source: Source, sizes: Sequence[Size], budget: float) -> Preparation:
    """One size for all images.

    Their own where they are small, else the largest that the budget has time for.
    """
    side = usual_side(sizes)
    if side <= SMALL:
        return Preparation(side, side, 3)
    affordable = FEATURE_BUDGET_SHARE * budget * PACE / max(1, len(source.ids))
    for side in SIDES:
        if (side / 128) ** 2 <= affordable:
            return Preparation(side, side, 3)
    return Preparation(SIDES[-1], SIDES[-1], 3)


def usual_side(sizes: Sequence[Size]) -> int:
    """The median of the shorter sides of images of these sizes, above 0."""
    sides = sorted(min(size) for size in sizes)
    if not sides:
        return SIDES[-1]
    return max(1, sides[len(sides) // 2])


def sampled_sizes(source: Source) -> list[Size]:
    """Width and height of some images, spread over the data; arrays have one size."""
    if source.pixels is not None:
        height, width = source.pixels.shape[2:]
        return [(int(width), int(height))]
    sizes: list[Size] = []
    for index in range(0, len(source.ids), max(1, len(source.ids) // SAMPLED)):
        try:
            content = source.read(index)
            width, height = size_of(content)
        except BadPicture:
            continue
        sizes.append((width, height))
    return sizes


def size_of(content: bytes | np.ndarray) -> Size:
    """Width and height of an encoded image, or of an array H,W or H,W,C."""
    if isinstance(content, bytes):
        return dimensions(content)
    return int(content.shape[1]), int(content.shape[0])


def affordable_part(source: Source, sizes: Sequence[Size], budget: float) -> Source:
    """The source, or a random part of it that can be prepared within PREPARE_SHARE of the budget.

    FEW images of each class are in it as far as possible. It depends on the budget and the
    processor only, so that the same audit finds it again.
    """
    if source.pixels is not None or not sizes:
        return source
    pixels = sum(width * height for width, height in sizes) / len(sizes)
    each = (pixels + FILE_PIXELS) / (DECODED * memory.cores())
    count = max(FEWEST, int(PREPARE_SHARE * budget / each))
    if count >= len(source.ids):
        return source
    order = torch.randperm(len(source.ids), generator=torch.Generator().manual_seed(0)).numpy()
    turn = np.minimum(earlier_in_class(source.labels[order]), FEW)
    chosen = order[turn.argsort(kind="stable")][:count]
    return part_of(source, np.sort(chosen).tolist())


def earlier_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many images of the same class come before each one."""
    order = labels.argsort(kind="stable")
    ordered = labels[order]
    earlier = np.empty(len(labels), dtype=np.int64)
    earlier[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return earlier


def part_of(source: Source, rows: list[int]) -> Source:
    """Some images of a source, in this order."""
    boxes = source.boxes
    groups = source.groups

    def chosen_boxes() -> Sequence[Box]:
        assert boxes is not None
        every = boxes()
        return [every[row] for row in rows]

    return replace(
        source,
        ids=tuple(source.ids[row] for row in rows),
        labels=source.labels[rows],
        splits=source.splits[rows],
        read=lambda index: source.read(rows[index]),
        fingerprint=digest([source.fingerprint, *rows]),
        boxes=None if boxes is None else chosen_boxes,
        groups=None if groups is None else tuple(groups[row] for row in rows),
    )


def shapes_of(material: Material) -> list[tuple[int, int]] | None:
    """Width and height of the files of the images; None where the images are no files."""
    source = material.source
    if source.pixels is not None:
        return None
    rows = {one: row for row, one in enumerate(source.ids)}
    shapes = []
    for one in material.images.ids:
        try:
            content = source.read(rows[one])
            if not isinstance(content, bytes):
                return None
            shapes.append(dimensions(content, upright=True))
        except BadPicture:
            return None
    return shapes


def dropped_copies(
    source: Source, store: Store, splits: dict[str, str]
) -> tuple[tuple[CopiedImage, str], ...]:
    """Exact copies that the store left out, each with the id of the image that it copies."""
    rows = {one: row for row, one in enumerate(source.ids)}
    dropped = []
    for problem in store.problems:
        other = copied_from(problem)
        if other is not None:
            label = source.classes[source.labels[rows[problem.id]]]
            dropped.append((CopiedImage(problem.id, splits[problem.id], label), other))
    return tuple(dropped)


def member(material: Material, place: int) -> CopiedImage:
    """The image at a place of the data as one of a group."""
    images = material.images
    label = images.classes[int(images.labels[place])]
    return CopiedImage(images.ids[place], material.splits[place], label)
