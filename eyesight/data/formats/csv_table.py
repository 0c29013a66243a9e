"""Tables of paths and labels, as people export them.

With or without header, with or without a split.

A row without label or file is listed with its line number and left out; nothing is put in its
place.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eyesight.data.formats.columns import HOT, Columns, Table, is_split, read_columns
from eyesight.data.formats.finder import Finder, as_path
from eyesight.data.formats.table_text import Row, read_rows
from eyesight.data.layout import Layout
from eyesight.data.prepare import Problem
from eyesight.data.source import (
    Source,
    class_name,
    digest,
    file_stamp,
    in_order,
    printable,
    reader,
)
from eyesight.data.vocabulary import MISSING, YES, Split, exact_split, split_and_rest
from eyesight.errors import UserError

TABLES = frozenset([".csv", ".tsv"])
NO_IMAGE = ("missing", "header")  # kinds of rows that lead to no image
WHOLE = re.compile(r"-?\d+(\.0*)?")


@dataclass(frozen=True)
class Record:
    """One image of a table; `reason` says why it is left out (kind and detail)."""

    line: int
    id: str
    label: str = ""
    split: str = ""
    group: str = ""
    path: Path = Path()
    reason: tuple[str, str] | None = None
    status: os.stat_result | None = None


def open_csv(
    name: str,
    paths: Sequence[Path],
    *,
    inside: Path | None = None,
    layout: Layout | None = None,
    finders: Mapping[Path, Finder] | None = None,
) -> Source:
    """The source of one table, or of several that are a split each.

    They are called so (`train.csv`, `test.csv`), or lie in the folders of the splits.

    Paths in a table are relative to it or to `layout.images`; files that are not there are searched
    by name. When `inside` is given (an unpacked archive), nothing outside of it is used.
    """
    layout = layout or Layout()
    records: list[Record] = []
    notes: list[str] = []
    problems: dict[str, Problem] = {}
    for path in paths:
        table_finder = finders[path] if finders else finder_for(path, layout, inside)
        table = read_table(path, table_finder, layout)
        split = split_of_table(path, table_finder.root) if len(paths) > 1 else ""
        records += read_records(table, table_finder, split or "")
        notes += table.notes
        problems |= {problem.id: problem for problem in table_finder.problems}
        if split:
            notes.append(f"split: {_place(path, table_finder)} = {split}")
    if finders:
        unnamed = finders[paths[0]].unnamed({str(record.path) for record in records})
        if unnamed:
            tables = " and ".join(_place(path, finders[path]) for path in paths)
            notes.append(f"images not listed in {tables} and therefore not used: {unnamed:,}")
        problems |= {problem.id: problem for problem in finders[paths[0]].problems}
    source = _source(name, records, notes, grouped=bool(layout.group_column))
    return replace(source, problems=(*source.problems, *problems.values()))


def finder_for(path: Path, layout: Layout, inside: Path | None = None) -> Finder:
    """The files that a table's paths are about.

    Beside it, or in the folder that the person names.
    """
    folder = path.parent
    if layout.images:
        folder = folder / Path(layout.images).expanduser()
        if not folder.is_dir():
            raise UserError(
                f"data.images={layout.images} is not a folder: {folder} does not exist",
                f"it is relative to {path.parent}",
                code=2,
            )
    return Finder(folder, folder, inside)


def read_table(path: Path, finder: Finder, layout: Layout) -> Table:
    """A table's rows with its columns told apart; raises UserError."""
    return read_columns(
        path, read_rows(path), lambda cell: finder.candidates(as_path(cell)), layout
    )


def split_of_table(path: Path, root: Path | None = None) -> Split | None:
    """The split that a table's file name says, or else a folder that it lies in below the root.

    `train.csv`, `test_labels.csv`, `valid/_classes.csv`.
    """
    split = split_and_rest(path.stem)[0]
    if split is None and root is not None and path.is_relative_to(root):
        for part in reversed(path.relative_to(root).parts[:-1]):
            split = split or split_and_rest(part)[0]
    return split


def _place(path: Path, finder: Finder) -> str:
    """A table's path below the folder whose files it is about, for a note."""
    if path.is_relative_to(finder.root):
        return path.relative_to(finder.root).as_posix()
    return path.name


def read_records(table: Table, finder: Finder, split: str = "") -> list[Record]:
    """Every row as an image with its class, or with the reason why it is left out."""
    labels = _labels(table)
    # the folder to look in where two have the same name
    place = split_of_table(table.path, finder.root) or ""
    header = tuple(cell.casefold() for cell in table.names)
    records = []
    for row, label in zip(table.rows, labels, strict=True):
        cells = tuple(cell.casefold() for cell in row.cells)
        if table.has_header and cells == header:
            reason = ("header", "a repeated header")
            records.append(Record(row.line, printable(row.cells[0]), reason=reason))
        else:
            record = _record(row, label, table.columns, split)
            records.append(_located(record, finder, place))
    return records


def _labels(table: Table) -> list[str]:
    """The class of every row, "" where it has none.

    One-hot columns read, numbers in one spelling.
    """
    columns = table.columns
    if columns.one_hot:
        return [_hot(row, columns.one_hot, table.names) for row in table.rows]
    labels = [class_name(_cell(row, columns.label)) for row in table.rows]
    labels = ["" if label.casefold() in MISSING else label for label in labels]
    given = [label for label in labels if label]
    numbers_only = all(WHOLE.fullmatch(label) for label in given)
    if numbers_only and any("." in label for label in given):  # a column of floats: 1.0 is 1
        labels = [label.partition(".")[0] for label in labels]
    return labels


def _hot(row: Row, places: tuple[int, ...], names: tuple[str, ...]) -> str:
    """The name of the one column that holds 1; "" for none or several."""
    hot = [names[place] for place in places if _cell(row, place) in HOT]
    return class_name(hot[0]) if len(hot) == 1 else ""


def _cell(row: Row, place: int) -> str:
    return row.cells[place] if 0 <= place < len(row.cells) else ""


def _record(row: Row, label: str, columns: Columns, table_split: str) -> Record:
    """The cells of a row by meaning."""
    text = as_path(_cell(row, columns.image))
    cell = _cell(row, columns.split)
    split: str = table_split
    reason = None
    if columns.flag and cell:
        yes, no = columns.flag
        split = yes if cell.casefold() in YES else no
    elif columns.split >= 0 and cell:
        split = exact_split(cell) or ""
        if not is_split(cell):
            reason = ("ignored", f"unknown split {cell!r}, expected train, validation or test")
    group = _cell(row, columns.group)
    return Record(row.line, text, label, split, group, reason=reason)


class _MissingFileError(Exception):
    """Why a row of a table leads to no file."""


def _only_file(text: str, finder: Finder, place: str) -> Path:
    """The one file that a row names; raises _MissingFileError."""
    if not text:
        raise _MissingFileError("no path")
    if "://" in text:
        raise _MissingFileError("a URL, not a file")
    paths = finder.candidates(text, place)
    if not paths:
        raise _MissingFileError("no such file")
    if len(paths) > 1:
        names = " and ".join(printable(str(path.relative_to(finder.root))) for path in paths[:2])
        raise _MissingFileError(f"several files have this name: {names}")
    if finder.escapes(paths[0]):
        raise _MissingFileError("the path is outside the archive's folder")
    return paths[0]


def _located(record: Record, finder: Finder, place: str = "") -> Record:
    """The record with its file, or with the reason why it is left out.

    Of files with the same name, that in a folder of the record's split, or else of `place`, is it.
    """
    text = record.id
    if "\\" in text and finder.direct(text) is None:
        text = text.replace("\\", "/")  # as Windows writes paths
    record = replace(record, id=printable(text))
    if record.reason:
        return record
    try:
        path = _only_file(text, finder, record.split or place)
        status = path.stat()
    except _MissingFileError as missing:
        return replace(record, reason=("missing", str(missing)))
    except (OSError, ValueError):
        return replace(record, reason=("missing", "the file cannot be read"))
    record = replace(record, path=path, status=status)
    if not record.label and record.split != "test":
        return replace(record, reason=("unlabelled", "no label"))
    return record


def _source(name: str, records: list[Record], notes: list[str], *, grouped: bool) -> Source:
    """The source of the rows that lead to images.

    Raises UserError when none does, or none has a label.
    """
    usable = _distinct([record for record in records if record.reason is None])
    problems = []
    for record in records:
        if record.reason:
            kind, detail = record.reason
            detail = f"line {record.line}: {detail}"
            count = 0 if kind in NO_IMAGE else 1
            problems.append(Problem(record.id, kind, detail, fatal=True, count=count))
    if not usable:
        hint = "expected the columns path,label"
        if problems:
            hint = f"the first problem is {problems[0].id or 'a row'}, {problems[0].detail}"
            reasons = Counter(problem.kind for problem in problems)
            hint += "".join(f"; {count:,} {kind}" for kind, count in reasons.most_common(3))
            hint += "\n" + "\n".join(notes[:2])
        raise UserError(f"no row of {name} refers to an image", hint)
    classes = in_order((record.label for record in usable if record.label), letters=True)
    if not classes:
        raise UserError(
            f"{name} has no labels",
            "expected a column `label` beside the column `path`",
        )
    number = {label: index for index, label in enumerate(classes)} | {"": -1}
    facts = []
    for record in usable:
        assert record.status is not None
        changed = (record.path, *file_stamp(record.status))
        facts.append((record.id, record.label, record.split, *changed))
    return Source(
        name=name,
        classes=classes,
        ids=tuple(record.id for record in usable),
        labels=np.array([number[record.label] for record in usable], dtype=np.int64),
        splits=np.array([record.split for record in usable], dtype="<U10"),
        read=reader([record.path for record in usable]),
        pixels=None,
        fingerprint=digest(["csv", *facts]),
        problems=tuple(problems),
        notes=tuple(notes),
        groups=tuple(_group(record) for record in usable) if grouped else None,
    )


def _group(record: Record) -> str:
    """The record's group; a row without one is a group by itself."""
    return record.group or f"\0{record.id}"


def _distinct(records: Sequence[Record]) -> list[Record]:
    """The records with ids of their own: a path listed again gets its line number.

    The health check judges the copy.
    """
    ids: set[str] = set()
    result = []
    for record in records:
        unique = record
        if record.id in ids:
            unique = replace(record, id=f"{record.id} (line {record.line})")
        result.append(unique)
        ids.add(record.id)
    return result
