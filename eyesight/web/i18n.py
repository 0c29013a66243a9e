"""Every word of the pages in every language, and which language a visitor gets.

The words are plain text: what `t` returns is escaped, and markup comes in only through a value that is marked safe.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, Request
from markupsafe import Markup, escape
from starlette.responses import RedirectResponse, Response

LANGUAGES = {
    "en": "English",
    "ko": "한국어",
}  # as they call themselves; the first is for whoever asks for none of them
COOKIE, YEAR = "language", 365 * 86400
WANTED = re.compile(r"\s*([A-Za-z]+)(?:-[\w-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.\d*)?))?\s*")
router = APIRouter(include_in_schema=False)


class Speaker(Protocol):
    """What a template calls `t`."""

    def __call__(self, key: str, /, **values: object) -> Markup:
        """The text of a key, its {placeholders} filled in."""


@cache
def words(language: str) -> dict[str, str]:
    """Key → text of one language."""
    found: dict[str, str] = json.loads(
        (Path(__file__).parent / "translations" / f"{language}.json").read_text(encoding="utf-8")
    )
    return found


def asked_for(accept: str) -> str:
    """The language that an Accept-Language header likes best among ours (RFC 9110, 12.5.4)."""
    parts = [match for part in accept.split(",") if (match := WANTED.fullmatch(part))]
    wanted = [(float(part[2] or 1), part[1].lower()) for part in parts]
    known = [(weight, name) for weight, name in wanted if weight and name in LANGUAGES]
    return max(known, key=lambda pair: pair[0])[1] if known else next(iter(LANGUAGES))


def language_of(request: Request) -> str:
    """The language a visitor chose, or else the one that the browser asks for."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else asked_for(request.headers.get("accept-language", ""))


def speaker(language: str) -> Speaker:
    """`t` of one language; an unknown key is a KeyError."""
    known = words(language)

    def t(key: str, /, **values: object) -> Markup:
        return escape(known[key]).format(**values)

    return t


def part(language: str, *pages: str) -> dict[str, str]:
    """The texts whose keys begin with one of the pages' names: what a script needs."""
    return {key: text for key, text in words(language).items() if key.partition(".")[0] in pages}


def context(request: Request) -> dict[str, Any]:
    """What every template knows: `t`, `language`, the other `languages`, `texts(page, …)` for its scripts."""
    language = language_of(request)
    return {
        "t": speaker(language),
        "language": language,
        "languages": {key: name for key, name in LANGUAGES.items() if key != language},
        "texts": lambda *pages: part(language, *pages),
    }


@router.get("/language/{language}")
def choose(language: str, back: str = "/") -> Response:
    """Remember a visitor's choice and go back to the page it was made on, which must be one of ours."""
    response = RedirectResponse(own_page(back), 303)
    if language in LANGUAGES:
        response.set_cookie(COOKIE, language, max_age=YEAR, samesite="lax", httponly=True)
    return response


def own_page(path: str) -> str:
    """The path, when it leads to a page of this server; else "/"."""
    return path if re.fullmatch(r"/(?![/\\])[^\\\s]*", path) else "/"
