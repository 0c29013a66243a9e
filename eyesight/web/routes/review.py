"""The review page: doubtful images one after another, beside typical ones of their class."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from eyesight.auditing.queue import KINDS, Kind, State
from eyesight.web.limits import Limits, Refused
from eyesight.web.review import (
    DecisionRequest,
    ItemFacts,
    ItemPage,
    Review,
    ReviewFacts,
    Selection,
    UndoRequest,
)
from eyesight.web.templating import templates
from eyesight.web.uploads import read_body

router = APIRouter()
MOST_BYTES = 200_000  # of a request
PAGE = 24  # images
TYPICAL = 6
KEPT = {"Cache-Control": "private, max-age=3600"}
Body = TypeVar("Body", bound=BaseModel)


def review_of(request: Request) -> Review:
    """The application's review; raises Refused where there is none."""
    review = getattr(request.app.state, "review", None)
    if not isinstance(review, Review):
        raise Refused(
            404, "there is nothing to review here", "start a review with eyesight review DATA"
        )
    return review


@router.get("/review", response_class=HTMLResponse, include_in_schema=False)
def page(request: Request) -> Response:
    """The page; images and decisions come and go by its script."""
    context = {
        "review": review_of(request).facts(),
        "kinds": KINDS,
        "back": getattr(request.app.state, "review_back", ""),
    }
    return templates.TemplateResponse(request, "review.html", context)


@router.get("/review/pictures/{row}.png", include_in_schema=False)
def picture(request: Request, row: int, large: bool = False) -> Response:
    """One image: a thumbnail, or in its own size up to a limit."""
    content = review_of(request).picture(row, large=large)
    return Response(content, media_type="image/png", headers=KEPT)


@router.get("/api/review")
def facts(request: Request) -> ReviewFacts:
    """What is reviewed, by whom, and how far."""
    return review_of(request).facts()


@router.get("/api/review/items")
def items(
    request: Request,
    kind: Kind = "all",
    given: Annotated[str, Query(max_length=1000)] = "",
    state: State = "open",
    after: int = -1,
    before: int | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
) -> ItemPage:
    """Images of the queue, most suspicious first."""
    return review_of(request).items(Selection(kind, given, state, after, before, limit))


@router.get("/api/review/typical")
def typical(
    request: Request,
    name: Annotated[str, Query(max_length=1000)],
    limit: Annotated[int, Query(ge=1, le=24)] = TYPICAL,
) -> list[int]:
    """Rows of typical images of a class."""
    return review_of(request).typical(name, limit)


@router.post("/api/review/decisions")
async def decide(request: Request) -> ReviewFacts:
    """Save what is decided about images; the body is a DecisionRequest."""
    review = review_of(request)
    asked = await body_of(request, DecisionRequest)
    await run_in_threadpool(review.decide, asked)
    return await run_in_threadpool(review.facts)


@router.post("/api/review/undo")
async def undo(request: Request) -> list[ItemFacts]:
    """Take back the last decision; the images that it was about."""
    review = review_of(request)
    asked = await body_of(request, UndoRequest)
    return await run_in_threadpool(review.undo, asked.key)


async def body_of(request: Request, model: type[Body]) -> Body:
    """The JSON of a request of at most MOST_BYTES; raises Refused."""
    content = await read_body(request, MOST_BYTES, Limits())
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refused(422, f"{place}: {first['msg']}", "see /docs") from None
