"""The endpoints under /api/: images in, predictions out, and the runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

import eyesight
from eyesight.errors import UserError
from eyesight.inference import dense
from eyesight.inference.onnx_classifier import OnnxClassifier
from eyesight.results.conformal import USUAL
from eyesight.runs import Run, list_runs
from eyesight.web.batching import Answer
from eyesight.web.limits import Refused
from eyesight.web.run_table import row
from eyesight.web.schemas import (
    Classes,
    Doubt,
    Health,
    Made,
    Named,
    Problem,
    Recognised,
    RecognisedMany,
    RunDetail,
    Runs,
    Share,
)
from eyesight.web.service import MANY, Service

router = APIRouter(prefix="/api")
Top = Annotated[int, Query(ge=1, le=1000, description="how many classes to name")]
EVEN = 0.5  # below it, another class is as likely
MESSAGES = {
    400: "the upload was interrupted",
    408: "the upload took too long",
    413: "too many bytes or pixels",
    415: "not an image, judged by its content",
    422: "a damaged image or an invalid parameter",
    503: "too many requests; Retry-After gives the waiting time",
    504: "the prediction took too long",
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
PNG = {"content": {"image/png": BINARY}}
NO_HEATMAP = {"model": Problem, "description": "this network has no heatmap"}
GIVES_CLASSES = {
    "model": Problem,
    "description": ("this network predicts classes: use /api/predict"),
}


def service_of(request: Request) -> Service:
    """The application's service."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


class Direct(APIRoute):
    """A route whose function reads the request itself, without FastAPI's 30 µs of parsing.

    The signature of the function only documents the route.
    """

    def get_route_handler(  # type: ignore[override]
        self,
    ) -> Callable[[Request], Awaitable[Response]]:
        """A handler that calls the function with the request and its parameter `top`."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response = await endpoint(request, top_of(request))
            assert isinstance(response, Response)
            return response

        return handle


def top_of(request: Request) -> int:
    """The number of classes requested; raises Refused."""
    if not request.scope["query_string"]:
        return 5
    text = request.query_params.get("top", "5")
    top = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not 1 <= top <= 1000:
        raise Refused(422, f"top: {text[:20]!r} is not a number from 1 to 1000", "see /docs")
    return top


pictures = APIRouter(prefix="/api", route_class=Direct)


@pictures.post(
    "/predict",
    responses={200: {"model": Recognised}, **RESPONSES},
    openapi_extra=BODY,
    response_model=None,
)
async def predict(request: Request, top: Top = 5) -> Response:
    """Classify an image: its file as the body, or as the only file of a form. It is not stored."""
    service = service_of(request)
    return answered(recognised(service, await service.recognise(request), top))


@pictures.post(
    "/predict/many",
    responses={200: {"model": RecognisedMany}, **RESPONSES},
    openapi_extra=BODIES,
    response_model=None,
)
async def predict_many(request: Request, top: Top = 5) -> Response:
    """Classify the images of a form, in order; unreadable ones get an error instead."""
    service = service_of(request)
    rows = await service.recognise_many(request)
    answers: list[Recognised | Problem] = []
    for output in rows:
        if isinstance(output, Refused):
            answers.append(Problem(**output.to_dict()))
        else:
            answers.append(recognised(service, output, top))
    return answered(RecognisedMany(answers=answers))


def recognised(service: Service, answer: Answer, top: int) -> Recognised:
    """The prediction for one image."""
    names = service.names
    row = answer.probabilities
    best = np.argsort(-row[: len(names)], kind="stable")
    named = [Named(name=names[place], probability=float(row[place])) for place in best[:top]]
    among = None
    if answer.set is not None:
        among = [names[place] for place in best if answer.set[place]]
    other = float(row[-1]) if service.only else None
    reason = doubt(service, answer, named[0].probability, among)
    return Recognised(
        top=named,
        set=among,
        level=None if among is None else USUAL,
        unlike=answer.unlike,
        sure=None if among is None and service.threshold is None else reason is None,
        threshold=service.threshold,
        other=other,
        doubt=reason,
    )


def doubt(service: Service, answer: Answer, best: float, among: list[str] | None) -> Doubt | None:
    """The reason not to rely on a prediction of probability `best`, or None."""
    if answer.unlike:
        return "unlike"
    if service.only and float(answer.probabilities[-1]) > EVEN:
        return "unlike"
    if among is not None:
        return "unsure" if len(among) > 1 else None
    limit = EVEN if service.threshold is None else service.threshold
    return "even" if best < limit else None


def answered(answer: Recognised | RecognisedMany) -> Response:
    """A prediction as JSON, without FastAPI's second validation."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


@router.post(
    "/explain",
    responses={**RESPONSES, 200: PNG, 404: NO_HEATMAP},
    openapi_extra=BODY,
    response_class=Response,
)
async def explain(request: Request) -> Response:
    """Return a Grad-CAM heatmap: the image as PNG, bright where it supports the best class.

    The image is not stored.
    """
    return Response(await service_of(request).explain(request), media_type="image/png")


@router.post(
    "/render",
    responses={**RESPONSES, 200: {"model": Made}, 404: GIVES_CLASSES},
    openapi_extra=BODY,
    response_model=None,
)
async def render(request: Request) -> Response:
    """Segment an image, or reconstruct it and return its anomaly score.

    The image is not stored.
    """
    answer = await rendered(service_of(request), request)
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


async def rendered(service: Service, request: Request) -> Made:
    """The answer of a segmentation network or an autoencoder; raises Refused."""
    figures, drawing = await service.render(request)
    recogniser = service.recogniser
    encoded = b64encode(drawing).decode()
    if service.target == "picture":
        return Made(
            target="picture",
            picture=encoded,
            anomaly=figures.score,
            usual=recogniser.facts.get("unfamiliar_from"),
            unfamiliar=figures.unfamiliar,
        )
    assert isinstance(recogniser, OnnxClassifier)
    colours = dict(zip(recogniser.classes, dense.colours_of(recogniser), strict=True))
    shares = []
    for share, name in sorted(((share, name) for name, share in figures.shares), reverse=True):
        if share > 0:
            colour = "#{:02x}{:02x}{:02x}".format(*colours[name])
            shares.append(Share(name=name, share=share, colour=colour))
    return Made(target="mask", picture=encoded, shares=shares)


@router.get("/classes")
async def classes(request: Request) -> Classes:
    """The class names."""
    return Classes(classes=list(service_of(request).names))


@router.get("/health")
async def health(request: Request) -> Health:
    """The state of the service and what it serves."""
    service = service_of(request)
    recogniser = service.recogniser
    return Health(
        status="ok",
        version=eyesight.__version__,
        name=str(recogniser.facts.get("name") or ""),
        run=service.run,
        classes=len(service.names),
        shape=list(recogniser.preparation.shape),
        accuracy=recogniser.facts.get("accuracy"),
        in_flight=service.gate.inside,
    )


@router.get("/runs")
def runs(request: Request) -> Runs:
    """All runs of the served folder, oldest first."""
    folder = service_of(request).runs
    return Runs(runs=[row(run) for run in (list_runs(folder) if folder else [])])


@router.get(
    "/runs/{name}",
    responses={404: {"model": Problem, "description": "there is no such run"}},
)
def one_run(request: Request, name: str) -> RunDetail:
    """One run: recipe, environment, data, all epochs, result."""
    run = find_run(service_of(request), name)
    try:
        recipe = run.read_json("recipe.json")
        return RunDetail(
            run=row(run),
            recipe=recipe,
            environment=dict(run.environment),
            data=dict(run.data),
            epochs=[dict(epoch) for epoch in run.epochs],
            result=dict(run.result),
        )
    except (UserError, OSError) as error:
        raise gone(name, str(error)) from None


def find_run(service: Service, name: str) -> Run:
    """The run of this name; names are compared, never joined to a path. Raises Refused."""
    for run in list_runs(service.runs) if service.runs else []:
        if run.name == name:
            return run
    raise gone(name)


def gone(name: str, reason: str = "") -> Refused:
    """The error for a run that does not exist."""
    message = f"there is no run {name!r}"
    if reason:
        message = f"{message}: {reason}"
    return Refused(404, message, "it may have been removed; see /api/runs")
