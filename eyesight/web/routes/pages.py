"""The pages: rendered here, drawn by the browser with a few lines of script and nothing from elsewhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import RedirectResponse, Response

from eyesight.results.predictions import readable
from eyesight.web import i18n
from eyesight.web.limits import Refused
from eyesight.web.middleware import remember_token, same_token
from eyesight.web.problems import refusal
from eyesight.web.routes.api import recognised, rendered, service_of
from eyesight.web.service import Service
from eyesight.web.templating import templates

TOP = 5  # answers shown
LONGEST = 2000  # bytes of a form with a token
router = APIRouter(include_in_schema=False)


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
            else await rendered(service, request)
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
        "looks": service.recogniser.supports_heatmap,
    }


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> Response:
    """The API's description, made from /openapi.json by this server's own script."""
    return templates.TemplateResponse(request, "docs.html", {})


@router.post("/token", response_class=HTMLResponse)
async def enter_token(request: Request) -> Response:
    """Take the token from the form of the page that asks for it, and go on to that page."""
    body = (
        await request.body() if int(request.headers.get("content-length") or 0) < LONGEST else b""
    )
    fields = parse_qs(body.decode(errors="replace"))
    back = i18n.own_page(fields.get("back", ["/"])[0])
    token = request.app.state.token
    if token is None:
        return RedirectResponse(back, 303)
    if not same_token(fields.get("token", [""])[0], token):
        return refusal(request, 401, "this is not the server's token", "check it and send it again")
    return remember_token(RedirectResponse(back, 303), token)
