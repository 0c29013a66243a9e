"""Figures of what is more than a class: restored pictures, bottlenecks, masks laid over pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from eyesight.inference.annotate import overlay
from eyesight.report.plots import BLUE, GRID, INK, MUTED, styled

Pixels = npt.NDArray[np.uint8]
ACROSS = 12  # pictures in a row
MOST_PIXELS = 240  # of a side of a picture in a figure
DISTINCT = 10  # classes up to which every one has a colour that is no other's


@styled
def restored(
    rows: Sequence[tuple[str, Pixels]], captions: Sequence[str] = (), across: int = ACROSS
) -> Figure:
    """Pictures above what was made of them: `rows` are named, from top to bottom, uint8 N,C,H,W each; captions stand below."""
    count = min(len(pixels) for _, pixels in rows)
    across = max(1, min(across, count))
    cells = [[coloured(picture) for picture in pixels[:count]] for _, pixels in rows]
    lines = range(0, count, across)
    blocks = [
        [
            [*row[place : place + across], *[None] * (across - len(row[place : place + across]))]
            for row in cells
        ]
        for place in lines
    ]
    figure, axes, starts = _sheet(blocks, 0.78, gap=0.28 if captions else 0.12, left=0.8)
    for place, start in zip(lines, starts, strict=True):
        for row, (name, _) in enumerate(rows):
            axes.text(
                -0.08, start + row + 0.5, name, ha="right", va="center", fontsize=8, color=MUTED
            )
        for column, caption in enumerate(captions[place : place + across]):
            axes.text(
                column + 0.5, start + len(rows) + 0.02, caption, ha="center", va="top", fontsize=7
            )
    return figure


@styled
def codes(
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    share: float,
) -> Figure:
    """The bottleneck in two dimensions, a dot a picture coloured by its class; `share` of the variance is seen."""
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.subplots()
    shown = [label for label in range(len(classes)) if (labels == label).any()]
    shades = colormaps["tab10" if len(shown) <= DISTINCT else "turbo"]
    for place, label in enumerate(shown):
        own = points[labels == label]
        colour = shades(place if len(shown) <= DISTINCT else place / (len(shown) - 1))
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=5,
            color=colour,
            alpha=0.6,
            linewidths=0,
            label=classes[label][:18],
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("The bottleneck in two dimensions", pad=8)
    axes.set_xlabel(
        f"the two directions in which the pictures differ most: {share:.0%} of the variance"
    )
    if 1 < len(shown) <= 2 * DISTINCT:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=2.5, handletextpad=0.1
        )
    return figure


@styled
def overlays(
    pixels: Pixels,
    masks: Pixels,
    said: Pixels,
    colours: npt.NDArray[np.uint8],
    classes: Sequence[str],
    captions: Sequence[str],
) -> Figure:
    """Two pictures a row, each beside its mask and what was said of it; ignored pixels stay as they are."""
    panels = [
        (
            coloured(picture),
            overlay(coloured(picture), mask, colours),
            overlay(coloured(picture), map_, colours),
        )
        for picture, mask, map_ in zip(pixels, masks, said, strict=True)
    ]
    pairs = [panels[place : place + 2] for place in range(0, len(panels), 2)]
    blocks = [[[*pair[0], *(pair[1] if len(pair) > 1 else (None,) * 3)]] for pair in pairs]
    legend = 0.24 * -(-len(classes) // 6) + 0.1
    figure, axes, starts = _sheet(blocks, 1.4, gap=0.22, left=0.05, top=0.25, bottom=legend)
    for column, name in enumerate(("picture", "its mask", "what was said") * min(2, len(panels))):
        axes.text(column + 0.5, -0.03, name, ha="center", va="bottom", fontsize=8)
    for place, caption in enumerate(captions):
        axes.text(
            place % 2 * 3 + 2.96, starts[place // 2] + 1, caption, ha="right", va="top", fontsize=7
        )
    patches = [Patch(color=tuple(part / 255 for part in colour)) for colour in colours.tolist()]
    figure.legend(
        patches, [name[:18] for name in classes], loc="lower center", ncols=min(6, len(classes))
    )
    return figure


def coloured(picture: Pixels) -> Pixels:
    """A picture uint8 C,H,W as H,W,3."""
    return np.ascontiguousarray(
        np.broadcast_to(picture.transpose(1, 2, 0), (*picture.shape[1:], 3))
    )


def _sheet(
    blocks: Sequence[Sequence[Sequence[Pixels | None]]],
    inches: float,
    *,
    gap: float,
    left: float,
    top: float = 0.05,
    bottom: float = 0.0,
) -> tuple[Figure, Axes, list[float]]:
    """Blocks of rows of pictures H,W,3 of one size as one image, for a hundred axes would take a minute to draw.

    `inches` is the width of a picture, `gap` what lies below a block. The axes count pictures, across and down; given back is where every
    block begins.
    """
    shape = next(
        cell.shape for block in blocks for row in block for cell in row if cell is not None
    )
    step = max(1, -(-max(shape[:2]) // MOST_PIXELS))
    high = shape[0] // step
    wide = shape[1] // step
    parts: list[npt.NDArray[np.uint8]] = []
    starts: list[float] = []
    for block in blocks:
        starts.append(sum(map(len, parts)) / high)
        parts += [
            np.concatenate([_cell(cell, high, wide, step) for cell in row], axis=1) for row in block
        ]
        parts.append(np.zeros((round(gap * wide / inches), parts[-1].shape[1], 4), np.uint8))
    sheet = np.concatenate(parts)
    across = sheet.shape[1] / wide
    down = len(sheet) / high
    width = across * inches
    height = down * inches * high / wide
    figure = Figure(figsize=(left + width + 0.05, top + height + bottom))
    whole = figure.get_size_inches()
    axes = figure.add_axes(
        (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
    )
    axes.imshow(sheet, interpolation="nearest", extent=(0, across, down, 0), aspect="auto")
    axes.set_axis_off()
    return figure, axes, starts


def _cell(cell: Pixels | None, high: int, wide: int, step: int) -> npt.NDArray[np.uint8]:
    """One picture, averaged down, with a clear edge at its right and below; all clear where there is none."""
    found = np.zeros((high, wide, 4), np.uint8)
    if cell is not None:
        blocks = cell[: high * step, : wide * step].reshape(high, step, wide, step, 3)
        found[:, :, :3] = blocks.mean(axis=(1, 3)).round()
        found[:, :, 3] = 255
    edge = max(1, high // 24)
    found[-edge:] = 0
    found[:, -edge:] = 0
    return found


@styled
def ious(values: dict[str, float | None]) -> Figure:
    """The IoU of every class as a dot, the worst on top."""
    known = sorted(
        ((value, name) for name, value in values.items() if value is not None), reverse=True
    )
    figure = Figure(figsize=(4.6, 1.1 + 0.22 * len(known)), layout="constrained")
    axes = figure.subplots()
    axes.grid(False, axis="y")
    axes.hlines(range(len(known)), 0, 1, color=GRID, linewidth=0.8)
    axes.plot([value for value, _ in known], range(len(known)), "o", color=BLUE, markersize=5)
    axes.set_yticks(range(len(known)), [name[:24] for _, name in known], color=INK)
    axes.set(xlim=(0, 1.005), ylim=(-0.6, max(0, len(known) - 0.4)))
    axes.set_title("Intersection over union, class by class", pad=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    return figure
