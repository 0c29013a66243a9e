"""Self-contained HTML pages: a template filled in, with its style, scripts and figures inside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eyesight.system.files import whole_file
from eyesight.views import plots

SHARED = Path(__file__).parent / "templates"  # the style and the script that every page includes


def render(template: Path, values: Mapping[str, object]) -> str:
    """Fill in `template`; text is escaped, and the filter `inline` turns a figure into SVG."""
    return _environment(template.parent).get_template(template.name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    """The templates of a folder, each compiled once."""
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, duration=duration, inline=plots.svg)
    return environment


def write(text: str, path: Path) -> Path:
    """Write `text` to `path`, whole or not at all; characters without an encoding become "?"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text.encode(errors="replace"))
    return path


def percent(share: float, digits: int = 2) -> str:
    """0.9904 as `99.04 %`, with a no-break space."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds as `58.2 s`, `3 min 20 s` or `1 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
