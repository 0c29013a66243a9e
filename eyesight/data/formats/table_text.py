"""The rows of a CSV or TSV file: its encoding, its delimiter, and what is no row."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from eyesight.data.source import EXTENSIONS, extension
from eyesight.errors import UserError

DELIMITERS = "\t;|,"  # the first that gives a consistent table; labels hold commas more often
SAMPLE = 200  # rows by which a delimiter is judged
EXPECTED = "expected lines of path,label"
SEPARATED = "expected path,label, separated by comma, semicolon, tab, | or two spaces"
ALIGNED = re.compile(r" {2,}")  # between the columns of a table that is padded with spaces
MOST_BYTES = 1 << 31


@dataclass(frozen=True)
class Row:
    """A row of a table: its line in the file and its cells."""

    line: int
    cells: tuple[str, ...]


def read_rows(table: Path) -> list[Row]:
    """The rows that hold anything, the header included.

    Raises UserError when the file is no text, no table, or has a single column.
    """
    rows = read_cells(table)
    if max(len(row.cells) for row in rows[:SAMPLE]) < 2:
        hint = SEPARATED
        if all(len(row.cells[0].split()) == 2 for row in rows[:SAMPLE]):
            hint = f"{SEPARATED}; the lines contain a single space instead"
        raise UserError(f"{table} has a single column", hint)
    return rows


def read_cells(table: Path) -> list[Row]:
    """As `read_rows`, for tables of one column too."""
    text = _text(table)
    skipped = 0
    delimiter = ""
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own hint
        delimiter = first.strip()[4]
        text = rest
        skipped = 1
    try:
        if not delimiter and _is_aligned(text):
            rows = _split_aligned(text)
        else:
            rows = _split(text, delimiter or _delimiter(text), skipped)
    except csv.Error as error:
        raise UserError(f"{table} is not a table: {error}", EXPECTED) from error
    if not rows:
        raise UserError(f"{table} is empty", EXPECTED)
    return _without_comments(rows)


def _text(table: Path) -> str:
    """The file as text: UTF-8, or UTF-16 as Excel writes "Unicode text"."""
    try:
        if table.stat().st_size > MOST_BYTES:
            raise UserError(f"{table} has more than {MOST_BYTES:,} bytes", EXPECTED)
        contents = table.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {table}: {error.strerror}", EXPECTED) from error
    is_utf16 = contents[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = contents.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table} is not UTF-8 text (byte {error.start})", "save it again as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{table} is not UTF-8 text (a NUL character in line {line})",
            "save it again as CSV UTF-8",
        )
    return text


def _split(text: str, delimiter: str, skipped: int = 0) -> list[Row]:
    rows = []
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    for cells in reader:
        stripped = tuple(" ".join(cell.split()) if "\n" in cell else cell.strip() for cell in cells)
        if any(stripped):
            rows.append(Row(reader.line_num + skipped, stripped))
    return rows


def _is_aligned(text: str) -> bool:
    """Whether all lines have as many columns, two at least, padded with spaces and nothing else."""
    rows = _split_aligned("\n".join(text.splitlines()[:SAMPLE]))
    widths = {len(row.cells) for row in rows}
    return len(widths) == 1 and widths.pop() > 1 and not any(mark in text for mark in DELIMITERS)


def _split_aligned(text: str) -> list[Row]:
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return [Row(number, tuple(ALIGNED.split(line))) for number, line in lines if line]


def _delimiter(text: str) -> str:
    """The first delimiter that cuts the lines into equally many cells, two at least.

    Else the commonest.
    """
    lines = [line for line in text.splitlines()[: 2 * SAMPLE] if not line.startswith("#")]
    head = "\n".join(lines[:SAMPLE])
    consistent = []
    for delimiter in DELIMITERS:
        try:
            widths = Counter(len(row.cells) for row in _split(head, delimiter))
        except csv.Error:
            continue
        if not widths:
            continue
        width, count = widths.most_common(1)[0]
        if width > 1 and count == widths.total():
            consistent.append(delimiter)
    if len(consistent) == 1 or (consistent and consistent[0] == "\t"):
        return consistent[0]
    if consistent:
        return _outer(head, consistent)
    return max(",;\t|", key=lambda mark: (sum(mark in line for line in lines), head.count(mark)))


def _outer(head: str, consistent: list[str]) -> str:
    """Of delimiters that all give a table, the one that ends the first cell.

    Labels hold the others.
    """
    for delimiter in consistent:
        first_cell = _split(head, delimiter)[0].cells[0]
        if not any(other in first_cell for other in consistent if other != delimiter):
            return delimiter
    return consistent[0]


def _without_comments(rows: list[Row]) -> list[Row]:
    """The rows without lines such as `# made by me`.

    A file's name may begin with `#` all the same.
    """
    width = Counter(len(row.cells) for row in rows).most_common(1)[0][0]
    kept: list[Row] = []
    for row in rows:
        first = row.cells[0]
        is_comment = len(row.cells) != width or (not kept and extension(first) not in EXTENSIONS)
        if not (first.startswith("#") and is_comment):
            kept.append(row)
    return kept or rows
