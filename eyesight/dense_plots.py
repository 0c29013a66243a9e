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

from eyesight.plots import BLUE, GRID, INK, MUTED, styled

Pixels = npt.NDArray[np.uint8]
ACROSS = 12  # pictures in a row
SHADE = 0.6  # how much of a pixel a mask covers
DISTINCT = 10  # classes up to which every one has a colour that is no other's


@styled
def restored(rows: Sequence[tuple[str, Pixels]], captions: Sequence[str] = (), across: int = ACROSS) -> Figure:
    """Pictures above what was made of them: `rows` are named, from top to bottom, uint8 N,C,H,W each; captions stand below."""
    count = min(len(pixels) for _, pixels in rows)
    across, lines = max(1, min(across, count)), max(1, -(-count // across))
    left, step, gap = 0.85, 0.78, 0.28 if captions else 0.14
    block = step * len(rows) + gap
    figure = Figure(figsize=(left + across * step + 0.05, lines * block + 0.05))
    width, height = figure.get_size_inches()
    for place in range(count):
        line, column = divmod(place, across)
        for row, (name, pixels) in enumerate(rows):
            top = 0.05 + line * block + row * step
            axes = figure.add_axes(((left + column * step) / width, 1 - (top + step) / height, 0.95 * step / width, 0.95 * step / height))
            axes.set_axis_off()
            _show(axes, pixels[place])
            if column == 0:
                axes.text(-0.12, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=8, color=MUTED)
            if captions and row == len(rows) - 1:
                axes.text(0.5, -0.05, captions[place], transform=axes.transAxes, ha="center", va="top", fontsize=7)
    return figure


@styled
def codes(points: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], classes: Sequence[str], share: float) -> Figure:
    """The bottleneck in two dimensions, a dot a picture coloured by its class; `share` of the variance is seen."""
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.subplots()
    shown = [label for label in range(len(classes)) if (labels == label).any()]
    shades = colormaps["tab10" if len(shown) <= DISTINCT else "turbo"]
    for place, label in enumerate(shown):
        own = points[labels == label]
        colour = shades(place if len(shown) <= DISTINCT else place / (len(shown) - 1))
        axes.scatter(own[:, 0], own[:, 1], s=5, color=colour, alpha=0.6, linewidths=0, label=classes[label][:18])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("The bottleneck in two dimensions", pad=8)
    axes.set_xlabel(f"the two directions in which the pictures differ most: {share:.0%} of the variance")
    if 1 < len(shown) <= 2 * DISTINCT:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=2.5, handletextpad=0.1)
    return figure


@styled
def overlays(
    pixels: Pixels, masks: Pixels, said: Pixels, colours: npt.NDArray[np.uint8], classes: Sequence[str], captions: Sequence[str]
) -> Figure:
    """Two pictures a row, each beside its mask and what was said of it; ignored pixels stay as they are."""
    count = len(pixels)
    high = pixels.shape[2] / pixels.shape[3]
    wide, lines = 1.35, max(1, -(-count // 2))
    block = wide * high + 0.22
    legend = 0.26 * -(-len(classes) // 6) + 0.1
    figure = Figure(figsize=(6 * wide + 0.55, 0.25 + lines * block + legend))
    width, height = figure.get_size_inches()
    for place in range(count):
        line, half = divmod(place, 2)
        picture = pixels[place].transpose(1, 2, 0) if len(pixels[place]) == 3 else np.repeat(pixels[place].transpose(1, 2, 0), 3, axis=2)
        panels = (picture, overlay(picture, masks[place], colours), overlay(picture, said[place], colours))
        for column, shown in enumerate(panels):
            left = 0.1 + half * (3 * wide + 0.35) + column * wide
            bottom = 1 - (0.25 + line * block + wide * high) / height
            axes = figure.add_axes((left / width, bottom, 0.97 * wide / width, wide * high / height))
            axes.set_axis_off()
            axes.imshow(shown, interpolation="nearest" if max(shown.shape[:2]) <= 96 else "antialiased", aspect="auto")
            if line == 0:
                axes.set_title(("picture", "its mask", "what was said")[column], fontsize=8, pad=3, fontweight="normal", loc="center")
            if column == 2:
                axes.text(1, -0.03, captions[place], transform=axes.transAxes, ha="right", va="top", fontsize=7)
    patches = [Patch(color=tuple(part / 255 for part in colour)) for colour in colours.tolist()]
    figure.legend(patches, [name[:18] for name in classes], loc="lower center", ncols=min(6, len(classes)))
    return figure


def overlay(picture: Pixels, mask: Pixels, colours: npt.NDArray[np.uint8]) -> Pixels:
    """A mask uint8 H,W in colour over its picture uint8 H,W,3; what is ignored shows the picture."""
    table = np.zeros((256, 3), dtype=np.float64)
    table[: len(colours)] = colours
    cover = np.where(mask < len(colours), SHADE, 0.0)[:, :, None]
    return np.asarray((picture * (1 - cover) + table[mask] * cover).round(), dtype=np.uint8)


@styled
def ious(values: dict[str, float | None]) -> Figure:
    """The IoU of every class as a dot, the worst on top."""
    known = sorted(((value, name) for name, value in values.items() if value is not None), reverse=True)
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


def _show(axes: Axes, picture: Pixels) -> None:
    shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if max(shown.shape[:2]) <= 96 else "antialiased")
