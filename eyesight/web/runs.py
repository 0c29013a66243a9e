"""The pages about runs: a table of all, and one page each with its figures, mistakes and downloads.

matplotlib keeps its style in a global, so figures are drawn one at a time; it is imported when the first is asked for.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from starlette.responses import Response

from eyesight import metrics, portable
from eyesight.data.prepare import encode_png
from eyesight.errors import UserError
from eyesight.predictions import Predictions, readable
from eyesight.recipe import Recipe, differences
from eyesight.runs import Run, list_runs
from eyesight.web.api import find_run, gone, row, service_of
from eyesight.web.limits import Refused
from eyesight.web.pages import templates

router = APIRouter(include_in_schema=False)
drawing = Lock()
MISTAKES = 24  # shown on a run's page
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


@router.get("/runs", response_class=HTMLResponse)
def table(request: Request) -> Response:
    """All runs, the newest first."""
    folder = service_of(request).runs
    rows = [row(run) for run in reversed(list_runs(folder) if folder else [])]
    return templates.TemplateResponse(request, "runs.html", {"rows": rows, "folder": folder})


@router.get("/runs/{name}", response_class=HTMLResponse)
def page(request: Request, name: str) -> Response:
    """One run."""
    run = find_run(service_of(request), name)
    try:
        return templates.TemplateResponse(request, "run.html", facts(run))
    except (UserError, OSError) as error:
        raise gone(name, str(error)) from None


def facts(run: Run) -> dict[str, Any]:
    """What the page says, computed from the run folder."""
    known = judged(run)
    return {
        "run": row(run),
        "epochs": len(run.epochs),
        "changes": differences(run.recipe, Recipe()),
        "rows": metrics.per_class(known.probabilities, known.labels, readable(known.classes)) if known else [],
        "pairs": metrics.confused_pairs(known.probabilities, known.labels, readable(known.classes)) if known else [],
        "mistakes": mistakes(run),
        "exported": portable.file_of(run).is_file(),
        "kept": (run.path / "predictions.npz").is_file(),
    }


def judged(run: Run) -> Predictions | None:
    """The labelled test predictions, None without any."""
    known = run.predictions().labelled() if (run.path / "predictions.npz").is_file() else None
    return known if known is not None and len(known) else None


def mistakes(run: Run) -> list[dict[str, Any]]:
    """The most costly ones: place in the gallery, id, true and given class, probability."""
    places = run.gallery().get("mistakes_index", np.zeros(0, dtype=np.int64))
    if not len(places):
        return []
    said, names = run.predictions(), readable(run.predictions().classes)
    return [
        {
            "place": place,
            "id": said.ids[index],
            "true": names[said.labels[index]],
            "said": names[said.predicted[index]],
            "probability": float(said.confidence[index]),
        }
        for place, index in enumerate(places[:MISTAKES])
    ]


@router.get("/runs/{name}/mistakes/{place}.png")
def mistake(request: Request, name: str, place: int) -> Response:
    """The picture of one mistake as the network saw it."""
    pixels = find_run(service_of(request), name).gallery().get("mistakes_pixels", ())
    if not 0 <= place < len(pixels):
        raise Refused(404, "there is no such picture")
    return png(encode_png(pixels[place]))


@router.get("/runs/{name}/{figure}.png")
def figure(request: Request, name: str, figure: str) -> Response:
    """A figure: loss, accuracy, confusion or calibration."""
    run = find_run(service_of(request), name)
    if figure not in FIGURES:
        raise Refused(404, f"there is no figure {figure!r}", f"known: {', '.join(FIGURES)}")
    from eyesight import plots

    with drawing:
        drawn = FIGURES[figure](run)
        if drawn is None:
            raise Refused(404, "the run is not that far yet")
        return png(plots.png(drawn, 110))


def _curves(what: str) -> Callable[[Run], Any]:
    def draw(run: Run) -> Any:
        from eyesight import plots

        return plots.curves(run.epochs, (what,)) if run.epochs else None

    return draw


def _confusion(run: Run) -> Any:
    from eyesight import plots

    known = judged(run)
    return plots.confusion(metrics.confusion(known.probabilities, known.labels), readable(known.classes)) if known else None


def _calibration(run: Run) -> Any:
    from eyesight import plots

    known = judged(run)
    return plots.calibration(metrics.calibration(known.probabilities, known.labels)) if known else None


FIGURES: dict[str, Callable[[Run], Any]] = {
    "loss": _curves("loss"),
    "accuracy": _curves("top1"),
    "confusion": _confusion,
    "calibration": _calibration,
}


def png(data: bytes) -> Response:
    """A picture."""
    return Response(data, media_type="image/png")


@router.get("/runs/{name}/report")
def report(request: Request, name: str) -> Response:
    """The report as it would be written now; it brings its own styles, and may do nothing else."""
    from eyesight import report

    with drawing:
        text = report.page(find_run(service_of(request), name))
    return HTMLResponse(text.encode(errors="replace"), headers={"Content-Security-Policy": REPORT_POLICY})


@router.get("/runs/{name}/model.onnx")
def exported(request: Request, name: str) -> Response:
    """The exported classifier, where there is one."""
    file = portable.file_of(find_run(service_of(request), name))
    if not file.is_file():
        raise Refused(404, "this run was not exported yet", "eyesight export RUN")
    return FileResponse(file, media_type="application/octet-stream", filename=f"{name}.onnx")


@router.get("/runs/{name}/predictions.csv")
def predictions(request: Request, name: str) -> Response:
    """What the classifier said about each test picture: id, true class, given class, probability."""
    said = find_run(service_of(request), name).predictions()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("id", "true", "predicted", "probability"))
    for name_, label, best, sure in zip(said.ids, said.labels, said.predicted, said.confidence, strict=True):
        writer.writerow((name_, said.classes[label] if label >= 0 else "", said.classes[best], f"{sure:.6f}"))
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
