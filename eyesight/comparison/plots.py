"""Figures of a comparison: validation curves, and accuracy against what it costs.

Names stand where they overlap nothing; a row has the same colour in all figures and in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from eyesight.comparison.statistics import Row
from eyesight.results.scores import MEASURES, Measure
from eyesight.views.plots import BLUE, INK, MUTED, ORANGE, Epoch, Style, mark_outside, styled
from eyesight.views.words import word

Values = npt.NDArray[np.float64]
# Read on white and on near black.
PALETTE = (BLUE, ORANGE, "#0d9488", "#a855f7", "#db2777", "#65a30d", "#0891b2", "#a16207")
NAMED = 14  # up to this many rows have their name in a figure; the table has them all
SIZE = (4.9, 3.4)  # inches
LINE = 0.052  # the height of a name as a share of the axes
BOLD: Style = {"fontsize": 8.5, "fontweight": "bold"}
COSTS = {"seconds": "total seconds", "multiply_adds": "multiply-adds per image"}
AGAINST = {"seconds": "training seconds", "epoch": "epoch"}
SIZES = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
FLATTENED = 6.0  # times the usual distance from 100 %: what lies below is marked at the lower edge


class Point(NamedTuple):
    """A named point of a figure and the ends of its interval."""

    x: float
    y: float
    low: float
    high: float
    name: str


class Curve(NamedTuple):
    """One run's validation scores."""

    x: Values
    y: Values


def colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each row by its name; the ninth begins again."""
    return {row.name: PALETTE[place % len(PALETTE)] for place, row in enumerate(rows)}


def figures(rows: Sequence[Row], palette: Mapping[str, str]) -> list[tuple[str, Figure]]:
    """The figures that have something to show, each with its description.

    Rows with different units have figures of their own.
    """
    drawn = []
    for measure in dict.fromkeys(row.measure for row in rows if row.runs):
        own = [row for row in rows if row.runs and row.measure == measure]
        for cost, words in COSTS.items():
            if any(row.score and getattr(row, cost) for row in own):
                title = f"test {measure.title} against {words}"
                drawn.append((title, costs(own, palette, cost, words)))
        for against, words in AGAINST.items():
            if any(_curves(row, against) for row in own):
                title = f"validation {measure.title} against {words}"
                drawn.append((title, curves(own, palette, against)))
    return drawn


@styled
def costs(rows: Sequence[Row], palette: Mapping[str, str], cost: str, words: str) -> Figure:
    """The test score with its interval against a cost, on a logarithmic axis; one measure only."""
    figure, axes = _panel(f"{rows[0].measure.title} against {words}", words, rows[0].measure)
    points = []
    for row in rows:
        spent = getattr(row, cost)
        if row.score is None or not spent:
            continue
        mean = row.score.mean
        low, high = row.score.interval
        bars = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        style: Style = {
            "color": palette[row.name],
            "markersize": 6,
            "elinewidth": 1.4,
            "capsize": 2.5,
        }
        axes.errorbar([spent], [mean], bars, fmt="o", **style)
        points.append(Point(spent, mean, low, high, row.name))
    _logarithmic(axes, [point.x for point in points], room=2.0)
    ends = [end for point in points for end in (point.low, point.high)]
    means = [point.y for point in points]
    low = _limit(axes, means, ends)
    for point in points:
        outside = np.array([point.y < low])
        mark_outside(axes, np.array([point.x]), outside, low, "v", palette[point.name])
    _name_points(figure, axes, [point for point in points if point.y >= low], palette)
    return figure


@styled
def curves(rows: Sequence[Row], palette: Mapping[str, str], against: str) -> Figure:
    """The validation score of every run against "seconds" of training or "epoch"."""
    measure = rows[0].measure
    figure, axes = _panel(f"validation {measure.title}", AGAINST[against], measure)
    ends: dict[str, float] = {}
    drawn: list[tuple[str, Curve]] = []
    for place, row in enumerate(rows):
        own = _curves(row, against)
        style: Style = {"linewidth": 1.8, "alpha": 1.0}
        if len(own) > 1:  # several seeds are several thin lines
            style = {"linewidth": 1.1, "alpha": 0.75}
        for curve in own:
            _draw_curve(axes, curve, place, palette[row.name], style)
        drawn += [(row.name, curve) for curve in own]
        if own:
            ends[row.name] = float(np.mean([curve.y[-1] for curve in own]))
    all_x = np.concatenate([curve.x for _, curve in drawn])
    all_y = np.concatenate([curve.y for _, curve in drawn])
    lasts = [curve.x[-1] for _, curve in drawn]
    if max(lasts) > 12 * min(lasts):
        _logarithmic(axes, all_x.tolist(), room=1.0)
    elif against == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low = _limit(axes, list(ends.values()), all_y.tolist())
    for name, curve in drawn:
        mark_outside(axes, curve.x, curve.y < low, low, "v", palette[name])
    _name_ends(axes, ends, palette)
    return figure


@styled
def together(named: Mapping[str, Sequence[Epoch]], measure: str) -> Figure:
    """The validation "loss" or "top1" of named lists of epochs, each named where it ends."""
    is_loss = measure == "loss"
    title = word("Validation accuracy")
    if is_loss:
        title = word("Validation loss")
    figure, axes = _panel(title, word("epoch"), MEASURES["class"])
    if is_loss:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    palette = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(named)}
    ends: dict[str, float] = {}
    drawn: dict[str, Curve] = {}
    for place, (name, epochs) in enumerate(named.items()):
        curve = _column(epochs, f"validation_{measure}")
        if len(curve.x):
            _draw_curve(axes, curve, place, palette[name], {"linewidth": 1.8})
            ends[name] = float(curve.y[-1])
            drawn[name] = curve
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if is_loss and drawn:
        _limit_losses(axes, drawn, palette)
    _name_ends(axes, ends, palette)
    return figure


def _limit_losses(axes: Axes, drawn: Mapping[str, Curve], palette: Mapping[str, str]) -> None:
    """Losses up to three times the usual start; a run that diverged is marked at the upper edge."""
    usual = 3 * float(np.median([curve.y[0] for curve in drawn.values()]))
    most = max(float(curve.y.max()) for curve in drawn.values())
    top = min(most, usual)
    axes.set_ylim(min(0.0, *(float(curve.y.min()) for curve in drawn.values())), 1.05 * top + 1e-9)
    for name, curve in drawn.items():
        mark_outside(axes, curve.x, curve.y > 1.05 * top, 1.05 * top, "^", palette[name])


def _draw_curve(axes: Axes, curve: Curve, place: int, colour: str, style: Style) -> None:
    dashes = "-"
    if place >= len(PALETTE):
        dashes = "--"
    marker = None
    if len(curve.x) == 1:
        marker = "o"
    axes.plot(curve.x, curve.y, dashes, color=colour, marker=marker, markersize=4, **style)


@styled
def networks(costs: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]) -> Figure:
    """Published accuracy (0 to 1) of named networks, a panel for each kind of cost."""
    figure = Figure(figsize=(7.2, 5.0 * len(costs)), layout="constrained")
    panels = figure.subplots(len(costs), squeeze=False)[:, 0]
    drawn = []
    for axes, (words, cost) in zip(panels, costs.items(), strict=True):
        points = []
        for name, spent in cost.items():
            share = shares[name]
            points.append(Point(spent, share, share, share, name))
        x = [point.x for point in points]
        y = [point.y for point in points]
        axes.plot(x, y, "o", color=BLUE, markersize=6)
        axes.set_title("Published accuracy on ImageNet", pad=8)
        axes.set_xlabel(words)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
        _logarithmic(axes, x, room=1.5)
        _limit(axes, y, y)
        drawn.append((axes, points))
    for axes, points in drawn:
        _name_points(figure, axes, points, dict.fromkeys(shares, INK), len(points))
    return figure


def _panel(title: str, words: str, measure: Measure) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title[0].upper() + title[1:], pad=8)
    axes.set_xlabel(words)
    is_share = measure.unit == "%"

    def tick(value: float, _: int | None) -> str:
        if is_share and value > 1:
            return ""
        return f"{measure.scale * value:.4g} {measure.unit}"

    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    return figure, axes


def _curves(row: Row, against: str) -> list[Curve]:
    """The validation curve of each of the row's runs that has one."""
    curves = []
    for run in row.runs:
        curve = _column(run.epochs, f"validation_{row.measure.key}", against)
        if len(curve.x):
            curves.append(curve)
    return curves


def _column(epochs: Sequence[Epoch], key: str, against: str = "epoch") -> Curve:
    """A measured value of the epochs by their number, or by the seconds that had passed."""
    x = []
    y = []
    spent = 0.0
    for epoch in epochs:
        spent += epoch.get("seconds") or 0
        place = spent
        if against == "epoch":
            place = float(epoch["epoch"])
        value = epoch.get(key)
        if value is not None and np.isfinite(value) and place > 0:
            x.append(place)
            y.append(float(value))
    return Curve(np.array(x), np.array(y))


def _limit(axes: Axes, means: Sequence[float], values: Sequence[float]) -> float:
    """Limit the y axis to what matters and return its lower end.

    Of shares, what lies six times as far from 100 % as the median of `means` would press the rest
    flat, and is left outside.
    """
    least = min(values)
    most = max(values)
    if most > 1:  # no shares
        margin = 0.08 * max(most - least, 0.1)
        axes.set_ylim(least - margin, most + margin)
        return least - margin
    floor = 1 - FLATTENED * (1 - float(np.median(means))) - 0.002
    low = max(floor, least)
    high = min(1.0, most)
    margin = 0.08 * max(high - low, 1e-3)
    bottom = max(-0.01, low - margin)
    axes.set_ylim(bottom, high + margin)
    return bottom


def _logarithmic(axes: Axes, values: Sequence[float], room: float) -> None:
    """A logarithmic axis with a factor of `room` beside the values."""
    least, most = min(values), max(values)
    wide = (most / least) ** 0.35
    room = 1.05 if room == 1 else max(room, wide)
    steps: tuple[float, ...] = (1.0, 2.0, 5.0)
    if most / least > 30:
        steps = (1.0,)
    axes.set_xscale("log")
    axes.set_xlim(least / room**0.6, most * room)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(_big))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _big(value: float, _: int | None) -> str:
    for size, letter in SIZES:
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _name_ends(axes: Axes, ends: Mapping[str, float], palette: Mapping[str, str]) -> None:
    """Names right of the axes, each as near as possible to the height at which its curves end."""
    bottom, top = axes.get_ylim()
    order = sorted(ends, key=lambda name: ends[name], reverse=True)[:NAMED]
    heights = [(ends[name] - bottom) / (top - bottom) for name in order]
    for name, height in zip(order, spread(heights, LINE), strict=True):
        style: Style = {"color": palette[name], "va": "center", **BOLD}
        axes.text(1.02, height, _short(name, 20), transform=axes.transAxes, **style)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move falling heights as little as possible so that they lie `gap` apart within 0 and 1."""
    gap = min(gap, 1 / max(len(heights), 1))
    placed: list[float] = []
    ceiling = 1.0
    for height in heights:
        placed.append(min(height, ceiling))
        ceiling = placed[-1] - gap
    floor = 0.0
    for index in reversed(range(len(placed))):
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    return placed


def _name_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    palette: Mapping[str, str],
    most: int = NAMED,
) -> None:
    """A name beside each point, the best first, where it lies on no other name, point or bar.

    A line leads to the far ones; a name without a free place is left out.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # now the axes are laid out: places are fixed in pixels
    taken = [box for point in points for box in _boxes(axes, point)]
    for point in sorted(points, key=lambda point: -point.y)[:most]:
        text = axes.annotate(
            _short(point.name),
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            color=palette[point.name],
            **BOLD,
        )
        box = _settle(text, canvas, axes.get_window_extent(), taken)
        if box is None:
            text.remove()
        else:
            taken.append(box)


def _boxes(axes: Axes, point: Point) -> Iterator[Bbox]:
    """What a point and its bar cover, in pixels."""
    heights = (point.y, point.low, point.high)
    places = [axes.transData.transform((point.x, height)) for height in heights]
    x, y = places[0]
    yield Bbox.from_extents(x - 5, y - 5, x + 5, y + 5)
    yield Bbox.from_extents(x - 2, places[1][1], x + 2, places[2][1])


SIDES = ((1, 0), (-1, 0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1))
DISTANCES = (7, 14, 24, 36, 50, 66, 84)  # points from the middle of a point to its name
NEAR = 14  # up to this distance a name needs no line to its point


def _settle(
    text: Annotation, canvas: FigureCanvasAgg, inside: Bbox, taken: Sequence[Bbox]
) -> Bbox | None:
    """Move `text` to the first free place about its point and return its box in pixels.

    None when there is no free place.
    """
    for distance, (sideways, up) in product(DISTANCES, SIDES):
        text.set_position((distance * sideways, distance * up))
        text.set_horizontalalignment(_aligned(sideways, ("right", "center", "left")))
        if distance > DISTANCES[0] and sideways:
            text.set_verticalalignment("center")
        else:
            text.set_verticalalignment(_aligned(up, ("top", "center", "bottom")))
        box = text.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
        right = box.x1 + 2 + 0.06 * box.width  # a browser's font may be wider
        box = Bbox.from_extents(box.x0 - 2, box.y0, right, box.y1)
        is_inside = (
            inside.x0 <= box.x0
            and box.x1 <= inside.x1
            and inside.y0 <= box.y0
            and box.y1 <= inside.y1
        )
        if is_inside and not box.count_overlaps(taken):
            if distance > NEAR:
                _lead(text)
            return box
    return None


def _aligned(direction: float, names: tuple[str, str, str]) -> Any:
    """The alignment of a name that lies in a direction: negative, none, or positive."""
    return names[1 + (direction > 0) - (direction < 0)]


def _lead(text: Annotation) -> None:
    """A thin line from the name to its point."""
    arrow: Style = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7}
    text.axes.annotate(  # type: ignore[union-attr]
        "", text.xy, text.get_position(), textcoords="offset points", arrowprops=arrow
    )


def _short(name: str, most: int = 26) -> str:
    if len(name) <= most:
        return name
    return name[: most - 1] + "…"
