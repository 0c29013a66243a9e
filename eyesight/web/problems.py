"""Error responses: JSON for programs, a translated page for browsers."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eyesight.web import i18n
from eyesight.web.templating import templates

TITLES = ("401", "403", "404", "422", "500", "503")  # statuses with a title of their own


def problem(
    status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The error as JSON, `{"error": …, "hint": …}`."""
    return JSONResponse({"error": error, "hint": hint}, status, headers)


def refusal(
    request: Request,
    status: int,
    error: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    back: str | None = None,
) -> Response:
    """The error as a page for browsers, and as JSON otherwise.

    The page that asks for a token leads to `back` afterwards, by default the requested page.
    """
    if not shown_to_a_person(request):
        return problem(status, error, hint, headers)
    title = "error." + str(status) if str(status) in TITLES else "error.other"
    context = {
        "title": i18n.translator(i18n.language_of(request))(title),
        "status": status,
        "error": error,
        "hint": hint,
        "back": request.url.path if back is None else back,
    }
    return templates.TemplateResponse(request, "problem.html", context, status, headers)


def shown_to_a_person(request: Request) -> bool:
    """Whether a browser requested a page, not the API or an image."""
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and not request.url.path.startswith(("/api/", "/static/"))
