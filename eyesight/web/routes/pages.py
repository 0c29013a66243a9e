"""The first page, its answer for browsers without scripts, the API's page and the token form."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from urllib.parse import parse_qs, quote

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import RedirectResponse, Response

from eyesight.errors import UserError
from eyesight.results.predictions import readable
from eyesight.runs import Run, list_runs
from eyesight.views import run_view
from eyesight.web import i18n
from eyesight.web.limits import Refused
from eyesight.web.middleware import remember_token, same_token
from eyesight.web.problems import refusal
from eyesight.web.routes import confusion
from eyesight.web.routes.api import recognised, rendered, service_of
from eyesight.web.routes.serving import serving_of
from eyesight.web.schemas import Made, Recognised
from eyesight.web.service import Service
from eyesight.web.templating import templates

TOP = 5  # answers shown
OTHERS = 3  # classes that the sentence of a doubt names
EXAMPLES = 6  # pictures to try
LONGEST = 2000  # bytes of a form with a token
router = APIRouter(include_in_schema=False)
token = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
def front(request: Request) -> Response:
    """The page that classifies an image; without a network the studio, or else /reader."""
    if not service_of(request).recogniser.classes:
        return RedirectResponse("/studio" if request.app.state.studio else "/reader", 303)
    service = service_of(request)
    page, context = page_of(request, service)
    return templates.TemplateResponse(request, page, context)


def page_of(request: Request, service: Service) -> tuple[str, dict[str, object]]:
    """The template that suits the network, and what it shows."""
    serving = {"serving": serving_of(request)}
    if service.target != "class":
        return "made.html", {**dense_context(service), **serving}
    return "front.html", {**class_context(service), **serving}


@router.post("/", response_class=HTMLResponse)
async def answered(request: Request) -> Response:
    """The same page with the answer on it, for browsers without scripts."""
    service = service_of(request)
    page, context = page_of(request, service)
    try:
        if service.target == "class":
            answer: Recognised | Made = recognised(service, await service.recognise(request), TOP)
        else:
            answer = await rendered(service, request)
    except Refused as refused:
        context |= {"found": None, "problem": sentence(request, refused)}
        return templates.TemplateResponse(request, page, context, refused.status)
    context |= {"found": answer, "problem": None}
    if isinstance(answer, Recognised):
        context["doubt"] = doubt_of(answer, i18n.translator(i18n.language_of(request)))
    return templates.TemplateResponse(request, page, context)


def doubt_of(answer: Recognised, t: i18n.Translator) -> str:
    """Why an answer should not be relied on, as static/verdict.js says it; "" if nothing is."""
    if answer.doubt != "unsure":
        return str(t(f"doubt.{answer.doubt}")) if answer.doubt else ""
    others = readable(tuple(answer.set or ())[1:])
    if len(others) > OTHERS:
        named = ", ".join(others[:OTHERS])
        return str(t("doubt.unsure_many", others=named, n=len(others) - OTHERS))
    named = "".join(others)
    if len(others) > 1:
        named = str(t("doubt.or", some=", ".join(others[:-1]), last=others[-1]))
    return str(t("doubt.unsure", others=named))


def sentence(request: Request, refused: Refused) -> str:
    """The error in the visitor's language, where it has a text."""
    language = i18n.language_of(request)
    key = f"problem.{refused.status}"
    return str(i18n.translator(language)(key)) if key in i18n.texts(language) else refused.message


def dense_context(service: Service) -> dict[str, object]:
    """What the page shows of a network that gives a mask or an image."""
    classes = service.recogniser.classes
    names = readable(classes)
    return {
        "name": str(service.recogniser.facts.get("name") or ""),
        "target": service.target,
        "classes": names,
        "readable": dict(zip(classes, names, strict=True)),
    }


def class_context(service: Service) -> dict[str, object]:
    """What the page shows of a classifier."""
    facts = service.recogniser.facts
    name = str(facts.get("name") or "")
    return {
        "name": name,
        "examples": examples_of(served_run(service)),
        "only": service.only,
        "about": service.only or ("dogs" if "dogs" in name else None),
        "accuracy": facts.get("accuracy"),
        "pictures": facts.get("accuracy_pictures"),
        "classes": readable(service.names),
        "readable": dict(zip(service.names, readable(service.names), strict=True)),
        "supports_heatmap": service.recogniser.supports_heatmap,
    }


def served_run(service: Service) -> Run | None:
    """The run that answers, where it lies in the served folder."""
    for run in list_runs(service.runs) if service.runs else []:
        if run.name == service.run:
            return run
    return None


@dataclass(frozen=True)
class Examples:
    """Addresses of pictures to try; `held_out` if they are test pictures, not training pictures."""

    addresses: list[str]
    held_out: bool


def examples_of(run: Run | None) -> Examples | None:
    """A few test pictures of a run, of different classes, if its prepared data is at hand.

    Otherwise the training pictures that the run keeps; None without any.
    """
    if run is None:
        return None
    here = f"/runs/{quote(run.name)}"
    try:
        places = test_places(run)
        if places:
            return Examples([f"{here}/pictures/{place}.png" for place in places], True)
        count = len(run_view.samples(run, EXAMPLES))
    except (UserError, OSError, ValueError, KeyError):
        return None  # the pages of a damaged run say what is wrong with it
    return Examples([f"{here}/samples/{place}.png" for place in range(count)], False)


def test_places(run: Run) -> list[int]:
    """Places of test pictures whose pixels are at hand, one class after the other."""
    predictions = run_view.labelled(run)
    at_hand = confusion.pictures(run) if predictions is not None else None
    if predictions is None or at_hand is None or not at_hand.whole:
        return []
    whole = run.predictions()
    by_class = [np.flatnonzero(whole.labels == label) for label in range(len(whole.classes))]
    rounds = zip_longest(*(places[:EXAMPLES].tolist() for places in by_class))
    return [place for row in rounds for place in row if place is not None][:EXAMPLES]


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> Response:
    """The API's documentation, drawn from /openapi.json by a script of this server."""
    return templates.TemplateResponse(request, "docs.html", {})


@token.post("/token", response_class=HTMLResponse)
async def enter_token(request: Request) -> Response:
    """Take the token from the form of the page that asks for it, and go on to that page."""
    body = (
        await request.body() if int(request.headers.get("content-length") or 0) < LONGEST else b""
    )
    fields = parse_qs(body.decode(errors="replace"))
    back = i18n.own_page(fields.get("back", ["/"])[0])
    password = request.app.state.token
    if password is None:
        return RedirectResponse(back, 303)
    if not same_token(fields.get("token", [""])[0], password):
        return refusal(
            request,
            401,
            "this is not the server's token",
            "check the token and try again",
            back=back,
        )
    return remember_token(RedirectResponse(back, 303), password)
