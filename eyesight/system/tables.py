"""Tables as text: aligned for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence

ANY_WIDTH = 100_000  # columns: a line is never wrapped, whatever the terminal


def text_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """Aligned columns under their titles; those in `left` are flush left, others flush right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for place, title in enumerate(titles):
        justify = "left" if place in left else "right"
        table.add_column(Text(title), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=io.StringIO(), width=ANY_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def markdown_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """The same as a Markdown table."""
    rules = ["---" if place in left else "---:" for place in range(len(titles))]
    lines = []
    for cells in (titles, rules, *rows):
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        lines.append(f"| {' | '.join(escaped)} |")
    return "\n".join(lines)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, one a line, each line ended by a line feed."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
