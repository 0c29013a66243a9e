"""A CSV of paths and labels, as people export it: any of three delimiters, with or without header, with or without a split.

A row without label or file is listed with its line number and left out; nothing is guessed in its place.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eyesight.data.formats.folders import SPLITS
from eyesight.data.prepare import Problem
from eyesight.data.source import (
    EXTENSIONS,
    Source,
    class_name,
    digest,
    extension,
    in_order,
    printable,
    reader,
)
from eyesight.errors import UserError

TABLES = frozenset([".csv", ".tsv"])
PATH = frozenset(
    [
        "path",
        "paths",
        "file",
        "files",
        "filename",
        "file_name",
        "filepath",
        "image",
        "images",
        "image_path",
        "img",
        "picture",
        "photo",
        "id",
        "name",
    ]
)
LABEL = frozenset("label labels class classes class_name category target y breed species".split())  # noqa: SIM905
SPLIT = frozenset(["split", "subset", "set", "partition"])
Line = tuple[int, list[str]]  # number in the file, cells


@dataclass(frozen=True)
class Row:
    """One line of the table; `why` says why it is left out."""

    line: int
    id: str
    path: Path
    label: str
    split: str
    why: tuple[str, str] | None = None  # kind and detail of the problem
    state: os.stat_result | None = None


def open_csv(name: str, table: Path, *, inside: Path | None = None) -> Source:
    """The source a CSV describes; paths are relative to it and, when `inside` is given (an unpacked archive), may not leave that folder."""
    columns, lines = _columns(table, _lines(table))
    rows = [_checked(_row(line, columns, table.parent), inside) for line in lines]
    good = _distinct([row for row in rows if row.why is None])
    problems = tuple(
        Problem(row.id, row.why[0], f"line {row.line}: {row.why[1]}", fatal=True)
        for row in rows
        if row.why
    )
    if not good:
        first = (
            f"the first problem is {problems[0].id or 'a row'}, {problems[0].detail}"
            if problems
            else "expected the columns path,label"
        )
        raise UserError(f"no row of {name} leads to a picture", first)
    classes = in_order((row.label for row in good if row.label), letters=True)
    if not classes:
        raise UserError(
            f"{name} gives no label to any picture",
            "expected a column `label` beside the column `path`",
        )
    number = {label: index for index, label in enumerate(classes)} | {"": -1}
    return Source(
        name=name,
        classes=classes,
        ids=tuple(row.id for row in good),
        labels=np.array([number[row.label] for row in good], dtype=np.int64),
        splits=np.array([row.split for row in good], dtype="<U10"),
        read=reader([row.path for row in good]),
        pixels=None,
        fingerprint=digest(
            ["csv", *((row.id, row.label, row.split, *_size_and_time(row)) for row in good)]
        ),
        problems=problems,
    )


def _lines(table: Path) -> list[Line]:
    """The rows that hold anything; UserError when the file is no text or no table."""
    try:
        contents = table.read_bytes()
        text = contents.decode(
            "utf-16" if contents[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        )
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        lines = [(rows.line_num, [cell.strip() for cell in cells]) for cells in rows]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table} is not UTF-8 text (byte {error.start})", "save it again as CSV UTF-8"
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{table} is not a table: {error}", "expected lines of path,label"
        ) from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise UserError(f"{table} is empty", "expected lines of path,label")
    return lines


def _delimiter(text: str) -> str:
    """The one of comma, semicolon and tab that cuts most of the first lines in two or more."""
    head = text.splitlines()[:20]
    return max(
        ",;\t",
        key=lambda mark: (
            sum(mark in line for line in head),
            sum(line.count(mark) for line in head),
        ),
    )


def _columns(table: Path, lines: Sequence[Line]) -> tuple[tuple[int, int, int], Sequence[Line]]:
    """The places of path, label and split (-1: none), and the lines below the header, if there is one."""
    head = [cell.lower() for cell in lines[0][1]]
    path, label, split = (
        next((place for place, cell in enumerate(head) if cell in known), -1)
        for known in (PATH, LABEL, SPLIT)
    )
    if label >= 0 and path >= 0:
        return (path, label, split), lines[1:]
    if len(head) < 2:
        raise UserError(
            f"{table} has a single column",
            "expected path,label, separated by comma, semicolon or tab",
        )
    other_header = not _file_like(head[0]) and len(lines) > 1 and _file_like(lines[1][1][0])
    below = lines[1:] if path == 0 or other_header else lines
    if below is not lines and split > 0:
        label = next((place for place in range(1, len(head)) if place != split), -1)
        if label < 0:
            raise UserError(
                f"{table} has no column of labels, only {', '.join(lines[0][1])}",
                "expected a column `label` beside them",
            )
        return (0, label, split), below
    third = [cells[2].lower() for _, cells in below if len(cells) > 2]
    return (0, 1, 2 if third and all(cell in SPLITS or not cell for cell in third) else -1), below


def _file_like(cell: str) -> bool:
    return extension(cell) in EXTENSIONS or "/" in cell


def _row(line: Line, columns: tuple[int, int, int], folder: Path) -> Row:
    """The cells by meaning; the path with forward slashes unless a file really has the backslashes."""
    number, cells = line
    text, label, split = (cells[place] if 0 <= place < len(cells) else "" for place in columns)
    if "\\" in text and not (folder / text).exists():
        text = text.replace("\\", "/")
    named = SPLITS.get(split.lower(), "")
    why = (
        ("ignored", f"unknown split {split!r}, expected train, validation or test")
        if split and not named
        else None
    )
    return Row(number, printable(text), folder / text, class_name(label), named, why)


def _checked(row: Row, inside: Path | None) -> Row:
    """The row with the reason why it is left out, if there is one."""
    if row.why:
        return row
    if not row.id:
        return replace(row, why=("missing", "no path"))
    try:
        escapes = inside is not None and not row.path.resolve().is_relative_to(inside.resolve())
        state = row.path.stat() if not escapes and row.path.is_file() else None
    except (OSError, ValueError):
        return replace(row, why=("missing", "the file cannot be looked at"))
    if escapes:
        return replace(row, why=("missing", "the path leaves the archive's folder"))
    if state is None:
        return replace(row, why=("missing", "no such file"))
    if not row.label and row.split != "test":
        return replace(row, why=("unlabelled", "no label"))
    return replace(row, state=state)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows with ids of their own: a path listed again gets its line number, and the health check judges the copy."""
    seen: set[str] = set()
    result = []
    for row in rows:
        result.append(replace(row, id=f"{row.id} (line {row.line})") if row.id in seen else row)
        seen.add(row.id)
    return result


def _size_and_time(row: Row) -> tuple[int, int]:
    assert row.state is not None
    return row.state.st_size, row.state.st_mtime_ns
