"""Figures of autoencoders and of segmentation: restored images, bottlenecks, class maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from eyesight.results.predictions import readable
from eyesight.results.reconstructions import Reconstructions, in_two_dimensions
from eyesight.results.records import Summary
from eyesight.results.segmentations import Segmentations
from eyesight.runs import Run
from eyesight.views.plots import BLUE, GRID, INK, MUTED, Style, styled
from eyesight.views.words import word

Pixels = npt.NDArray[np.uint8]
Gallery: TypeAlias = Mapping[str, npt.NDArray[Any]]
ACROSS = 12  # images in a row
MOST_PIXELS = 240  # of a side of an image in a figure
DISTINCT = 10  # classes up to which each has a colour of its own
FEW = 24  # images in a figure


@dataclass(frozen=True)
class Panel:
    """A figure with its heading and a sentence about it; `name` is that of its file."""

    name: str
    title: str
    words: str
    figure: Figure


def panels(run: Run) -> Iterator[Panel]:
    """The figures of an autoencoder's or segmenter's run, each drawn when it is asked for.

    None for a classifier, whose report has its own, and before the run has ended.
    """
    if run.target in PANELS and (run.path / "predictions.npz").is_file():
        yield from PANELS[run.target](run)


def _reconstruction_panels(run: Run) -> Iterator[Panel]:
    results = run.results()
    assert isinstance(results, Reconstructions)
    gallery = run.gallery()
    if len(gallery.get("shown_pixels", ())):
        size = results.codes.shape[1]
        yield Panel(
            "restored",
            "Images and their reconstructions",
            f"Test images above, their reconstructions from the {size} values of the bottleneck "
            "below.",
            restored(_rows(gallery, "shown")),
        )
    if len(gallery.get("strange_pixels", ())):
        captions = [f"{results.errors[index]:.4f}" for index in gallery["strange_index"][:FEW]]
        yield Panel(
            "strangest",
            "The most unusual images",
            "The test images with the largest mean squared error: least like the training images.",
            restored(_rows(gallery, "strange"), captions),
        )
    if len(results) > 2:
        points, share = in_two_dimensions(results.codes)
        yield Panel(
            "bottleneck",
            "The bottleneck",
            "Each dot is a test image, positioned by its bottleneck values and coloured by its "
            "class. The network was trained without classes.",
            codes(points, results.labels, readable(results.classes), share),
        )


def _rows(gallery: Gallery, name: str) -> list[tuple[str, Pixels]]:
    rows = [(word("original"), gallery[f"{name}_pixels"][:FEW])]
    if f"{name}_asked" in gallery:
        rows.append((word("input"), gallery[f"{name}_asked"][:FEW]))
    rows.append((word("restored"), gallery[f"{name}_restored"][:FEW]))
    return rows


OVERLAYS = (
    ("shown", "overlays", "Images with their masks", "Test images with their mean IoU."),
    (
        "worst",
        "worst",
        "The worst images",
        "Test images with the lowest mean IoU. Check these first: some masks may be wrong.",
    ),
)


def _segmentation_panels(run: Run) -> Iterator[Panel]:
    results = run.results()
    assert isinstance(results, Segmentations)
    gallery = run.gallery()
    scores = results.scores()
    class_names = readable(results.classes)
    for key, name, title, words in OVERLAYS:
        if not len(gallery.get(f"{key}_pixels", ())):
            continue
        captions = [f"{100 * scores[index]:.1f} %" for index in gallery[f"{key}_index"]]
        figure = overlays(
            gallery[f"{key}_pixels"],
            gallery[f"{key}_masks"],
            gallery[f"{key}_said"],
            gallery["colours"],
            class_names,
            captions,
        )
        yield Panel(name, title, words, figure)
    by_class = results.summary()["per_class_iou"]
    if by_class:
        values = dict(zip(class_names, by_class.values(), strict=True))
        words = "Of the pixels that have the class or are predicted as it, the share that is both."
        yield Panel("ious", "Results per class", words, ious(values))


PANELS: dict[str, Callable[[Run], Iterator[Panel]]] = {
    "picture": _reconstruction_panels,
    "mask": _segmentation_panels,
}


def sentence(run: Run) -> str:
    """The result of such a run in one sentence; empty before its end."""
    test = run.result.get("test") or {}
    mse = test.get("mse")
    if run.target == "picture" and mse is not None:
        steps = 255 * mse**0.5
        words = f"The root mean square error of a pixel is {steps:.1f} of 255 levels"
        if test["ssim"] is not None:
            words += f"; the structural similarity is {test['ssim']:.3f}"
        return f"{words}."
    if run.target == "mask" and test.get("pixel_accuracy") is not None:
        return _segmentation_sentence(test)
    return ""


def _segmentation_sentence(test: Summary) -> str:
    share = 100 * (test["pixel_accuracy"] or 0.0)
    low, high = (100 * end for end in test["pixel_accuracy_interval"])
    scores = [(value, name) for name, value in test["per_class_iou"].items() if value is not None]
    value, name = min(scores, default=(0.0, ""))
    return (
        f"{share:.2f} % of the pixels are correct (95 % interval {low:.2f} to {high:.2f} %). "
        f"The hardest class is {name}, with an IoU of {100 * value:.1f} %."
    )


@styled
def restored(
    rows: Sequence[tuple[str, Pixels]], captions: Sequence[str] = (), across: int = ACROSS
) -> Figure:
    """Images above their reconstructions.

    `rows` are named, from top to bottom, uint8 N,C,H,W each; captions stand below.
    """
    count = min(len(pixels) for _, pixels in rows)
    across = max(1, min(across, count))
    starts = range(0, count, across)
    blocks = []
    for start in starts:
        block = []
        for _, pixels in rows:
            cells: list[Pixels | None] = list(map(coloured, pixels[start : start + across]))
            cells += [None] * (across - len(cells))
            block.append(cells)
        blocks.append(block)
    gap = 0.12
    if captions:
        gap = 0.28
    figure, axes, tops = _sheet(blocks, 0.78, gap=gap, left=0.8)
    name_style: Style = {"ha": "right", "va": "center", "fontsize": 8, "color": MUTED}
    for start, top in zip(starts, tops, strict=True):
        for row, (name, _) in enumerate(rows):
            axes.text(-0.08, top + row + 0.5, name, **name_style)
        for column, caption in enumerate(captions[start : start + across]):
            bottom = top + len(rows) + 0.02
            axes.text(column + 0.5, bottom, caption, ha="center", va="top", fontsize=7)
    return figure


@styled
def codes(
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    share: float,
) -> Figure:
    """The bottleneck in two dimensions: a dot an image, coloured by its class.

    `share` of the variance is seen.
    """
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.subplots()
    shown = [label for label in range(len(class_names)) if (labels == label).any()]
    if len(shown) <= DISTINCT:
        colours = [colormaps["tab10"](place) for place in range(len(shown))]
    else:
        colours = [colormaps["turbo"](share) for share in np.linspace(0, 1, len(shown))]
    for label, colour in zip(shown, colours, strict=True):
        own = points[labels == label]
        style: Style = {"s": 5, "alpha": 0.6, "linewidths": 0, "label": class_names[label][:18]}
        axes.scatter(own[:, 0], own[:, 1], color=colour, **style)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(word("The bottleneck in two dimensions"), pad=8)
    axes.set_xlabel(
        word("first two principal components: {share} of the variance", share=f"{share:.0%}")
    )
    if 1 < len(shown) <= 2 * DISTINCT:
        place: Style = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        axes.legend(markerscale=2.5, handletextpad=0.1, **place)
    return figure


@styled
def overlays(
    pixels: Pixels,
    masks: Pixels,
    predicted: Pixels,
    colours: npt.NDArray[np.uint8],
    class_names: Sequence[str],
    captions: Sequence[str],
) -> Figure:
    """Two images a row, each beside its mask and the predicted one, in the colours of the legend.

    Ignored pixels show the image.
    """
    panels: list[list[Pixels | None]] = []
    for image, mask, class_map in zip(pixels, masks, predicted, strict=True):
        shown = coloured(image)
        panels.append(
            [shown, _in_colour(shown, mask, colours), _in_colour(shown, class_map, colours)]
        )
    if len(panels) % 2:
        panels.append([None, None, None])
    blocks = [[[*left, *right]] for left, right in zip(panels[::2], panels[1::2], strict=True)]
    legend = 0.24 * -(-len(class_names) // 6) + 0.1
    figure, axes, tops = _sheet(blocks, 1.4, gap=0.22, left=0.05, top=0.25, bottom=legend)
    titles = (word("image"), word("mask"), word("predicted")) * min(2, len(pixels))
    for column, title in enumerate(titles):
        axes.text(column + 0.5, -0.03, title, ha="center", va="bottom", fontsize=8)
    for place, caption in enumerate(captions):
        row, side = divmod(place, 2)
        axes.text(side * 3 + 2.96, tops[row] + 1, caption, ha="right", va="top", fontsize=7)
    patches = [Patch(color=tuple(part / 255 for part in colour)) for colour in colours.tolist()]
    names = [name[:18] for name in class_names]
    figure.legend(patches, names, loc="lower center", ncols=min(6, len(names)))
    return figure


def _in_colour(image: Pixels, mask: Pixels, colours: npt.NDArray[np.uint8]) -> Pixels:
    """A mask H,W in exactly its classes' colours, H,W,3; ignored pixels show the image."""
    counted = mask < len(colours)
    painted = image.copy()
    painted[counted] = colours[mask[counted]]
    return painted


def coloured(image: Pixels) -> Pixels:
    """An image uint8 C,H,W as H,W,3."""
    height, width = image.shape[1:]
    return np.ascontiguousarray(np.broadcast_to(image.transpose(1, 2, 0), (height, width, 3)))


def _sheet(
    blocks: Sequence[Sequence[Sequence[Pixels | None]]],
    inches: float,
    *,
    gap: float,
    left: float,
    top: float = 0.05,
    bottom: float = 0.0,
) -> tuple[Figure, Axes, list[float]]:
    """Draw blocks of rows of images H,W,3 as one image: a hundred axes would take a minute.

    `inches` is the width of an image, `gap` the room below a block. The axes count images, across
    and down; returned with them is where every block begins.
    """
    cells = [cell for block in blocks for row in block for cell in row if cell is not None]
    height, width = cells[0].shape[:2]
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    height //= step
    width //= step
    parts: list[npt.NDArray[np.uint8]] = []
    tops: list[float] = []
    for block in blocks:
        tops.append(sum(map(len, parts)) / height)
        for row in block:
            parts.append(np.concatenate([_cell(cell, height, width, step) for cell in row], axis=1))
        parts.append(np.zeros((round(gap * width / inches), parts[-1].shape[1], 4), np.uint8))
    sheet = np.concatenate(parts)
    across = sheet.shape[1] / width
    down = len(sheet) / height
    wide = across * inches
    high = down * inches * height / width
    total_width = left + wide + 0.05
    total_height = top + high + bottom
    figure = Figure(figsize=(total_width, total_height))
    axes = figure.add_axes(
        (left / total_width, bottom / total_height, wide / total_width, high / total_height)
    )
    axes.imshow(sheet, interpolation="nearest", extent=(0, across, down, 0), aspect="auto")
    axes.set_axis_off()
    return figure, axes, tops


def _cell(cell: Pixels | None, height: int, width: int, step: int) -> npt.NDArray[np.uint8]:
    """One image in RGBA, averaged down, with a transparent edge at its right and below."""
    shown = np.zeros((height, width, 4), np.uint8)
    if cell is not None:
        blocks = cell[: height * step, : width * step].reshape(height, step, width, step, 3)
        shown[:, :, :3] = blocks.mean(axis=(1, 3)).round()
        shown[:, :, 3] = 255
    edge = max(1, height // 24)
    shown[-edge:] = 0
    shown[:, -edge:] = 0
    return shown


@styled
def ious(values: Mapping[str, float | None]) -> Figure:
    """The IoU of every class as a dot, the worst on top."""
    scores = [(value, name) for name, value in values.items() if value is not None]
    scores.sort(reverse=True)
    places = range(len(scores))
    figure = Figure(figsize=(4.6, 1.1 + 0.22 * len(scores)), layout="constrained")
    axes = figure.subplots()
    axes.grid(False, axis="y")
    axes.hlines(places, 0, 1, color=GRID, linewidth=0.8)
    axes.plot([value for value, _ in scores], places, "o", color=BLUE, markersize=5)
    axes.set_yticks(places, [name[:24] for _, name in scores], color=INK)
    axes.set(xlim=(0, 1.005), ylim=(-0.6, max(0, len(scores) - 0.4)))
    axes.set_title(word("Intersection over union per class"), pad=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    return figure
