"""The pages: rendered here, drawn by the browser with a few lines of script and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from starlette.responses import Response

from eyesight.web import texts
from eyesight.web.api import service_of

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates", context_processors=[texts.context])


@router.get("/", response_class=HTMLResponse)
def front(request: Request) -> Response:
    """Drop a picture, read its name."""
    known = service_of(request).recogniser
    return templates.TemplateResponse(request, "front.html", {"name": known.facts.get("name") or "", "classes": known.classes})


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> Response:
    """The API's description, made from /openapi.json by this server's own script."""
    return templates.TemplateResponse(request, "docs.html", {})
