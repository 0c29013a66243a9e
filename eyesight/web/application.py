"""The FastAPI application: its routes, middleware and error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import RedirectResponse, Response

import eyesight
from eyesight.errors import UserError
from eyesight.system.files import disk_error
from eyesight.web import i18n
from eyesight.web.batching import Recogniser
from eyesight.web.digit_reader import DIGITS, Reader
from eyesight.web.limits import Limits, Refused
from eyesight.web.middleware import Guard
from eyesight.web.problems import refusal
from eyesight.web.review import Review
from eyesight.web.routes import api, augment, events, pages, studio_pictures, studio_work, switch
from eyesight.web.routes import reader as reading
from eyesight.web.routes import review as reviewing
from eyesight.web.routes import runs as run_pages
from eyesight.web.routes import studio as studio_pages
from eyesight.web.run_services import RunServices
from eyesight.web.samples import Collection
from eyesight.web.schemas import Problem
from eyesight.web.service import Service
from eyesight.web.studio.desk import Desk

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


def application(
    recogniser: Recogniser,
    runs: Path | None = None,
    *,
    token: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    limits: Limits | None = None,
    collect: Path | None = None,
    studio: Desk | None = None,
) -> FastAPI:
    """The service around one classifier.

    `hosts` are the accepted host names ("*" for any); corrected digits are stored in the folder
    `collect`; `studio` manages projects.
    """
    limits = limits or Limits()
    service = Service(recogniser, runs, limits)
    run_services = RunServices(runs, limits) if runs else None
    public = "*" in hosts
    changing = token is not None or not public
    reader = Reader(
        service, Collection(collect, DIGITS) if collect and changing else None, trains=changing
    )

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        if studio is not None:
            studio.close()
        reader.close()
        service.close()
        if run_services is not None:
            run_services.close()

    description = "Classifies images. Uploads are not stored."
    if collect:
        description = "Classifies images. Only digits that are sent as samples are stored."
    app = FastAPI(
        title="eyesight",
        version=eyesight.__version__,
        description=description,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        responses={422: {"model": Problem, "description": "an invalid parameter"}},
    )
    app.state.service = service
    app.state.run_services = run_services
    app.state.switches = changing and runs is not None
    app.state.reader = reader
    app.state.token = token
    app.state.studio = studio
    app.include_router(api.pictures)
    app.include_router(api.router)
    app.include_router(pages.token)
    for part in (augment, events, pages, reading, run_pages, i18n, switch):
        app.include_router(part.router)
    app.include_router(reading.page)
    for part in (studio_pictures, studio_work, studio_pages, reviewing):
        app.include_router(part.router, include_in_schema=False)
    return guarded(app, token=token, hosts=hosts)


def review_application(
    review: Review, *, token: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> FastAPI:
    """The application for a review of labels."""
    app = FastAPI(
        title="eyesight review",
        version=eyesight.__version__,
        docs_url=None,
        redoc_url=None,
        responses={422: {"model": Problem, "description": "an invalid parameter"}},
    )
    app.state.review = review
    app.state.token = token
    app.include_router(reviewing.router)
    app.include_router(i18n.router)
    app.include_router(pages.token)
    app.add_api_route("/", _to_review, include_in_schema=False)
    return guarded(app, token=token, hosts=hosts)


def _to_review() -> Response:
    return RedirectResponse("/review", 303)


def guarded(app: FastAPI, *, token: str | None, hosts: Sequence[str] = LOOPBACK) -> FastAPI:
    """An application with static files, access checks and error pages.

    `hosts` are the accepted host names ("*" for any).
    """
    public = "*" in hosts
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), "static")
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(Guard, token=token, public=public)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(request, error.status, error.message, error.hint, error.headers)


def _user_error(request: Request, error: Exception) -> Response:
    """Handle user errors: a damaged or removed run, a full disk, an invalid setting."""
    assert isinstance(error, UserError)
    return refusal(request, error.status, error.message, error.hint)


def _os_error(request: Request, error: Exception) -> Response:
    """Handle a full disk; other system errors are bugs."""
    assert isinstance(error, OSError)
    full = disk_error(error, Path(error.filename or "a file"))
    if isinstance(full, UserError):
        return _user_error(request, full)
    raise error


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    sentences = []
    for entry in error.errors():
        field = ".".join(str(part) for part in entry["loc"][1:])
        sentences.append(f"{field}: {entry['msg']}")
    return refusal(request, 422, "; ".join(sentences), "see /docs")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return refusal(request, error.status_code, str(error.detail), "see /docs", headers)


def _unexpected(request: Request, error: Exception) -> Response:
    """Handle unexpected errors; the traceback is only in the server's log."""
    return refusal(request, 500, "internal server error", "see the server's log")
