"""The figures of a comparison: every member's validation curve, and accuracy against what it costs, each with its name beside it.

Names stand where they overlap nothing; a colour belongs to a row in all figures and in the table.
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
from eyesight.report.plots import BLUE, INK, MUTED, ORANGE, styled
from eyesight.results.scores import MEASURES, Measure

PALETTE = (
    BLUE,
    ORANGE,
    "#0d9488",
    "#a855f7",
    "#db2777",
    "#65a30d",
    "#0891b2",
    "#a16207",
)  # read on white and on near black
NAMED = 14  # up to this many rows have their name in a figure; the table has them all
SIZE = (4.9, 3.4)  # inches
LINE = 0.052  # the height of a name as a share of the axes


def colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each row by its name; the ninth begins again."""
    return {row.name: PALETTE[place % len(PALETTE)] for place, row in enumerate(rows)}


def figures(rows: Sequence[Row], palette: Mapping[str, str]) -> list[tuple[str, Figure]]:
    """The figures that there is something to show in, each with its description."""
    found: list[tuple[str, Figure]] = []
    measures = list(dict.fromkeys(row.measure for row in rows if row.runs))
    if len(measures) > 1:  # what has another unit has figures of its own
        return [
            figure
            for measure in measures
            for figure in figures(
                [row for row in rows if row.runs and row.measure == measure], palette
            )
        ]
    score = measures[0].title if measures else ""
    for cost, words in (
        ("seconds", "training seconds"),
        ("multiply_adds", "multiply-adds a picture"),
    ):
        if any(row.score and getattr(row, cost) for row in rows):
            found.append((f"test {score} against {words}", costs(rows, palette, cost, words)))
    for against, words in (("seconds", "training seconds"), ("epoch", "epochs")):
        if any(True for row in rows for _ in _curves(row, against)):
            found.append((f"validation {score} against {words}", curves(rows, palette, against)))
    return found


@styled
def costs(rows: Sequence[Row], palette: Mapping[str, str], cost: str, words: str) -> Figure:
    """The test score with its interval against a cost, on a logarithmic axis; the rows have one measure."""
    figure, axes = _panel(f"{rows[0].measure.title} against {words}", words, rows[0].measure)
    known = [row for row in rows if row.score and getattr(row, cost)]
    points = []
    for row in known:
        assert row.score is not None, "only rows with an accuracy are drawn"
        spent, share, (low, high) = getattr(row, cost), row.score.mean, row.score.interval
        bars = [[max(0.0, share - low)], [max(0.0, high - share)]]
        axes.errorbar(
            [spent],
            [share],
            bars,
            fmt="o",
            color=palette[row.name],
            markersize=6,
            elinewidth=1.4,
            capsize=2.5,
        )
        points.append(Point(spent, share, low, high, row.name))
    _logarithmic(axes, [point.x for point in points], room=2.0)
    _limit(
        axes,
        [point.y for point in points],
        [end for point in points for end in (point.low, point.high)],
    )
    _name_points(figure, axes, points, palette)
    return figure


@styled
def curves(rows: Sequence[Row], palette: Mapping[str, str], against: str) -> Figure:
    """The validation score of every run against "seconds" of training or "epoch"; several seeds are several thin lines."""
    measure = rows[0].measure
    figure, axes = _panel(
        f"validation {measure.title}",
        "training seconds" if against == "seconds" else "epoch",
        measure,
    )
    ends: dict[str, float] = {}
    drawn = []
    for place, row in enumerate(rows):
        lines = list(_curves(row, against))
        for x, y in lines:
            style: dict[str, Any] = (
                {"linewidth": 1.8} if len(lines) == 1 else {"linewidth": 1.1, "alpha": 0.75}
            )
            dashes = "-" if place < len(PALETTE) else "--"
            axes.plot(
                x,
                y,
                dashes,
                color=palette[row.name],
                marker="o" if len(x) == 1 else None,
                markersize=4,
                **style,
            )
        drawn += lines
        if lines:
            ends[row.name] = float(np.mean([y[-1] for _, y in lines]))
    lasts = [x[-1] for x, _ in drawn]
    if max(lasts) > 12 * min(lasts):
        _logarithmic(axes, np.concatenate([x for x, _ in drawn]).tolist(), room=1.0)
    elif against == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _limit(axes, list(ends.values()), np.concatenate([y for _, y in drawn]).tolist())
    _name_ends(axes, ends, palette)
    return figure


@styled
def together(named: Mapping[str, Sequence[Mapping[str, Any]]], measure: str) -> Figure:
    """The validation "loss" or "top1" of named lists of epochs against epochs, each with its name where it ends."""
    loss = measure == "loss"
    figure, axes = _panel(
        "Validation loss" if loss else "Validation accuracy", "epoch", MEASURES["class"]
    )
    if loss:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    palette = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(named)}
    ends: dict[str, float] = {}
    for place, (name, epochs) in enumerate(named.items()):
        known = [
            (epoch["epoch"], epoch[f"validation_{measure}"])
            for epoch in epochs
            if epoch.get(f"validation_{measure}") is not None
        ]
        if known:
            dashes = "-" if place < len(PALETTE) else "--"
            marker = "o" if len(known) == 1 else None
            axes.plot(
                *zip(*known, strict=True),
                dashes,
                color=palette[name],
                marker=marker,
                markersize=4,
                linewidth=1.8,
            )
            ends[name] = known[-1][1]
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _name_ends(axes, ends, palette)
    return figure


@styled
def networks(costs: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]) -> Figure:
    """Published accuracy (from 0 to 1) of named networks against what each costs, a panel for each kind of cost."""
    figure = Figure(figsize=(7.2, 5.0 * len(costs)), layout="constrained")
    panels = figure.subplots(len(costs), squeeze=False)[:, 0]
    drawn = []
    for axes, (words, cost) in zip(panels, costs.items(), strict=True):
        points = [
            Point(spent, shares[name], shares[name], shares[name], name)
            for name, spent in cost.items()
        ]
        axes.plot(
            [point.x for point in points],
            [point.y for point in points],
            "o",
            color=BLUE,
            markersize=6,
        )
        axes.set_title("Accuracy on ImageNet, as published", pad=8)
        axes.set_xlabel(words)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
        _logarithmic(axes, [point.x for point in points], room=1.5)
        _limit(axes, [point.y for point in points], [point.y for point in points])
        drawn.append((axes, points))
    for axes, points in drawn:
        _name_points(figure, axes, points, dict.fromkeys(shares, INK), len(points))
    return figure


def _panel(title: str, words: str, measure: Measure) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title[0].upper() + title[1:], pad=8)
    axes.set_xlabel(words)
    share = measure.unit == "%"
    axes.yaxis.set_major_formatter(
        FuncFormatter(
            lambda value, _: (
                "" if share and value > 1 else f"{measure.scale * value:.4g} {measure.unit}"
            )
        )
    )
    return figure, axes


def _curves(
    row: Row, against: str
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    for run in row.runs:
        epochs = run.epochs
        spent = np.cumsum([epoch.get("seconds") or 0 for epoch in epochs])
        x = (
            spent
            if against == "seconds"
            else np.array([epoch["epoch"] for epoch in epochs], dtype=np.float64)
        )
        scores = [epoch.get(f"validation_{row.measure.key}") for epoch in epochs]
        y = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
        known = np.isfinite(y) & (x > 0) if len(y) else np.zeros(0, dtype=bool)
        if known.any():
            yield x[known], y[known]


def _limit(axes: Axes, means: Sequence[float], values: Sequence[float]) -> None:
    """From a little below the least that matters: six times the error of the worst, where the rest would only press it flat."""
    if max(values) > 1:  # no shares
        margin = 0.08 * max(max(values) - min(values), 0.1)
        axes.set_ylim(min(values) - margin, max(values) + margin)
        return
    floor = 1 - 6 * (1 - min(means)) - 0.002
    low = max(floor, min(values))
    high = min(1.0, max(values))
    margin = 0.08 * max(high - low, 1e-3)
    axes.set_ylim(max(-0.01, low - margin), high + margin)


def _logarithmic(axes: Axes, values: Sequence[float], room: float) -> None:
    """A logarithmic axis with a factor of `room` beside the values, numbered at 1, 2 and 5 where that is few."""
    least = min(values)
    most = max(values)
    room = 1.05 if room == 1 else max(room, (most / least) ** 0.35)
    axes.set_xscale("log")
    axes.set_xlim(least / room**0.6, most * room)
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1.0,) if most / least > 30 else (1.0, 2.0, 5.0), numticks=8)
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_big))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _big(value: float, _: int | None) -> str:
    size, letter = next(
        (pair for pair in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= pair[0]), (1.0, "")
    )
    return f"{value / size:g}{letter}"


def _name_ends(axes: Axes, ends: Mapping[str, float], palette: Mapping[str, str]) -> None:
    """Names at the right of the axes, each as near as can be to the height at which its curves end."""
    bottom, top = axes.get_ylim()
    order = sorted(ends, key=lambda name: ends[name], reverse=True)[:NAMED]
    heights = spread([(ends[name] - bottom) / (top - bottom) for name in order], LINE)
    for name, height in zip(order, heights, strict=True):
        words = {"color": palette[name], "fontsize": 8.5, "fontweight": "bold", "va": "center"}
        axes.text(1.02, height, _short(name, 20), transform=axes.transAxes, **words)  # type: ignore[arg-type]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Falling heights moved as little as need be to lie at least `gap` apart within 0 and 1, as far as there is room."""
    gap = min(gap, 1 / max(len(heights), 1))
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - gap if placed else 1.0))
    floor = 0.0
    for index in reversed(range(len(placed))):
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    return placed


class Point(NamedTuple):
    """A named place in a figure and the ends of its interval."""

    x: float
    y: float
    low: float
    high: float
    name: str


def _name_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    palette: Mapping[str, str],
    most: int = NAMED,
) -> None:
    """A name beside each point, the best first, each where it lies on no other name, point or bar; a line leads to the far ones."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # lays the axes out, so that places are known in pixels
    figure.set_layout_engine("none")
    taken = [box for point in points for box in _boxes(axes, point)]
    for point in sorted(points, key=lambda point: -point.y)[:most]:
        style = {"color": palette[point.name], "fontsize": 8.5, "fontweight": "bold"}
        text = axes.annotate(
            _short(point.name),
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            **style,  # type: ignore[arg-type]
        )
        box = _settle(text, canvas, axes.get_window_extent(), taken)
        if box is None:
            text.remove()
        else:
            taken.append(box)


def _boxes(axes: Axes, point: Point) -> Iterator[Bbox]:
    """What a point and its bar cover, in pixels."""
    (x, y), (_, low), (_, high) = (
        axes.transData.transform((point.x, height)) for height in (point.y, point.low, point.high)
    )
    yield Bbox.from_extents(x - 5, y - 5, x + 5, y + 5)
    yield Bbox.from_extents(x - 2, low, x + 2, high)


SIDES = ((1, 0), (-1, 0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1))


def _settle(
    text: Annotation, canvas: FigureCanvasAgg, inside: Bbox, taken: Sequence[Bbox]
) -> Bbox | None:
    """Move `text` to the first free place about its point and return its box in pixels; None when there is none."""
    for distance, (sideways, up) in product((7, 14, 24, 36, 50, 66, 84), SIDES):
        text.set_position((distance * sideways, distance * up))
        text.set_horizontalalignment(
            "left" if sideways > 0 else "right" if sideways < 0 else "center"
        )
        text.set_verticalalignment(
            "center" if up == 0 or (distance > 7 and sideways) else "bottom" if up > 0 else "top"
        )
        box = text.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
        box = Bbox.from_extents(
            box.x0 - 2, box.y0, box.x1 + 2 + 0.06 * box.width, box.y1
        )  # a browser's font may be wider
        if (
            inside.x0 <= box.x0
            and box.x1 <= inside.x1
            and inside.y0 <= box.y0
            and box.y1 <= inside.y1
            and not box.count_overlaps(taken)
        ):
            if distance > 14:
                _lead(text)
            return box
    return None


def _lead(text: Annotation) -> None:
    """A thin line from the name to its point."""
    text.axes.annotate(  # type: ignore[union-attr]
        "",
        text.xy,
        text.get_position(),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7},
    )


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
