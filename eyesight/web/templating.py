"""The Jinja templates of the pages, with the texts of the visitor's language."""

from __future__ import annotations

from pathlib import Path

from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape

from eyesight.web import i18n

BREAKS = ("_", "/")  # a long name is broken after these rather than within a word


def breakable(text: str) -> Markup:
    """The text with places where a line may be broken."""
    made = escape(text)
    for sign in BREAKS:
        made = made.replace(sign, Markup("{}<wbr>").format(sign))
    return made


templates = Jinja2Templates(Path(__file__).parent / "templates", context_processors=[i18n.context])
templates.env.filters["breakable"] = breakable
