"""The pages: rendered here, drawn by the browser with a few lines of script and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from starlette.responses import RedirectResponse, Response

from eyesight.results.predictions import readable
from eyesight.web import i18n
from eyesight.web.limits import Refused
from eyesight.web.routes.api import recognised, service_of
from eyesight.web.routes.rendering import answer
from eyesight.web.service import Service

TOP = 5  # answers shown
router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(
    Path(__file__).parents[1] / "templates", context_processors=[i18n.context]
)


@router.get("/", response_class=HTMLResponse)
def front(request: Request) -> Response:
    """Drop a picture, read its name; the reader's offer to train where there is no network yet."""
    if not service_of(request).recogniser.classes:
        return RedirectResponse("/reader", 303)
    service = service_of(request)
    if service.target != "class":
        return templates.TemplateResponse(request, "made.html", about(service))
    return templates.TemplateResponse(request, "front.html", known(service))


@router.post("/", response_class=HTMLResponse)
async def answered(request: Request) -> Response:
    """The same page with the answer on it, for browsers without scripts."""
    service, t = service_of(request), i18n.speaker(i18n.language_of(request))
    page, facts = (
        ("front.html", known(service))
        if service.target == "class"
        else ("made.html", about(service))
    )
    try:
        found = (
            recognised(service, await service.recognise(request), TOP)
            if service.target == "class"
            else await answer(service, request)
        )
        said: dict[str, Any] = {"found": found, "problem": None}
        status = 200
    except Refused as refused:
        key, status = f"problem.{refused.status}", refused.status
        said = {"found": None, "problem": t(key) if key in i18n.words("en") else refused.message}
    return templates.TemplateResponse(request, page, {**facts, **said}, status)


def about(service: Service) -> dict[str, Any]:
    """What the page says of a network that gives more than a class."""
    name, classes = str(service.recogniser.facts.get("name") or ""), service.recogniser.classes
    names = readable(classes)
    return {
        "name": name,
        "target": service.target,
        "classes": names,
        "readable": dict(zip(classes, names, strict=True)),
    }


def known(service: Service) -> dict[str, Any]:
    """What the page says of the network that answers."""
    facts, name = service.recogniser.facts, str(service.recogniser.facts.get("name") or "")
    return {
        "name": name,
        "only": service.only,
        "about": service.only or ("dogs" if "dogs" in name else None),
        "accuracy": facts.get("accuracy"),
        "pictures": facts.get("accuracy_pictures"),
        "classes": readable(service.names),
        "readable": dict(zip(service.names, readable(service.names), strict=True)),
        "looks": service.recogniser.looks,
    }


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> Response:
    """The API's description, made from /openapi.json by this server's own script."""
    return templates.TemplateResponse(request, "docs.html", {})
