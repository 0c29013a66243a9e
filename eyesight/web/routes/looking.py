"""Where the network looked on a picture: the path and nothing else, since the work is the service's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from eyesight.web.routes.api import BODY, RESPONSES, service_of
from eyesight.web.schemas import Problem

router = APIRouter(prefix="/api")
PICTURE = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
BLIND = {"model": Problem, "description": "this network does not say where it looked"}


@router.post(
    "/explain",
    responses={**RESPONSES, 200: PICTURE, 404: BLIND},
    openapi_extra=BODY,
    response_class=Response,
)
async def explain(request: Request) -> Response:
    """What the network saw of a picture as PNG, the places that spoke for its best answer bright (Grad-CAM). Nothing of it is kept."""
    return Response(await service_of(request).explain(request), media_type="image/png")
