"""The confusion matrix as a table whose cells link to their images.

Images are read from the prepared data if it is still on this machine; otherwise only those stored
in the run are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from eyesight.data.prepare import Pixels, encode_png
from eyesight.data.store import Store, open_store, store_folder
from eyesight.results import metrics
from eyesight.results.predictions import Predictions, readable
from eyesight.runs import Run
from eyesight.system.array_file import ArrayFile
from eyesight.views import run_view
from eyesight.web.limits import Refused
from eyesight.web.routes.api import find_run, service_of
from eyesight.web.templating import templates

router = APIRouter(include_in_schema=False)
MOST_CLASSES = 30  # more cells than a page can show
SHADES = 8  # as many as the style sheet has
SHOWN = 60  # pictures of one cell


@dataclass(frozen=True, eq=False)
class Pictures:
    """The test pictures that can be shown, by their place among the predictions."""

    pixels: Pixels | ArrayFile  # N,C,H,W
    rows: dict[int, int]  # place → row of `pixels`
    whole: bool  # whether these are all


@dataclass(frozen=True)
class MatrixRow:
    """The images of one true class: a count and a shade (0 to 8) for each predicted class."""

    name: str
    n: int
    cells: list[tuple[int, int]]


def table(predictions: Predictions) -> list[MatrixRow]:
    """The rows of the confusion matrix.

    Empty for more classes than a page can show.
    """
    if len(predictions.classes) > MOST_CLASSES:
        return []
    counts = metrics.confusion(predictions.probabilities, predictions.labels)
    rows = []
    for name, row in zip(readable(predictions.classes), counts, strict=True):
        total = int(row.sum())
        cells = [(int(count), _shade(int(count), total)) for count in row]
        rows.append(MatrixRow(name, total, cells))
    return rows


def _shade(count: int, total: int) -> int:
    """A shade from 0 to 8 in which single mistakes among thousands are still seen."""
    return math.ceil(SHADES * (count / total) ** 0.4) if count else 0


@router.get("/runs/{name}/pictures", response_class=HTMLResponse)
def cell(
    request: Request, name: str, true: int, predicted: Annotated[int, Query(alias="said")]
) -> Response:
    """The images of one class that were predicted as another, most confident first."""
    run = find_run(service_of(request), name)
    labelled = run_view.labelled(run)
    classes = range(len(labelled.classes)) if labelled else range(0)
    if true not in classes or predicted not in classes:
        raise Refused(404, "the confusion matrix has no such cell", "see its confusion matrix")
    at_hand = pictures(run)
    predictions = run.predictions()
    places = in_cell(predictions, true, predicted)
    shown: list[dict[str, Any]] = []
    for place in places.tolist():
        if len(shown) < SHOWN and (at_hand.whole or place in at_hand.rows):
            probability = float(predictions.confidence[place])
            shown.append({"place": place, "id": predictions.ids[place], "probability": probability})
    names = readable(predictions.classes)
    context = {
        "run": name,
        "truth": names[true],
        "said": names[predicted],
        "right": true == predicted,
        "n": len(places),
    }
    return templates.TemplateResponse(
        request, "cell.html", {**context, "pictures": shown, "whole": at_hand.whole}
    )


def in_cell(predictions: Predictions, true: int, predicted: int) -> npt.NDArray[np.int64]:
    """Indices of images of class `true` predicted as `predicted`, most confident first."""
    places = np.flatnonzero((predictions.labels == true) & (predictions.predicted == predicted))
    return places[np.argsort(-predictions.confidence[places], kind="stable")]


@router.get("/runs/{name}/pictures/{place}.png")
def picture(request: Request, name: str, place: int) -> Response:
    """A test image as prepared for the network."""
    at_hand = pictures(find_run(service_of(request), name))
    if place not in at_hand.rows:
        raise Refused(
            404,
            "there is no such image, or it is no longer available",
            "the data set may have been moved or changed",
        )
    return Response(encode_png(at_hand.pixels[at_hand.rows[place]]), media_type="image/png")


def pictures(run: Run) -> Pictures:
    """The available test images: all prepared ones, else those stored in the run."""
    file = run.path / "predictions.npz"
    if not file.is_file():
        return Pictures(np.zeros((0, 1, 1, 1), np.uint8), {}, False)
    return _pictures(run, file.stat().st_mtime_ns, store_folder(run.data.get("store")))


@lru_cache(maxsize=2)  # a page of pictures asks for this sixty times
def _pictures(run: Run, changed: int, folder: Path | None) -> Pictures:
    store = open_store(folder) if folder else None
    if store is not None:
        return _stored(run.predictions(), store)
    kept = run.gallery()
    rows = {int(place): row for row, place in enumerate(kept.get("mistakes_index", ()))}
    return Pictures(kept.get("mistakes_pixels", np.zeros((0, 1, 1, 1), np.uint8)), rows, False)


def _stored(predictions: Predictions, store: Store) -> Pictures:
    place_of = {name: row for row, name in enumerate(store.ids)}
    rows = {place: place_of[name] for place, name in enumerate(predictions.ids) if name in place_of}
    return Pictures(store.pixels, rows, len(rows) == len(predictions))
