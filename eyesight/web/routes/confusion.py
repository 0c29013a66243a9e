"""The confusion matrix as a table whose cells lead to their pictures.

The pictures come from the prepared data of the training where this machine still has it, else only those that the run kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from eyesight.data.prepare import Pixels, encode_png
from eyesight.data.store import Store, kept_at, open_store
from eyesight.results import metrics
from eyesight.results.predictions import Predictions, readable
from eyesight.runs import Run
from eyesight.web.limits import Refused
from eyesight.web.routes.api import find_run, service_of
from eyesight.web.routes.figures import judged
from eyesight.web.templating import templates

router = APIRouter(include_in_schema=False)
MOST_CLASSES = 30  # more cells than a page can show
SHADES = 8  # as many as the style sheet has
SHOWN = 60  # pictures of one cell


@dataclass(frozen=True, eq=False)
class Pictures:
    """The test pictures that can be shown, by their place among the predictions."""

    pixels: Pixels  # N,C,H,W
    rows: dict[int, int]  # place → row of `pixels`
    whole: bool  # whether these are all


def table(known: Predictions) -> list[dict[str, Any]]:
    """Rows of the matrix: name, n, and a count and a shade (0 to 8) for each class; nothing for too many classes."""
    if len(known.classes) > MOST_CLASSES:
        return []
    counts, names = metrics.confusion(known.probabilities, known.labels), readable(known.classes)
    return [
        {
            "name": names[place],
            "n": int(row.sum()),
            "cells": [(int(count), _shade(int(count), int(row.sum()))) for count in row],
        }
        for place, row in enumerate(counts)
    ]


def _shade(count: int, of: int) -> int:
    """A share so that single mistakes among thousands are still seen."""
    return math.ceil(SHADES * (count / of) ** 0.4) if count else 0


@router.get("/runs/{name}/pictures", response_class=HTMLResponse)
def cell(request: Request, name: str, true: int, said: int) -> Response:
    """The pictures of one class that were taken for another, the surest first."""
    run = find_run(service_of(request), name)
    known = judged(run)
    if known is None or not (0 <= true < len(known.classes) and 0 <= said < len(known.classes)):
        raise Refused(404, "the run says nothing about such pictures", "see its confusion matrix")
    at_hand, predictions = pictures(run), run.predictions()
    places = in_cell(predictions, true, said)
    shown = [
        {
            "place": int(place),
            "id": predictions.ids[place],
            "probability": float(predictions.confidence[place]),
        }
        for place in places
        if at_hand.whole or int(place) in at_hand.rows
    ][:SHOWN]
    names = readable(known.classes)
    facts = {
        "run": name,
        "truth": names[true],
        "said": names[said],
        "right": true == said,
        "n": len(places),
    }
    return templates.TemplateResponse(
        request, "cell.html", {**facts, "pictures": shown, "whole": at_hand.whole}
    )


def in_cell(said: Predictions, true: int, predicted: int) -> npt.NDArray[np.int64]:
    """Places of the pictures of class `true` that were called `predicted`, the surest first."""
    places = np.flatnonzero((said.labels == true) & (said.predicted == predicted))
    return places[np.argsort(-said.confidence[places], kind="stable")]


@router.get("/runs/{name}/pictures/{place}.png")
def picture(request: Request, name: str, place: int) -> Response:
    """One test picture as the network saw it."""
    at_hand = pictures(find_run(service_of(request), name))
    if place not in at_hand.rows:
        raise Refused(
            404,
            "there is no such picture, or it is not at hand any more",
            "its data set may have moved, or been changed",
        )
    return Response(encode_png(at_hand.pixels[at_hand.rows[place]]), media_type="image/png")


def pictures(run: Run) -> Pictures:
    """Those that can be shown: every one where the prepared data is at hand, else the costly mistakes that the run kept."""
    file = run.path / "predictions.npz"
    if not file.is_file():
        return Pictures(np.zeros((0, 1, 1, 1), np.uint8), {}, False)
    return _pictures(run, file.stat().st_mtime_ns, kept_at(run.data.get("store")))


@lru_cache(maxsize=2)  # a page of pictures asks for this sixty times
def _pictures(run: Run, changed: int, folder: Path | None) -> Pictures:
    store = open_store(folder) if folder else None
    if store is not None:
        return _stored(run.predictions(), store)
    kept = run.gallery()
    rows = {int(place): row for row, place in enumerate(kept.get("mistakes_index", ()))}
    return Pictures(kept.get("mistakes_pixels", np.zeros((0, 1, 1, 1), np.uint8)), rows, False)


def _stored(said: Predictions, store: Store) -> Pictures:
    place_of = {name: row for row, name in enumerate(store.ids)}
    rows = {place: place_of[name] for place, name in enumerate(said.ids) if name in place_of}
    return Pictures(store.pixels, rows, len(rows) == len(said))
