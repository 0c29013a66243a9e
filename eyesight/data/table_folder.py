"""Tables among images: which of them gives the classes, and whether they contradict the folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eyesight.data.formats import csv_table
from eyesight.data.formats.columns import NoFilesError, TwoImageColumnsError, UnclearColumnsError
from eyesight.data.formats.finder import Finder, as_path
from eyesight.data.formats.listing import FileEntry
from eyesight.data.layout import Layout, setting
from eyesight.data.source import Source
from eyesight.data.vocabulary import label_rank
from eyesight.errors import UserError, listed

TABLE_ENOUGH = 0.5  # of a table's rows must lead to pictures, for it to decide the classes
MOST_CHECKED = 1 << 24  # bytes of a table beside class folders that is held against them
MOST_TABLES = 8  # beside class folders; each costs a look at all images
SEVERAL = 10  # classes, of which most have one image: these are patients or file names


@dataclass(frozen=True)
class TablesBeside:
    """The tables among the images of a data set."""

    name: str
    tables: list[Path]
    root: Path
    pictures: list[FileEntry]
    layout: Layout
    inside: Path | None

    def place(self, table: Path) -> str:
        """A table's path below the data folder."""
        return table.relative_to(self.root).as_posix()

    def finder(self, table: Path) -> Finder:
        """Where the paths in a table lead: to the images beside it, or where the person says."""
        if self.layout.images:
            layout = replace(self.layout, images=str(self.root / self.layout.images))
            return csv_table.finder_for(table, layout, self.inside)
        return Finder(table.parent, self.root, self.inside, self.pictures)


def open_tables(beside: TablesBeside) -> Source:
    """The source of the one table that names these images, or of a table for each split.

    Raises UserError where two do, and where none does: UnclearColumnsError where a table names the
    images but its columns are unclear.
    """
    finders: dict[Path, Finder] = {}
    reasons: dict[Path, UserError] = {}
    for path in beside.tables:
        try:
            finder = beside.finder(path)
            if _names_pictures(path, finder, beside.layout):
                finders[path] = finder
        except UserError as reason:
            reasons[path] = reason
    if not finders:
        if reasons:
            raise min(reasons.values(), key=_weight)
        raise _none_names_pictures(beside)
    notes = _passed_over(reasons, finders, beside)
    chosen = _one_or_splits(beside.name, finders, beside.root)
    source = csv_table.open_csv(
        beside.name, chosen, inside=beside.inside, layout=beside.layout, finders=finders
    )
    return replace(source, notes=(*source.notes, *notes))


def _passed_over(
    reasons: dict[Path, UserError], finders: Iterable[Path], beside: TablesBeside
) -> list[str]:
    """A note on each table that cannot be used though others can; raises a training table's."""
    notes: list[str] = []
    for path, reason in reasons.items():
        if isinstance(reason, NoFilesError):
            continue
        if _is_training_table(path, finders, beside.root):
            raise reason
        notes.append(f"not used: {reason.message.replace(str(path), beside.place(path))}")
    return notes


def _weight(reason: UserError) -> int:
    """Of several errors the lowest is raised: that of a table that names the images comes first."""
    if isinstance(reason, UnclearColumnsError):
        return 0
    return 2 if isinstance(reason, NoFilesError) else 1


def _is_training_table(path: Path, tables: Iterable[Path], root: Path) -> bool:
    """Whether a table is the training part, and all others are other splits.

    A table of test images may lack labels.
    """
    others = {csv_table.split_of_table(table, root) for table in tables}
    is_training = csv_table.split_of_table(path, root) == "train"
    return is_training and not others & {None, "train"}


def _none_names_pictures(beside: TablesBeside) -> NoFilesError:
    """The error for tables whose cells lead to no image, with a row and an image to compare."""
    path = beside.tables[0]
    finder = beside.finder(path)
    table = csv_table.read_table(path, finder, beside.layout)
    first = ", ".join(table.rows[0].cells[:5]) if table.rows else "missing"
    tables = listed([beside.place(table) for table in beside.tables], 5)
    seen = f"the first row of {beside.place(path)} is {first}"
    if beside.pictures:
        seen += f"; the first image is {beside.pictures[0].id}"
    return NoFilesError(
        f"no image of {beside.name} is named in {tables}",
        f"{seen}: expected the path of an image, or its name with or without extension\n"
        "use --set data.images=DIR if the table is about other images",
    )


def _names_pictures(path: Path, finder: Finder, layout: Layout) -> bool:
    """Whether most of a table's first rows lead to pictures.

    Raises UserError for unclear columns.
    """
    table = csv_table.read_table(path, finder, layout)
    split = csv_table.split_of_table(path, finder.root) or ""
    rows = table.rows[:200]
    leading = 0
    for row in rows:
        if table.columns.image < len(row.cells):
            cell = as_path(row.cells[table.columns.image])
            leading += bool(finder.candidates(cell, split))
    return leading >= TABLE_ENOUGH * len(rows)


def _one_or_splits(name: str, tables: Iterable[Path], root: Path) -> list[Path]:
    """The one table, or the tables of different splits; raises UserError for others."""
    paths = list(tables)
    if len(paths) == 1:
        return paths
    splits = [csv_table.split_of_table(path, root) for path in paths]
    if all(splits) and len(set(splits)) == len(splits):
        return paths
    names = listed([path.relative_to(root).as_posix() for path in paths], 5)
    raise UserError(
        f"several tables in {name} list its images: {names}",
        "use one of them as DATA; if each is one split, name them train.csv and test.csv, or put "
        "each into the folder of its split",
    )


def are_poor_classes(source: Source) -> bool:
    """Whether folders make no classes to learn: a single one, or most with a single image."""
    if len(source.classes) == 1:
        return True
    sizes = Counter(source.labels.tolist())
    singles = sum(size == 1 for size in sizes.values())
    return len(source.classes) >= SEVERAL and 2 * singles > len(source.classes)


def refuse_contradiction(beside: TablesBeside, source: Source) -> None:
    """Raise UserError where a table has a column of labels that are not the folders' classes.

    `img/` and `mask/` are no classes where a table calls the images `cat` and `dog`. Labels that
    each lie in one folder, such as numbers for the same classes, contradict nothing, and neither do
    predictions.
    """
    for path in beside.tables[:MOST_TABLES]:
        if path.stat().st_size <= MOST_CHECKED:
            _refuse_contradicting(path, beside, source)


def _refuse_contradicting(path: Path, beside: TablesBeside, source: Source) -> None:
    finder = Finder(path.parent, path.parent, beside.inside, beside.pictures)
    refused: TwoImageColumnsError | None = None
    try:
        try:
            table = csv_table.read_table(path, finder, Layout())
        except TwoImageColumnsError as error:
            refused = error
            table = csv_table.read_table(path, finder, Layout(image_column=error.column))
        records = csv_table.read_records(table, finder)
    except UserError:
        return
    if not table.has_header or label_rank(table.names[table.columns.label]) is None:
        return
    pairs = _labels_and_folders(records, finder, source, beside.pictures)
    labels = {label for label, _ in pairs}
    covered = {folder for _, folder in pairs}
    crossed = len(pairs) > len(labels) or len(covered) < min(2, len(source.classes))
    if len(labels) < 2 or labels & set(source.classes) or not crossed:
        return
    if refused is not None:
        raise refused
    option = setting("label_column", table.names[table.columns.label])
    raise UserError(
        f"the folders of {beside.name} give the classes {listed(source.classes, 5)}, but "
        f"{path.name} gives {listed(sorted(labels), 5)}",
        f"use {option} for the table, or --set data.class_level={_class_level(source)} for the "
        "folders",
    )


def _class_level(source: Source) -> int:
    """The level of the class folders below the data set, from 1."""
    for name, label in zip(source.ids, source.labels.tolist(), strict=True):
        folders = name.split("/")[:-1]
        if label >= 0 and source.classes[label] in folders:
            return folders.index(source.classes[label]) + 1
    return 1


def _labels_and_folders(
    records: Sequence[csv_table.Record], finder: Finder, source: Source, pictures: list[FileEntry]
) -> set[tuple[str, str]]:
    """Each label of a table with each class folder where one of its images lies."""
    names = {file.location: file.id for file in pictures}
    folder_of = dict(zip(source.ids, source.labels.tolist(), strict=True))
    pairs = set()
    for record in records:
        paths = [record.path]
        if record.reason is not None:  # a name that lies in several folders is none of their files
            paths = finder.candidates(record.id)
        for path in paths:
            folder = folder_of.get(names.get(str(path), ""), -1)
            if record.label and folder >= 0:
                pairs.add((record.label, source.classes[folder]))
    return pairs
