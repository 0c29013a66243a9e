"""The Jinja templates of the pages, with the texts of the visitor's language."""

from __future__ import annotations

from pathlib import Path

from fastapi.templating import Jinja2Templates

from eyesight.web import i18n

templates = Jinja2Templates(Path(__file__).parent / "templates", context_processors=[i18n.context])
