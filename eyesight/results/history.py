"""The figures of a run in types: the metrics of its test images and the history of its epochs."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyesight.errors import UserError
from eyesight.results.records import number
from eyesight.results.scores import Measure

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH, HEIGHT = 360, 120  # of the curves, in CSS pixels
COLOURS = {"train": "#8aa4c8", "validation": "#d2622a"}


@dataclass(frozen=True)
class Metrics:
    """The figures of N images; None where they do not apply or nothing was labelled."""

    n: int  # labelled images
    measure: str  # the name of the score: accuracy, PSNR in dB, mean IoU
    score: float | None
    interval: tuple[float, float] | None  # of the score, 95 %
    loss: float | None
    accuracy: float | None = None
    top5: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None

    @classmethod
    def of(cls, summary: Mapping[str, object], measure: Measure) -> Metrics:
        """From the summary in a run's log."""
        interval = None
        ends = summary.get("interval")
        if isinstance(ends, list | tuple):
            interval = (float(ends[0]), float(ends[1]))
        return cls(
            n=int(number(summary, "n") or 0),
            measure=measure.title,
            score=number(summary, measure.key),
            interval=interval,
            loss=number(summary, "loss"),
            accuracy=number(summary, "top1"),
            top5=number(summary, "top5"),
            macro_f1=number(summary, "macro_f1"),
            calibration_error=number(summary, "ece"),
        )


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch; the score is accuracy for classes, PSNR for images, mean IoU for masks."""

    epoch: int
    lr: float
    train_loss: float | None  # None when it was not finite
    train_score: float | None
    validation_loss: float | None
    validation_score: float | None
    seconds: float
    best: bool


class History(tuple[EpochMetrics, ...]):
    """The epochs of a run, in order."""

    __slots__ = ()

    @classmethod
    def of(cls, events: Iterable[Mapping[str, object]], measure: Measure) -> History:
        """From the epoch events of a run's log."""
        return cls(_epoch(event, measure.key) for event in events)

    def to_frame(self) -> DataFrame:
        """A pandas table with a row for each epoch; raises UserError without pandas."""
        try:
            import pandas
        except ImportError:
            raise UserError("pandas is not installed", "python -m pip install pandas") from None
        return pandas.DataFrame([vars(epoch) for epoch in self])

    def _repr_html_(self) -> str:
        return curves_svg(self)


def _epoch(event: Mapping[str, object], key: str) -> EpochMetrics:
    return EpochMetrics(
        epoch=int(number(event, "epoch") or 0),
        lr=number(event, "lr") or 0.0,
        train_loss=number(event, "train_loss"),
        train_score=number(event, f"train_{key}"),
        validation_loss=number(event, "validation_loss"),
        validation_score=number(event, f"validation_{key}"),
        seconds=number(event, "seconds") or 0.0,
        best=bool(event.get("best")),
    )


def curves_svg(history: Sequence[EpochMetrics]) -> str:
    """The curves of loss and score, side by side, as SVG for a notebook."""
    if not history:
        return "<p>no epoch yet</p>"
    parts = []
    for name in ("loss", "score"):
        lines = {}
        for split in COLOURS:
            values = [getattr(epoch, f"{split}_{name}") for epoch in history]
            if any(value is not None for value in values):
                lines[split] = values
        parts.append(_panel(name, lines, len(history)))
    return f'<div style="display:flex;gap:24px">{"".join(parts)}</div>'


def _panel(title: str, lines: dict[str, list[float | None]], count: int) -> str:
    numbers = [value for values in lines.values() for value in values if value is not None]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    span = (high - low) or 1.0
    shapes = []
    legend = []
    for split, values in lines.items():
        points = []
        for place, value in enumerate(values):
            if value is not None:
                x = 4 + (WIDTH - 8) * place / max(1, count - 1)
                y = 4 + (HEIGHT - 8) * (high - value) / span
                points.append(f"{x:.1f},{y:.1f}")
        style = f'fill="none" stroke="{COLOURS[split]}" stroke-width="2"'
        shapes.append(f'<polyline points="{" ".join(points)}" {style}/>')
        last = next(value for value in reversed(values) if value is not None)
        legend.append(f'<span style="color:{COLOURS[split]}">{split} {last:.4f}</span>')
    caption = f"<div>{html.escape(title)}: {', '.join(legend)}</div>"
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
    svg = f'<svg width="{WIDTH}" height="{HEIGHT}">{frame}{"".join(shapes)}</svg>'
    return f"<div>{caption}{svg}</div>"
