"""Pages that stand alone: a template filled in, its style, scripts and figures inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eyesight.report import plots
from eyesight.system.files import whole_file


def render(template: str, facts: dict[str, Any]) -> str:
    """The template of that name with `facts`; text is escaped, figures are drawn by the filter `inline`."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(percent=percent, duration=duration, inline=plots.svg)
    return templates.get_template(template).render(facts)


def write(text: str, path: Path) -> Path:
    """Write a text to `path`, whole or not at all; what cannot be encoded becomes a question mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text.encode(errors="replace"))
    return path


def percent(share: float, digits: int = 2) -> str:
    """0.9904 as `99.04 %`, never broken between the two."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds as `58.2 s`, `3 min 20 s` or `1 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
