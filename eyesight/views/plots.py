"""Figures of a run, drawn without pyplot and without shared state.

`svg` replaces the palette by CSS variables, so that a page in dark colours shows the same figure in
dark colours.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, ParamSpec, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from eyesight.results.calibration import RiskCoverage
from eyesight.results.metrics import Reliability
from eyesight.results.scores import MEASURES
from eyesight.system.files import whole_file
from eyesight.views.words import families, without_font_warnings, word

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e1e5ea"
BLUE = "#1f6feb"  # validation, and what is right
ORANGE = "#d97706"  # training, and mistakes
RED = "#c2410c"
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
    "svg.fonttype": "none",  # text stays text: read aloud, searched, and in any script
    "svg.hashsalt": "eyesight",  # the same figure gives the same bytes
}
TASK_SCORES = {measure.key: measure for measure in MEASURES.values()}
COUNTED = 15  # up to this many classes the confusion matrix shows its counts
NAMED = 60  # up to this many it names every class
SMALL_SPREAD = 0.002  # scores closer than this get axes of two percentage points
DIVERGED = 3.0  # times the first loss: higher losses are marked at the upper edge
CELL = 1.05  # inches from one image of a grid to the next
LINE = 0.16  # inches of a line of a caption
WRAPPED = 15  # letters in a line of a caption
NAME = 18  # letters in a line of a class name beside a confusion matrix with counts
DASHED = (0, (2, 2))

Epoch: TypeAlias = Mapping[str, Any]  # one epoch of a run's log
Style: TypeAlias = dict[str, Any]  # options of matplotlib
Pixels = npt.NDArray[np.uint8]
P = ParamSpec("P")
_style_lock = RLock()  # matplotlib keeps its settings in one place for all threads


@contextmanager
def _styled() -> Iterator[None]:
    style: Style = {**STYLE, "font.family": [*families(), "sans-serif"]}
    with _style_lock, without_font_warnings(), warnings.catch_warnings():
        # Names in a script that the font lacks become boxes, not a failure.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        with rc_context(style):  # type: ignore[arg-type]
            yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws a figure: it draws in the style of all figures."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _styled():
            return draw(*args, **kwargs)

    return inner


def png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as PNG on white."""
    buffer = io.BytesIO()
    options: Style = {"dpi": dpi, "facecolor": "white", "metadata": {"Software": None}}
    with _styled():
        figure.savefig(buffer, format="png", **options)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure to `path` as PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(png(figure))


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, as wide as its place, with CSS variables for colours."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with _styled():
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    end = text.index(">")
    opening = re.sub(r' (width|height)="[^"]*"', "", text[:end])
    return re.sub("|".join(VARIABLES), _variable, opening + text[end:])


def _variable(match: re.Match[str]) -> str:
    return f"var({VARIABLES[match[0]]})"


@styled
def samples(pixels: Pixels, names: Sequence[str], columns: int = 10) -> Figure:
    """A grid of images (uint8 N,C,H,W) with a name under each."""
    return _grid(pixels, [wrapped(name) for name in names], columns)


@styled
def mistakes(
    pixels: Pixels,
    true: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[float],
    columns: int = 8,
) -> Figure:
    """A grid of misclassified images: the true class, the predicted one, its probability."""
    pairs = list(zip(true, predicted, strict=True))
    between = " → "
    if any(len(name) + len(other) > 9 for name, other in pairs):
        between = "\n→ "
    captions = []
    for (name, other), probability in zip(pairs, probabilities, strict=True):
        words = f"{wrapped(name)}{between}{wrapped(other)}"
        captions.append(f"{words}\n{_percent(probability)}")
    return _grid(pixels, captions, columns)


@styled
def augmented(
    pixels: Pixels,
    names: Sequence[str],
    trials: Sequence[Pixels],
    captions: Sequence[Sequence[str]],
) -> Figure:
    """Images as they are, five a row; beside them a row of augmented ones for each trial."""
    names = [wrapped(name) for name in names]
    lines = 1 + max(text.count("\n") for row in (names, *captions) for text in row)
    step = 1.11 + LINE * lines
    left, right = 0.1, 6.15
    rows = max(-(-len(pixels) // 5), len(trials))
    most = max(map(len, trials))
    width = right + max(CELL * most + 0.1, 3.6)
    height = 0.35 + step * rows
    figure = Figure(figsize=(width, height))
    titles = {
        left: "Training images",
        right: "Augmented: different images per trial",
    }
    for place, title in titles.items():
        figure.text(place / width, 1 - 0.08 / height, title, va="top", fontweight="bold")
    for index, (image, name) in enumerate(zip(pixels, names, strict=True)):
        row, column = divmod(index, 5)
        _image(figure, left + column * CELL, 0.35 + row * step, image, name)
    for row, (images, texts) in enumerate(zip(trials, captions, strict=True)):
        top = 1 - (0.35 + row * step + 0.5) / height
        label = f"trial {row + 1}"
        figure.text((right - 0.12) / width, top, label, rotation=90, ha="right", va="center")
        for column, (image, text) in enumerate(zip(images, texts, strict=True)):
            _image(figure, right + column * CELL, 0.35 + row * step, image, text)
    return figure


@styled
def curves(epochs: Sequence[Epoch], keys: Sequence[str] = ("loss", "top1")) -> Figure:
    """Training and validation against epochs, one panel for each of `keys`.

    The kept epoch is marked; values may be missing.
    """
    figure = Figure(figsize=(4.3 * len(keys), 3.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(keys)))
    for axes, key in zip(panels, keys, strict=True):
        _curve_panel(axes, epochs, key)
    return figure


@styled
def confusion(matrix: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """The confusion matrix K,K (rows true) by share of the row: right ones blue, mistakes orange.

    Counts are written out up to 15 classes; a scale stands beside more.
    """
    count = len(class_names)
    cell = 0.3
    if max(map(len, class_names), default=0) > NAME:
        cell = 0.42
    side = float(np.clip(1.7 + cell * count, 2.8, 7.2))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = _shades(shares, np.eye(count, dtype=bool))
    axes.imshow(shades, interpolation="none")  # one pixel a cell: sharp at any size
    if count <= COUNTED:
        _write_counts(axes, matrix, shades[..., 3])
    else:
        figure.set_size_inches(side + 0.8, side)
        _draw_scale(figure, axes)
    _name_classes(axes, class_names)
    axes.set(xlabel=word("predicted"), ylabel=word("true"))
    for spine in axes.spines.values():
        spine.set_visible(True)
    return figure


@styled
def reliability(bins: Reliability) -> Figure:
    """The reliability diagram: accuracy by confidence, with the number of images on each bar."""
    figure = Figure(figsize=(4.9, 3.3), layout="constrained")
    axes = figure.subplots()
    count = len(bins.counts)
    centres = (np.arange(count) + 0.5) / count
    filled = bins.counts > 0
    axes.bar(
        centres[filled],
        bins.accuracy[filled],
        width=0.88 / count,
        color=BLUE,
        alpha=0.35,
        label=word("accuracy"),
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED, label=word("ideal"))
    axes.plot(
        bins.confidence[filled],
        bins.accuracy[filled],
        color=BLUE,
        linewidth=1.6,
        marker="o",
        markersize=4,
        label=word("mean confidence"),
    )
    for centre, height, number in zip(
        centres[filled], bins.accuracy[filled], bins.counts[filled], strict=True
    ):
        words: Style = {"ha": "center", "va": "bottom", "fontsize": 6.5, "color": MUTED}
        axes.annotate(f"{number:,}", (centre, height), (0, 5), textcoords="offset points", **words)
    axes.set(xlim=(0, 1), ylim=(0, 1.12), xlabel=word("confidence"), title=word("Reliability"))
    _percent_axes(axes)
    _legend(axes)
    return figure


@styled
def risk_coverage(curve: RiskCoverage) -> Figure:
    """The error among the answers that are kept when only the most confident ones are."""
    figure = Figure(figsize=(4.9, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.coverage, curve.risk, color=BLUE, linewidth=1.8)
    axes.fill_between(curve.coverage, curve.risk, color=BLUE, alpha=0.12, linewidth=0)
    axes.set(xlim=(0, 1), xlabel="share of images that are answered")
    axes.set_ylim(0, max(0.01, 1.15 * float(curve.risk.max())))
    axes.set_title(f"Error rate among them (area {curve.area:.4f})")
    _percent_axes(axes)
    return figure


def heading(title: str) -> str:
    """A title in the language of the figure, its first letter large."""
    text = word(title)
    return text[0].upper() + text[1:]


def _percent_axes(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick))


def _curve_panel(axes: Axes, epochs: Sequence[Epoch], key: str) -> None:
    numbers = np.array([event["epoch"] for event in epochs])
    training = word("training")
    if any(event.get("train_clean") for event in epochs):  # the batches were blends
        training = word("training (without augmentation)")
    lines = (("train", ORANGE, training), ("validation", BLUE, word("validation")))
    columns = {part: _values(epochs, f"{part}_{key}") for part, _, _ in lines}
    score = TASK_SCORES.get(key)
    title = word("Loss")
    if score is not None:
        title = heading(score.title)
    axes.set(title=title, xlabel=word("epoch"))
    _limit_curves(axes, numbers, list(columns.values()), is_loss=score is None)
    for part, colour, label in lines:
        _curve(axes, numbers, columns[part], colour, label)
    if score is not None and score.unit == "%":
        axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick))
    elif score is not None:
        axes.set_ylabel(score.unit)
    _mark_stages(axes, epochs, high=score is None)
    _mark_best(axes, epochs, key)
    _legend(axes)


def _curve(
    axes: Axes,
    numbers: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
    colour: str,
    label: str,
) -> None:
    """One curve; values above the axes are marked at their upper edge."""
    measured = np.isfinite(values)
    if not measured.any():
        return
    marker: Style = {}
    if len(numbers) <= 20:
        marker = {"marker": "o", "markersize": 3.5}
    axes.plot(
        numbers[measured],
        values[measured],
        color=colour,
        linewidth=1.8,
        label=label,
        **marker,
    )
    top = axes.get_ylim()[1]
    mark_outside(axes, numbers[measured], values[measured] > top, top, "^", colour)


def mark_outside(
    axes: Axes,
    x: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    outside: npt.NDArray[np.bool_],
    edge: float,
    marker: str,
    colour: str,
) -> None:
    """Mark the points that lie outside the axes on the `edge` that they lie beyond."""
    if outside.any():
        heights = np.full(int(outside.sum()), edge)
        axes.plot(x[outside], heights, marker, color=colour, markersize=5, clip_on=False)


def _limit_curves(
    axes: Axes,
    numbers: npt.NDArray[np.int64],
    columns: Sequence[npt.NDArray[np.float64]],
    *,
    is_loss: bool,
) -> None:
    """Room for every point; a loss that diverged does not press the rest flat."""
    count = len(numbers)
    if count > 8:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    else:
        axes.xaxis.set_major_locator(FixedLocator(numbers.tolist()))
    margin = 0.03 * count + 0.3 * (count <= 20)
    axes.set_xlim(min(numbers, default=1) - margin, max(numbers, default=1) + margin)
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    if is_loss:
        starts = [column[np.isfinite(column)][0] for column in columns if np.isfinite(column).any()]
        top = min(values.max(), DIVERGED * max(starts))
        room = 0.06 * float(top) + 1e-9
        axes.set_ylim(min(0.0, float(values.min())) - room / 2, top + room)
    else:
        spread = float(np.ptp(values))
        room = 0.07 * spread if spread > SMALL_SPREAD else 0.01
        axes.set_ylim(values.min() - room, values.max() + room)


def _values(epochs: Sequence[Epoch], key: str) -> npt.NDArray[np.float64]:
    """A value of every epoch; NaN where it is missing."""
    values = np.full(len(epochs), np.nan)
    for place, event in enumerate(epochs):
        if event.get(key) is not None:
            values[place] = event[key]
    return values


def _mark_best(axes: Axes, epochs: Sequence[Epoch], key: str) -> None:
    best = next((event for event in reversed(epochs) if event.get("best")), None)
    if best is None:
        return
    axes.axvline(best["epoch"], color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
    value = best.get(f"validation_{key}")
    label = word("epoch {n} kept", n=best["epoch"])
    if value is None:
        axes.plot([], [], color=MUTED, linewidth=0.9, linestyle=DASHED, label=label)
        return
    text = f"{value:.3g}"
    if key in TASK_SCORES:
        text = TASK_SCORES[key].text(value)
    ring: Style = {"markerfacecolor": "none", "markeredgecolor": BLUE, "markeredgewidth": 1.6}
    axes.plot([best["epoch"]], [value], "o", markersize=7, label=f"{label}: {text}", **ring)


def _mark_stages(axes: Axes, epochs: Sequence[Epoch], *, high: bool) -> None:
    """A line where the epochs' stage changes, named where the curves are not."""
    height, anchor = 0.03, "bottom"
    if high:
        height, anchor = 0.97, "top"
    for before, event in pairwise(epochs):
        if event.get("stage") == before.get("stage"):
            continue
        place = event["epoch"] - 0.5
        axes.axvline(place, color=MUTED, linewidth=0.9)
        axes.annotate(
            " " + word("stage {n}", n=event.get("stage")),
            (place, height),
            xycoords=("data", "axes fraction"),
            color=MUTED,
            va=anchor,
        )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _shades(
    shares: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """RGBA on a transparent ground; the root makes a mistake of one in a hundred visible."""
    shades = np.empty((*shares.shape, 4))
    shades[..., :3] = np.where(right[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    shades[..., 3] = np.sqrt(shares)
    return shades


def _draw_scale(figure: Figure, axes: Axes) -> None:
    """Which share of its row a colour of the confusion matrix means."""
    scale = axes.inset_axes((1.03, 0.25, 0.05, 0.5))
    strength = np.linspace(0, 1, 100)[:, None].repeat(2, axis=1)
    right = np.zeros(strength.shape, dtype=bool)
    right[:, 0] = True
    scale.imshow(_shades(strength**2, right), origin="lower", aspect="auto", extent=(0, 2, 0, 1))
    scale.grid(False)
    scale.yaxis.tick_right()
    shares = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
    scale.set_yticks(np.sqrt(shares), [f"{100 * share:g} %" for share in shares], fontsize=7)
    names = [word("right"), word("mistake")]
    scale.set_xticks([0.5, 1.5], names, fontsize=7, rotation=90)
    title = word("share of\nthe class")
    scale.set_title(title, fontsize=7, fontweight="normal", pad=4, color=MUTED)


def _write_counts(
    axes: Axes, matrix: npt.NDArray[np.int64], strength: npt.NDArray[np.float64]
) -> None:
    size = 7.0
    if matrix.max() < 10_000 and len(matrix) <= 10:
        size = 8.5
    for (row, column), count in np.ndenumerate(matrix):
        if not count:
            continue
        colour = INK
        if strength[row, column] > 0.7:
            colour = "white"
        style: Style = {"ha": "center", "va": "center", "fontsize": size, "color": colour}
        axes.text(column, row, str(count), **style)


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    step = 1
    if len(class_names) > NAMED:
        step = -(-len(class_names) // 40)
    places = range(0, len(class_names), step)
    if len(class_names) <= COUNTED:
        names = [wrapped(class_names[place], NAME, 2) for place in places]
        size = 8.5
        if any("\n" in name for name in names):
            size = 7.0
    else:
        names = [_short(class_names[place], 26) for place in places]
        size = 6.5
    turned: Style = {}
    if len(names) > COUNTED:
        turned = {"rotation": 90}
    elif max(map(len, names), default=0) > 2:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(places, names, fontsize=size, color=INK, **turned)
    axes.set_yticks(places, names, fontsize=size, color=INK)


def _grid(pixels: Pixels, captions: Sequence[str], columns: int) -> Figure:
    assert len(pixels) == len(captions), "one caption an image"
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    columns = max(1, min(columns, len(pixels)))
    rows = max(1, -(-len(pixels) // columns))
    step = 0.95 + LINE * lines + 0.1
    figure = Figure(figsize=(columns * CELL + 0.1, rows * step + 0.1))
    for index, (image, caption) in enumerate(zip(pixels, captions, strict=True)):
        row, column = divmod(index, columns)
        _image(figure, 0.1 + column * CELL, 0.1 + row * step, image, caption)
    return figure


def _image(figure: Figure, left: float, top: float, image: Pixels, caption: str) -> None:
    """One image (uint8 C,H,W), 0.95 inches wide, with its caption below; places in inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + 0.95) / height, 0.95 / width, 0.95 / height))
    axes.set_axis_off()
    shown = image.transpose(1, 2, 0)
    if len(image) == 1:
        shown = image[0]
    interpolation = "antialiased"
    if max(shown.shape[:2]) <= 96:
        interpolation = "nearest"
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    style: Style = {"ha": "center", "va": "top", "fontsize": 7.5, "linespacing": 1.25}
    axes.text(0.5, -0.04, caption, transform=axes.transAxes, **style)


def wrapped(name: str, width: int = WRAPPED, most: int = 3) -> str:
    """A name in lines of `width` letters; what `most` lines cannot hold is cut."""
    lines = textwrap.wrap(name, width)
    if len(lines) <= 1:
        return name
    rest = lines[most - 1 :]
    if len(rest) > 1:
        lines = [*lines[: most - 1], _short(" ".join(rest), width)]
    return "\n".join(lines)


def _short(name: str, most: int = 18) -> str:
    if len(name) <= most:
        return name
    return name[: most - 1] + "…"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percent_tick(value: float, _: int | None = None) -> str:
    if value > 1:
        return ""
    return f"{100 * value:.4g} %"
