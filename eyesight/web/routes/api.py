"""The paths under /api/: pictures in, names out, and what the runs say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

import eyesight
from eyesight.errors import UserError
from eyesight.runs import Run, list_runs
from eyesight.web.batching import Row
from eyesight.web.limits import Refused
from eyesight.web.schemas import (
    Classes,
    Health,
    Named,
    Problem,
    Recognised,
    RecognisedMany,
    RunDetail,
    RunRow,
    Runs,
)
from eyesight.web.service import MANY, Service

router = APIRouter(prefix="/api")
Top = Annotated[int, Query(ge=1, le=1000, description="how many classes to name")]
EVEN = 0.5  # below it, something else is as likely
MESSAGES = {
    400: "the upload was cut off",
    408: "the upload took too long",
    413: "too many bytes or pixels",
    415: "not a picture, judged by its content",
    422: "a damaged picture or a wrong parameter",
    503: "too many pictures at once; Retry-After says when to come again",
    504: "the picture took too long",
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {
    "schema": {
        "type": "object",
        "required": ["picture"],
        "properties": {"picture": {"type": "string", "format": "binary"}},
    }
}
BODY = {
    "requestBody": {"required": True, "content": {"image/*": BINARY, "multipart/form-data": FORM}}
}
PICTURES = {
    "type": "array",
    "minItems": 1,
    "maxItems": MANY,
    "items": {"type": "string", "format": "binary"},
}
FORMS = {"schema": {"type": "object", "required": ["picture"], "properties": {"picture": PICTURES}}}
BODIES = {"requestBody": {"required": True, "content": {"multipart/form-data": FORMS}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in MESSAGES.items()
}


def service_of(request: Request) -> Service:
    """What the application's factory left for its requests."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


class Direct(APIRoute):
    """A path whose function reads the request itself: the signature is documentation, and FastAPI's 30 µs of looking into it are saved."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The function, called with the request and what `top` says."""
        answer = self.endpoint

        async def handle(request: Request) -> Response:
            made = await answer(request, asked_top(request))
            assert isinstance(made, Response)
            return made

        return handle


def asked_top(request: Request) -> int:
    """How many classes a request wants named; raises Refused."""
    if not request.scope["query_string"]:
        return 5
    text = request.query_params.get("top", "5")
    top = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not 1 <= top <= 1000:
        raise Refused(422, f"top: {text[:20]!r} is no number from 1 to 1000", "see /docs")
    return top


pictures = APIRouter(prefix="/api", route_class=Direct)


@pictures.post(
    "/predict",
    responses={200: {"model": Recognised}, **RESPONSES},
    openapi_extra=BODY,
    response_model=None,
)
async def predict(request: Request, top: Top = 5) -> Response:
    """What is on a picture: its file as the body, or as the one file of a form. Nothing of it is kept."""
    service = service_of(request)
    return answered(recognised(service, await service.recognise(request), top))


@pictures.post(
    "/predict/many",
    responses={200: {"model": RecognisedMany}, **RESPONSES},
    openapi_extra=BODIES,
    response_model=None,
)
async def predict_many(request: Request, top: Top = 5) -> Response:
    """What is on each of the pictures in a form, in their order; one that cannot be read gets its error in its place."""
    service = service_of(request)
    rows = await service.recognise_many(request)
    found = [
        Problem(**row.to_dict()) if isinstance(row, Refused) else recognised(service, row, top)
        for row in rows
    ]
    return answered(RecognisedMany(answers=found))


def recognised(service: Service, row: Row, top: int) -> Recognised:
    """The answer about one picture, from its probabilities K."""
    names, threshold = service.names, service.threshold
    best = np.argsort(-row[: len(names)], kind="stable")[:top].tolist()
    named = [
        Named(name=names[place], probability=value)
        for place, value in zip(best, row[best].tolist(), strict=True)
    ]
    other = float(row[-1]) if service.only else None
    sure = None if threshold is None else named[0].probability >= threshold
    return Recognised(
        top=named,
        sure=sure,
        threshold=threshold,
        other=other,
        doubt=doubt(named[0].probability, other, threshold),
    )


def doubt(
    best: float, other: float | None, threshold: float | None
) -> Literal["other", "threshold", "even"] | None:
    """Why not to rely on an answer of probability `best`."""
    if other is not None and other > EVEN:
        return "other"
    if threshold is not None:
        return "threshold" if best < threshold else None
    return "even" if best < EVEN else None


def answered(found: Recognised | RecognisedMany) -> Response:
    """An answer as JSON, ready: FastAPI would check it once more."""
    return Response(found.model_dump_json(by_alias=True), media_type="application/json")


@router.get("/classes")
async def classes(request: Request) -> Classes:
    """The names that can be the answer."""
    return Classes(classes=list(service_of(request).names))


@router.get("/health")
async def health(request: Request) -> Health:
    """Whether the service is up, and what it serves."""
    service = service_of(request)
    known = service.recogniser
    return Health(
        status="ok",
        version=eyesight.__version__,
        name=str(known.facts.get("name") or ""),
        classes=len(service.names),
        shape=list(known.preparation.shape),
        accuracy=known.facts.get("accuracy"),
        in_flight=service.gate.inside,
    )


@router.get("/runs")
def runs(request: Request) -> Runs:
    """All runs of the folder being served, for a table."""
    folder = service_of(request).runs
    return Runs(runs=[row(run) for run in (list_runs(folder) if folder else [])])


@router.get(
    "/runs/{name}",
    responses={404: {"model": Problem, "description": "there is no such run, or no longer"}},
)
def one_run(request: Request, name: str) -> RunDetail:
    """One run: recipe, machine, data, every epoch, result."""
    run = find_run(service_of(request), name)
    try:
        recipe = run.read_json("recipe.json")
        return RunDetail(
            run=row(run),
            recipe=recipe,
            environment=run.environment,
            data=run.data,
            epochs=run.epochs,
            result=run.result,
        )
    except (UserError, OSError) as error:
        raise gone(name, str(error)) from None


def find_run(service: Service, name: str) -> Run:
    """The run of this very name; names are compared, never made into paths. Raises Refused when there is none."""
    for run in list_runs(service.runs) if service.runs else []:
        if run.name == name:
            return run
    raise gone(name)


def gone(name: str, why: str = "") -> Refused:
    """The answer about a run that is not there, or not any more."""
    return Refused(
        404,
        f"there is no run {name!r}" + (f": {why}" if why else ""),
        "it may have been removed; see /api/runs",
    )


def row(run: Run) -> RunRow:
    """What a table says of a run; a damaged one says so in its row."""
    try:
        epochs, result, test = run.epochs, run.result, run.result.get("test") or {}
        log, measure = run.log, run.measure
        return RunRow(
            name=run.name,
            recipe=run.recipe.name,
            status=run.status,
            top1=test.get("top1"),
            score=None
            if measure.key == "top1" or test.get(measure.key) is None
            else f"{measure.title} {measure.text(test[measure.key])}",
            interval=test.get("interval"),
            seconds=(result.get("seconds") or {}).get("total"),
            parameters=result.get("parameters"),
            epochs=len(epochs),
            progress=1.0 if result else float(epochs[-1].get("progress") or 0.0) if epochs else 0.0,
            time=log[0].get("time") if log else None,
        )
    except (UserError, OSError, KeyError, TypeError, ValueError) as error:
        return RunRow(name=run.name, recipe="", status="damaged", problem=str(error))
