"""The path for networks that give more than a class: a mask over the picture, or what was restored and how far that is from it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from eyesight.inference import dense
from eyesight.inference.onnx_classifier import Portable
from eyesight.web.routes.api import BODY, RESPONSES, service_of
from eyesight.web.schemas import Made, Problem, Share
from eyesight.web.service import Service

router = APIRouter(prefix="/api")
OTHER: dict[str, Any] = {
    "model": Problem,
    "description": "this network gives a class: /api/predict",
}


@router.post(
    "/render",
    responses={**RESPONSES, 200: {"model": Made}, 404: OTHER},
    openapi_extra=BODY,
    response_model=None,
)
async def made(request: Request) -> Response:
    """A class for every pixel of a picture, or the picture restored with its anomaly score. Nothing of it is kept."""
    service = service_of(request)
    return Response(
        (await answer(service, request)).model_dump_json(by_alias=True),
        media_type="application/json",
    )


async def answer(service: Service, request: Request) -> Made:
    """What the network makes of the picture in a request; raises Refused."""
    said, drawn = await service.render(request)
    known, picture = service.recogniser, b64encode(drawn).decode()
    if service.target == "picture":
        usual = known.facts.get("unfamiliar_from")
        return Made(
            target="picture",
            picture=picture,
            anomaly=said.score,
            usual=usual,
            unfamiliar=said.unfamiliar,
        )
    assert isinstance(known, Portable)
    colours = dict(zip(known.classes, dense.colours_of(known), strict=True))
    seen = sorted(((share, name) for name, share in said.shares if share > 0), reverse=True)
    shares = [
        Share(name=name, share=share, colour="#{:02x}{:02x}{:02x}".format(*colours[name]))
        for share, name in seen
    ]
    return Made(target="mask", picture=picture, shares=shares)
