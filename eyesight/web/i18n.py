"""Translations of the pages and the choice of language.

Texts are plain: the result of `t` is escaped, and only values marked safe may contain markup.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter, Request
from markupsafe import Markup, escape
from starlette.responses import RedirectResponse, Response

# Each by its native name; the first is the default.
LANGUAGES = {"en": "English", "ko": "한국어"}
COOKIE = "language"
YEAR = 365 * 86400  # seconds
ACCEPTED = re.compile(r"\s*([A-Za-z]+)(?:-[\w-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.\d*)?))?\s*")
router = APIRouter(include_in_schema=False)


class Translator(Protocol):
    """The function that templates call `t`."""

    def __call__(self, key: str, /, **values: object) -> Markup:
        """The text of a key with its {placeholders} filled in."""


@cache
def texts(language: str) -> dict[str, str]:
    """The texts of one language by key."""
    file = Path(__file__).parent / "translations" / f"{language}.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def asked_for(accept: str) -> str:
    """The supported language that an Accept-Language header prefers (RFC 9110, 12.5.4)."""
    best = next(iter(LANGUAGES))
    best_weight = 0.0
    for part in accept.split(","):
        match = ACCEPTED.fullmatch(part)
        if match is None or match[1].lower() not in LANGUAGES:
            continue
        weight = float(match[2] or 1)
        if weight > best_weight:
            best, best_weight = match[1].lower(), weight
    return best


def language_of(request: Request) -> str:
    """The language chosen by the visitor, else by the browser."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else asked_for(request.headers.get("accept-language", ""))


def translator(language: str) -> Translator:
    """The function `t` of one language; an unknown key is a KeyError."""
    of_language = texts(language)

    def t(key: str, /, **values: object) -> Markup:
        return escape(of_language[key]).format(**values)

    return t


def of_pages(language: str, *pages: str) -> dict[str, str]:
    """The texts of these pages by key, for their scripts."""
    return {key: text for key, text in texts(language).items() if key.partition(".")[0] in pages}


@cache
def chart_words(language: str) -> dict[str, str]:
    """The words of figures in a language, by the English ones."""
    english = texts("en")
    own = texts(language).items()
    return {english[key]: text for key, text in own if key.startswith(("chart.", "measure."))}


def context(request: Request) -> dict[str, object]:
    """The context of every template: `t`, `language`, other `languages`, `texts(page, …)`."""
    language = language_of(request)
    return {
        "t": translator(language),
        "language": language,
        "languages": {key: name for key, name in LANGUAGES.items() if key != language},
        "texts": lambda *pages: of_pages(language, *pages),
    }


@router.get("/language/{language}")
def choose(language: str, back: str = "/") -> Response:
    """Store a visitor's language and redirect to the previous page."""
    response = RedirectResponse(own_page(back), 303)
    if language in LANGUAGES:
        response.set_cookie(COOKIE, language, max_age=YEAR, samesite="lax", httponly=True)
    return response


def own_page(path: str) -> str:
    """The path if it is a page of this server, else "/"."""
    return path if re.fullmatch(r"/(?![/\\])[^\\\s]*", path) else "/"
