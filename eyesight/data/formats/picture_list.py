"""A table that lists images without saying what they are, such as a competition's `test.csv`."""

from __future__ import annotations

from pathlib import Path

from eyesight.data.formats.csv_table import split_of_table
from eyesight.data.formats.finder import Finder, as_path
from eyesight.data.formats.table_text import Row, read_cells
from eyesight.errors import UserError, listed

SAMPLE = 50  # rows by which the column of images is told
ENOUGH = 0.5  # of these rows must lead to images
SHOWN = 3


def read_picture_list(table: Path) -> list[Path]:
    """The images that a table names, in its order.

    Any column may hold them, as paths relative to the table, as names or as ids without
    extension; images called alike are looked for in a folder called like the table. Raises
    UserError where no column leads to images, and where one of them is missing.
    """
    rows = read_cells(table)
    finder = Finder(table.parent, table.parent)
    place = split_of_table(table) or ""
    column = _image_column(rows, finder, place)
    if column is None:
        raise UserError(
            f"no column of {table} refers to images",
            "expected a column of paths or ids, in a table beside the image folder",
        )
    paths, missing = [], []
    for number, row in enumerate(rows):
        cell = row.cells[column] if column < len(row.cells) else ""
        candidates = finder.candidates(as_path(cell), place) if cell else []
        if len(candidates) == 1:
            paths.append(candidates[0])
        elif number > 0:  # the first row may be the header
            reason = "several files" if candidates else "no file"
            missing.append(f"{cell or 'an empty cell'} (line {row.line}: {reason})")
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(rows):,} rows of {table} refer to no image: "
            f"{listed(missing, SHOWN)}",
            "put the images beside the table, or correct these rows",
        )
    return paths


def _image_column(rows: list[Row], finder: Finder, place: str) -> int | None:
    """The column whose cells lead to one image each most often, where at least half of them do."""
    sample = rows[1 : SAMPLE + 1] or rows
    width = max((len(row.cells) for row in sample), default=0)
    best, best_share = None, 0.0
    for column in range(width):
        cells = [row.cells[column] for row in sample if column < len(row.cells)]
        counts = [len(finder.candidates(as_path(cell), place)) for cell in cells if cell]
        share = counts.count(1) / len(sample)
        if share >= ENOUGH and share > best_share:
            best, best_share = column, share
    return best
