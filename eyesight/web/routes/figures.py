"""Figures of one run, and curves of several runs together, as PNG in the language of the pages.

matplotlib keeps its style in a global variable, so figures are drawn one at a time; it is imported
with the first figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from eyesight.results import metrics
from eyesight.results.predictions import readable
from eyesight.runs import Run
from eyesight.views import run_view
from eyesight.web import i18n
from eyesight.web.limits import Queue, Refused
from eyesight.web.routes.api import find_run, service_of

if TYPE_CHECKING:
    from eyesight.views.plots import Figure

router = APIRouter(include_in_schema=False)
TOGETHER = 12  # runs whose curves can still be told apart
DPI = 110
pen = Queue("figures")


@router.get("/runs/{name}/{figure}.png")
def figure(request: Request, name: str, figure: str) -> Response:
    """A figure: loss, accuracy, confusion or calibration."""
    run = find_run(service_of(request), name)
    if figure not in FIGURES:
        raise Refused(
            404, f"there is no figure {figure!r}", f"expected one of {', '.join(FIGURES)}"
        )
    with pen_for(request):
        return drawn(FIGURES[figure](run))


@router.get("/curves/{measure}.png")
def together(
    request: Request,
    measure: str,
    run: Annotated[list[str], Query(min_length=1, max_length=TOGETHER)],
) -> Response:
    """The validation curves of several runs: loss or accuracy."""
    if measure not in MEASURES:
        raise Refused(
            404, f"there are no curves of {measure!r}", f"expected one of {', '.join(MEASURES)}"
        )
    epochs = {name: find_run(service_of(request), name).epochs for name in run}
    with pen_for(request):
        from eyesight.comparison import plots as comparison_plots

        return drawn(
            comparison_plots.together(epochs, MEASURES[measure]) if any(epochs.values()) else None
        )


@contextmanager
def pen_for(request: Request) -> Iterator[None]:
    """Draw alone, with words in the language of the visitor's pages."""
    from eyesight.views.words import translated

    with pen.turn(), translated(i18n.chart_words(i18n.language_of(request))):
        yield


def drawn(figure: Figure | None) -> Response:
    """The figure as PNG; raises Refused without one."""
    from eyesight.views import plots

    if figure is None:
        raise Refused(
            404, "the run has no such figure yet", "try again when the training has finished"
        )
    return Response(plots.png(figure, DPI), media_type="image/png")


def _curves(score: str) -> Callable[[Run], Figure | None]:
    def draw(run: Run) -> Figure | None:
        from eyesight.views import plots

        measure = run.measure.key if score == "top1" else score
        return plots.curves(run.epochs, (measure,)) if run.epochs else None

    return draw


def _confusion(run: Run) -> Figure | None:
    from eyesight.views import plots

    predictions = run_view.labelled(run)
    if predictions is None:
        return None
    counts = metrics.confusion(predictions.probabilities, predictions.labels)
    return plots.confusion(counts, readable(predictions.classes))


def _calibration(run: Run) -> Figure | None:
    from eyesight.views import plots

    predictions = run_view.labelled(run)
    if predictions is None:
        return None
    return plots.reliability(metrics.reliability(predictions.probabilities, predictions.labels))


def _panel(name: str) -> Callable[[Run], Figure | None]:
    def draw(run: Run) -> Figure | None:
        from eyesight.views import dense_plots

        return next((panel.figure for panel in dense_plots.panels(run) if panel.name == name), None)

    return draw


MEASURES = {"loss": "loss", "accuracy": "top1"}
PANELS = {"picture": ("restored", "strangest", "bottleneck"), "mask": ("overlays", "worst", "ious")}
FIGURES: dict[str, Callable[[Run], Figure | None]] = {
    **{name: _curves(measure) for name, measure in MEASURES.items()},
    "confusion": _confusion,
    "calibration": _calibration,
    **{name: _panel(name) for names in PANELS.values() for name in names},
}
