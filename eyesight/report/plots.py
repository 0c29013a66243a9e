"""The figures: restrained, one palette, readable by the colour-blind, the same for a page, a file and a README.

Every function returns a figure of its own (no pyplot, no shared state); `svg` trades the palette for CSS variables, so
that a page in dark colours shows the same figure in dark colours.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from eyesight.results.metrics import Calibration, ClassRow
from eyesight.results.scores import MEASURES
from eyesight.system.files import whole_file

INK, MUTED, GRID = "#1f2933", "#66727f", "#e1e5ea"
BLUE, ORANGE, RED = "#1f6feb", "#d97706", "#c2410c"  # validation · training · what went wrong
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    BLUE: "--accent",
    ORANGE: "--second",
    RED: "--bad",
}
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$"
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 24,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.size": 0,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.borderaxespad": 0,
    "legend.borderpad": 0.3,
    "legend.handlelength": 1.3,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.0,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched, and drawn in any script
    "svg.hashsalt": "eyesight",  # the same figure gives the same bytes
}
KNOWN = {measure.key: measure for measure in MEASURES.values()}
COUNTED = 15  # up to this many classes the confusion matrix shows its counts
NAMED = 60  # up to this many it names every class

Pixels = npt.NDArray[np.uint8]
P = ParamSpec("P")
_style_lock = RLock()  # matplotlib keeps its settings in one place for all threads


@contextmanager
def _styled() -> Iterator[None]:
    with _style_lock, rc_context(STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # names in a script the font lacks: boxes, not a failure
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """`draw` in the house style."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _styled():
            return draw(*args, **kwargs)

    return inner


def png(figure: Figure, dots: int = 160) -> bytes:
    """The figure as PNG on white, `dots` an inch."""
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(
            buffer, format="png", dpi=dots, facecolor="white", metadata={"Software": None}
        )
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure to `path` as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(png(figure))


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element for a page that defines the colours as CSS variables; as wide as its place."""
    buffer = io.StringIO()
    with _styled():
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'(<svg [^>]*?)width="[^"]*" height="[^"]*"',
        r"\1",
        re.sub(r'(<svg [^>]*?)height="[^"]*" ', r"\1", text, count=1),
        count=1,
    )
    opening = re.sub(r' (width|height)="[^"]*"', "", text[: text.index(">")])
    text = opening + text[text.index(">") :]
    return re.sub("|".join(VARIABLES), lambda match: f"var({VARIABLES[match[0]]})", text)


@styled
def samples(pixels: Pixels, names: Sequence[str], columns: int = 10) -> Figure:
    """A grid of pictures (uint8 N,C,H,W) with a name under each."""
    return _gallery(pixels, [_short(name, 15) for name in names], columns, lines=1)


@styled
def mistakes(
    pixels: Pixels,
    true: Sequence[str],
    said: Sequence[str],
    probability: Sequence[float],
    columns: int = 8,
) -> Figure:
    """A grid of wrongly classified pictures: the true name, what was said instead, how surely (0 to 1)."""
    long = any(len(a) + len(b) > 9 for a, b in zip(true, said, strict=True))
    between = "\n→ " if long else " → "
    names = [f"{_short(a, 15)}{between}{_short(b, 15)}" for a, b in zip(true, said, strict=True)]
    captions = [f"{name}\n{_percent(sure)}" for name, sure in zip(names, probability, strict=True)]
    return _gallery(pixels, captions, columns, lines=3 if long else 2)


@styled
def augmented(
    pixels: Pixels, names: Sequence[str], trials: Sequence[Pixels], labels: Sequence[Sequence[str]]
) -> Figure:
    """Pictures as they are, five a row, and beside them one row of changed ones for each trial, with their labels below."""
    lines = max(label.count("\n") for row in labels for label in row) + 1
    step = 1.11 + 0.16 * lines
    right = 5.85
    most = max(map(len, trials))
    figure = Figure(
        figsize=(
            right + max(1.05 * most + 0.1, 3.6),
            0.35 + step * max(-(-len(pixels) // 5), len(trials)),
        )
    )
    width, height = figure.get_size_inches()
    for left, title in (
        (0.1, "Training pictures"),
        (right, "The first of them, changed anew in every epoch"),
    ):
        figure.text(left / width, 1 - 0.08 / height, title, va="top", fontweight="bold")
    for index, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        _picture(
            figure, 0.1 + index % 5 * 1.05, 0.35 + index // 5 * step, picture, _short(name, 15)
        )
    for row, (changed, captions) in enumerate(zip(trials, labels, strict=True)):
        for column, (picture, caption) in enumerate(zip(changed, captions, strict=True)):
            _picture(figure, right + column * 1.05, 0.35 + row * step, picture, caption)
    return figure


@styled
def curves(epochs: Sequence[dict[str, Any]], what: Sequence[str] = ("loss", "top1")) -> Figure:
    """Training and validation against epochs, one panel for each of `what`; the kept epoch is marked, values may be missing."""
    figure = Figure(figsize=(4.3 * len(what), 3.0), layout="constrained")
    for axes, measure in zip(np.atleast_1d(figure.subplots(1, len(what))), what, strict=True):
        _curve_panel(axes, epochs, measure)
    return figure


@styled
def confusion(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Counts (K,K; rows true): right ones blue, mistakes orange, by their share of the row; written out up to 15 classes."""
    count = len(classes)
    side = float(np.clip(1.7 + 0.3 * count, 2.8, 7.2))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    shades = _shades(matrix)
    axes.imshow(
        shades, interpolation="none"
    )  # stored as it is: one pixel a cell, sharp at any size
    if count <= COUNTED:
        _write_counts(axes, matrix, shades[..., 3])
    _name_classes(axes, classes)
    axes.set(xlabel="predicted", ylabel="true")
    for spine in axes.spines.values():
        spine.set_visible(True)
    return figure


@styled
def calibration(found: Calibration) -> Figure:
    """How often a confidence was right; on the diagonal, 80 % sure is right 80 % of the time; bars show where pictures are."""
    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
    axes = figure.subplots()
    bins = len(found.counts)
    share = found.counts / max(found.counts.sum(), 1)
    axes.bar(
        (np.arange(bins) + 0.5) / bins,
        share,
        width=0.92 / bins,
        color=GRID,
        label="share of pictures",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label="ideal")
    filled = found.counts > 0
    axes.plot(
        found.confidence[filled],
        found.accuracy[filled],
        color=BLUE,
        linewidth=1.8,
        marker="o",
        markersize=4,
        label="right",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", title="Calibration")
    axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick))
    _legend(axes)
    return figure


@styled
def recalls(rows: Sequence[ClassRow]) -> Figure:
    """The recall of every class as a dot, the worst on top; at most the 40 worst."""
    known = sorted(
        ((row.recall, row.name) for row in rows if row.recall is not None), key=lambda pair: pair[0]
    )[:40][::-1]
    figure = Figure(figsize=(4.6, 1.3 + 0.22 * len(known)), layout="constrained")
    axes = figure.subplots()
    axes.grid(False, axis="y")
    places = range(len(known))
    axes.hlines(places, 0, 1, color=GRID, linewidth=0.8)
    axes.plot(
        [recall for recall, _ in known], places, "o", color=BLUE, markersize=5
    )  # dots, for the axis need not begin at 0
    axes.set_yticks(places, [_short(name) for _, name in known], color=INK)
    low = min((recall for recall, _ in known), default=0.0)
    axes.set(
        xlim=(0.0 if low < 0.8 else 0.9 if low > 0.92 else 0.75, 1.005),
        ylim=(-0.6, len(known) - 0.4),
    )
    axes.set_title(
        f"Recall{'' if len(known) == len(rows) else f' of the {len(known)} worst classes'}", pad=8
    )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
    return figure


def _curve_panel(axes: Axes, epochs: Sequence[dict[str, Any]], measure: str) -> None:
    numbers = [event["epoch"] for event in epochs]
    marker = {"marker": "o", "markersize": 3.5} if len(epochs) <= 20 else {}
    clean = any(event.get("train_clean") for event in epochs)  # the batches were blends
    lines = (
        ("train", ORANGE, "training (clean sample)" if clean else "training"),
        ("validation", BLUE, "validation"),
    )
    for part, colour, label in lines:
        values = _values(epochs, f"{part}_{measure}")
        known = np.isfinite(values)
        if known.any():
            axes.plot(
                np.array(numbers)[known],
                values[known],
                color=colour,
                linewidth=1.8,
                label=label,
                **marker,  # type: ignore[arg-type]
            )
    score = KNOWN.get(measure)
    axes.set(title=score.title[0].upper() + score.title[1:] if score else "Loss", xlabel="epoch")
    axes.xaxis.set_major_locator(
        MaxNLocator(8, integer=True) if len(epochs) > 8 else FixedLocator(numbers)
    )
    margin = 0.03 * len(numbers) + 0.02
    axes.set_xlim(min(numbers, default=1) - margin, max(numbers, default=1) + margin)
    if score is None:
        axes.set_ylim(bottom=0)
    elif score.unit == "%":
        axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick))
    else:
        axes.set_ylabel(score.unit)
    _mark_stages(axes, epochs, high=score is None)
    _mark_best(axes, epochs, measure)
    _legend(axes)


def _values(epochs: Sequence[dict[str, Any]], key: str) -> npt.NDArray[np.float64]:
    return np.array(
        [np.nan if event.get(key) is None else event[key] for event in epochs], dtype=np.float64
    )


def _mark_best(axes: Axes, epochs: Sequence[dict[str, Any]], measure: str) -> None:
    best = next((event for event in reversed(epochs) if event.get("best")), None)
    if best is None:
        return
    axes.axvline(best["epoch"], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    value = best.get(f"validation_{measure}")
    label = f"epoch {best['epoch']} kept"
    if value is None:
        axes.plot([], [], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label=label)
        return
    label += f": {KNOWN[measure].text(value)}" if measure in KNOWN else f": {value:.3g}"
    axes.plot(
        [best["epoch"]],
        [value],
        "o",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=BLUE,
        markeredgewidth=1.6,
        label=label,
    )


def _mark_stages(axes: Axes, epochs: Sequence[dict[str, Any]], *, high: bool) -> None:
    """A line where the epochs' "stage" changes, as in staged fine-tuning; its name stands where the curves are not."""
    for before, event in pairwise(epochs):
        if event.get("stage") != before.get("stage"):
            place = (event["epoch"] - 0.5, 0.97 if high else 0.03)
            axes.axvline(place[0], color=MUTED, linewidth=0.9)
            name = f" stage {event.get('stage')}"
            axes.annotate(
                name,
                place,
                xycoords=("data", "axes fraction"),
                color=MUTED,
                va="top" if high else "bottom",
            )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _shades(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Colours on a transparent ground, K,K,4; the root makes a mistake of one in a hundred visible."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = np.empty((*matrix.shape, 4))
    shades[..., :3] = np.where(
        np.eye(len(matrix), dtype=bool)[..., None], to_rgb(BLUE), to_rgb(ORANGE)
    )
    shades[..., 3] = np.sqrt(shares)
    return shades


def _write_counts(
    axes: Axes, matrix: npt.NDArray[np.int64], strength: npt.NDArray[np.float64]
) -> None:
    size = 8.5 if matrix.max() < 10_000 and len(matrix) <= 10 else 7
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            colour = "white" if strength[row, column] > 0.7 else INK
            axes.text(
                column, row, str(value), ha="center", va="center", fontsize=size, color=colour
            )


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    step = 1 if len(classes) <= NAMED else -(-len(classes) // 40)
    places = range(0, len(classes), step)
    names = [_short(classes[place], 18 if len(classes) <= COUNTED else 26) for place in places]
    size = 8.5 if len(classes) <= COUNTED else 6.5
    turned: dict[str, Any] = {}
    if max(map(len, names), default=0) > 2:
        turned = (
            {"rotation": 90}
            if len(names) > COUNTED
            else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        )
    axes.set_xticks(places, names, fontsize=size, color=INK, **turned)
    axes.set_yticks(places, names, fontsize=size, color=INK)


def _gallery(pixels: Pixels, captions: Sequence[str], columns: int, lines: int) -> Figure:
    assert len(pixels) == len(captions), "one caption a picture"
    columns = max(1, min(columns, len(pixels)))
    rows = -(-len(pixels) // columns)
    text = 0.16 * lines + 0.1  # inches under each picture
    figure = Figure(figsize=(columns * 1.05 + 0.1, max(rows, 1) * (0.95 + text) + 0.1))
    for index, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(index, columns)
        _picture(figure, 0.1 + column * 1.05, 0.1 + row * (0.95 + text), picture, caption)
    return figure


def _picture(figure: Figure, left: float, top: float, picture: Pixels, caption: str) -> None:
    """One picture (uint8 C,H,W), 0.95 inches wide, with its caption below; `left` and `top` in inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + 0.95) / height, 0.95 / width, 0.95 / height))
    axes.set_axis_off()
    shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    small = max(shown.shape[:2]) <= 96
    axes.imshow(
        shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if small else "antialiased"
    )
    axes.text(
        0.5,
        -0.04,
        caption,
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=7.5,
        linespacing=1.25,
    )


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def _percent_tick(value: float, _: int | None) -> str:
    return f"{100 * value:.4g} %"
