"""Which column of a table holds the files, the classes, the split and the group.

Files are told by where the cells lead, classes and splits by the columns' names, and both by what
the person says. What stays ambiguous is refused with the candidates named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyesight.data import vocabulary
from eyesight.data.formats.table_text import Row
from eyesight.data.layout import Layout, setting
from eyesight.data.source import EXTENSIONS, extension
from eyesight.data.vocabulary import MISSING, NO, YES, Split, exact_split, label_rank, path_rank
from eyesight.errors import UserError, listed, unknown

SAMPLE = 200  # rows by which columns are judged
ENOUGH = 0.5  # of the sampled rows must lead to files, for a column to be the one of the files
HOT = frozenset(["1", "1.0", "1.00", "True", "true", "TRUE"])  # in a column for each class
COLD = frozenset(["0", "0.0", "0.00", "False", "false", "FALSE"])
PIXELS = 49  # numbers from 0 to 255 in a row make an image; the smallest have 7×7
GREY = 8  # columns of pixels with other values than 0 and 1, at least; one-hot tables have few
MANY = 10  # rows; a column with another value in nearly each of so many holds no classes
Find = Callable[[str], Sequence[Path]]


class NoFilesError(UserError):
    """No cell of a table leads to an image."""


class UnclearColumnsError(UserError):
    """A table names images, but not which of its columns holds what."""


class TwoImageColumnsError(UnclearColumnsError):
    """Two columns lead to different images; `column` is the likelier one."""

    def __init__(self, column: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.column = column


@dataclass(frozen=True)
class Columns:
    """Places of the columns by meaning; -1 for none."""

    image: int
    label: int = -1
    split: int = -1
    group: int = -1
    one_hot: tuple[int, ...] = ()  # a column for each class, with 1 in the row of its images
    flag: tuple[Split, Split] | None = (
        None  # what yes and no mean in a split column such as is_valid
    )


@dataclass(frozen=True)
class Table:
    """A table's columns by name or number, its rows below the header, and which column is what."""

    path: Path
    names: tuple[str, ...]
    rows: list[Row]
    columns: Columns
    has_header: bool
    notes: tuple[str, ...]


def read_columns(path: Path, rows: list[Row], find: Find, layout: Layout) -> Table:
    """The table with its columns told apart.

    `find` gives the files that a cell may mean. Raises UserError where no column leads to files,
    where none holds classes, and where several could.
    """
    sample = rows[1 : SAMPLE + 1]
    shares = _file_shares(sample or rows, find)
    has_header = _has_header(rows, shares, find, layout)
    body = rows[1:] if has_header else rows
    width = max(len(row.cells) for row in rows[: SAMPLE + 1])
    header = rows[0].cells if has_header else ()
    names = tuple(
        header[place] if place < len(header) and header[place] else str(place + 1)
        for place in range(width)
    )
    chooser = _Chooser(path, names, body[:SAMPLE], has_header, layout)
    image = chooser.image(_file_shares(body[:SAMPLE], find), find)
    group = chooser.explicit(layout.group_column, "group_column")
    split, flag = chooser.split(image)
    one_hot: tuple[int, ...] = ()
    label = chooser.explicit(layout.label_column, "label_column")
    if label < 0:
        taken = {image, split, group}
        label = chooser.ranked_label(taken)
        if label < 0:
            one_hot = chooser.one_hot(taken)
        if label < 0 and not one_hot:
            label = chooser.only_label(taken)
    columns = Columns(image, label, split, group, one_hot, flag)
    notes = (chooser.note(columns), *chooser.notes)
    return Table(path, names, body, columns, has_header, notes)


def _file_shares(rows: Sequence[Row], find: Find) -> list[float]:
    """The share of these rows whose cell leads to a file, for each column."""
    width = max((len(row.cells) for row in rows), default=0)
    shares = []
    for place in range(width):
        cells = [row.cells[place] for row in rows if place < len(row.cells)]
        leading = sum(1 for cell in cells if cell and find(cell))
        shares.append(leading / max(1, len(rows)))
    return shares


def _has_header(rows: list[Row], shares: list[float], find: Find, layout: Layout) -> bool:
    """Whether the first row names columns.

    It leads to no file, though the rows below it do or its words say so.
    """
    first = rows[0].cells
    if any(cell and find(cell) for cell in first):
        return False
    keys = {vocabulary.column_key(cell) for cell in first}
    columns = (layout.image_column, layout.label_column, layout.split_column, layout.group_column)
    if keys & {vocabulary.column_key(name) for name in columns if name and not name.isdigit()}:
        return True
    if any(extension(cell) in EXTENSIONS for cell in first):
        return False
    has_words = any(
        label_rank(cell) is not None or vocabulary.column_key(cell) in vocabulary.PATH_COLUMNS
        for cell in first
    )
    return has_words or (len(rows) > 1 and max(shares, default=0.0) >= ENOUGH)


class _Chooser:
    """Chooses the columns of one table from its sampled rows; `notes` says what was passed over."""

    def __init__(
        self, path: Path, names: tuple[str, ...], rows: list[Row], has_header: bool, layout: Layout
    ) -> None:
        self.path = path
        self.names = names
        self.rows = rows
        self.has_header = has_header
        self.layout = layout
        self.notes: list[str] = []
        self.leads = True  # whether any cell leads to a file

    def cells(self, place: int) -> list[str]:
        """The sampled cells of a column."""
        return [row.cells[place] if place < len(row.cells) else "" for row in self.rows]

    def explicit(self, name: str, field: str) -> int:
        """The column a person names, or numbers from 1; -1 where they say nothing."""
        if not name:
            return -1
        keys = [vocabulary.column_key(other) for other in self.names]
        if name in self.names:
            return self.names.index(name)
        if vocabulary.column_key(name) in keys and vocabulary.column_key(name):
            return keys.index(vocabulary.column_key(name))
        if name.isdigit() and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        error = unknown(f"column in data.{field}", name, self.names)
        raise UserError(f"{error.message} of {self.path}", error.hint, code=2)

    def image(self, shares: list[float], find: Find) -> int:
        """The column whose cells lead to files; by its name where no cell does."""
        explicit = self.explicit(self.layout.image_column, "image_column")
        if explicit >= 0:
            return explicit
        leading = [place for place, share in enumerate(shares) if share >= ENOUGH * max(shares)]
        leading = [place for place in leading if shares[place] > 0]
        if not leading:
            self._refuse_pixels()
            self.leads = False
            return self._named_image()
        images = [place for place in leading if not vocabulary.is_mask_folder(self.names[place])]
        leading = images or leading
        best = max(
            leading, key=lambda place: (self._is_written_out(place), -path_rank(self.names[place]))
        )
        rivals = [
            place
            for place in leading
            if place != best
            and self._is_written_out(place)
            and shares[place] > 0.9 * shares[best]
            and self._differ(best, place, find)
        ]
        if rivals:
            names = f"{self.names[best]!r} and {self.names[rivals[0]]!r}"
            raise TwoImageColumnsError(
                self.names[best],
                f"two columns of {self.path} refer to files: {names}",
                f"choose one, for example {setting('image_column', self.names[best])}",
            )
        return best

    def _is_written_out(self, place: int) -> bool:
        """Whether a column's cells are names of files.

        Numbers and words may only happen to be stems.
        """
        cells = self.cells(place)
        return 2 * sum(extension(cell) in EXTENSIONS for cell in cells) > len(cells)

    def _differ(self, first: int, second: int, find: Find) -> bool:
        pairs = zip(self.cells(first), self.cells(second), strict=True)
        return any(list(find(one)) != list(find(other)) for one, other in pairs)

    def _named_image(self) -> int:
        """The column of the files where none of its files is there.

        By file names, then by its own name.
        """
        written = [place for place in range(len(self.names)) if self._is_written_out(place)]
        if written:
            return written[0]
        if not self.has_header:
            return 0
        return min(range(len(self.names)), key=lambda place: path_rank(self.names[place]))

    def split(self, image: int) -> tuple[int, tuple[Split, Split] | None]:
        """The column of the splits and, for one of yes and no, what these mean; -1 for none."""
        asked = self.layout.split_column
        if asked == "none" and "none" not in self.names:
            return -1, None
        explicit = self.explicit(asked, "split_column")
        places = [place for place in range(len(self.names)) if place != image]
        if explicit >= 0:
            places = [explicit]
        for place in places:
            key = vocabulary.column_key(self.names[place])
            cells = [cell.casefold() for cell in self.cells(place) if cell]
            if key in vocabulary.FLAG_COLUMNS and cells and set(cells) <= YES | NO:
                return place, vocabulary.FLAG_COLUMNS[key]
        for place in places:
            if self._holds_splits(place, explicit >= 0):
                return place, None
        if explicit >= 0:
            self._refuse_splits(explicit)
        return self._named_as_split(places), None

    def _named_as_split(self, places: list[int]) -> int:
        """The column called split whose values are no splits; -1 for none.

        Raises UserError unless the column is mostly empty; its few rows are named later.
        """
        for place in places:
            if vocabulary.column_key(self.names[place]) in ("split", "subset", "partition"):
                if 2 * sum(map(bool, self.cells(place))) > len(self.rows):
                    self._refuse_splits(place)
                return place
        return -1

    def _holds_splits(self, place: int, explicit: bool) -> bool:
        cells = {cell for cell in self.cells(place) if cell}
        splits = {split for split in map(exact_split, cells) if split}
        named = vocabulary.column_key(self.names[place]) in vocabulary.SPLIT_COLUMNS
        if explicit or (self.has_header and named):
            return bool(splits)
        unknown_cells = [cell for cell in cells if not is_split(cell)]
        return bool(splits) and not unknown_cells and (len(splits) > 1 or not self.has_header)

    def _refuse_splits(self, place: int) -> None:
        values = listed(sorted({cell for cell in self.cells(place) if cell})[:5])
        raise UserError(
            f"the column {self.names[place]!r} of {self.path} contains {values or 'nothing'}, "
            "which is not a split",
            "expected train, validation or test; use --set data.split_column=none to ignore "
            "the column",
        )

    def ranked_label(self, taken: set[int]) -> int:
        """The column of the classes by its name; -1 where no name says so."""
        if not self.has_header:
            return -1
        keys = [vocabulary.column_key(name) for name in self.names]
        ranks: dict[int, int] = {}
        for place in range(len(self.names)):
            rank = label_rank(self.names[place])
            is_coordinate = keys[place] == "y" and "x" in keys
            if rank is not None and place not in taken and not is_coordinate:
                ranks[place] = rank
        if not ranks:
            return -1
        best = min(ranks.values())
        candidates = [place for place in ranks if ranks[place] == best]
        if len(candidates) > 1:
            candidates = self._without_numbers(candidates)
        if len(candidates) > 1:
            raise self._ambiguous(candidates)
        passed_over = [self.names[place] for place in ranks if place != candidates[0]]
        if passed_over:
            self.notes.append(
                f"not used: {listed(passed_over, 5)} (choose another column with --set "
                "data.label_column=NAME)"
            )
        return candidates[0]

    def _without_numbers(self, candidates: list[int]) -> list[int]:
        """Of columns that say the same, the one of names.

        `class_id` numbers what `class_name` names.
        """
        first = candidates[0]
        for other in candidates[1:]:
            pairs = set(zip(self.cells(first), self.cells(other), strict=True))
            if len(pairs) != len({one for one, _ in pairs}) or len(pairs) != len(
                {two for _, two in pairs}
            ):
                return candidates
        words = [place for place in candidates if not all(map(_is_number, self.cells(place)))]
        return (words or candidates)[:1]

    def one_hot(self, taken: set[int]) -> tuple[int, ...]:
        """The columns of 0 and 1 of which each row has one 1 at most, and most rows have one."""
        if not self.has_header:
            return ()
        places = []
        for place in range(len(self.names)):
            key = vocabulary.column_key(self.names[place])
            special = key in vocabulary.FLAG_COLUMNS or key in vocabulary.FOLD_COLUMNS
            cells = set(self.cells(place))
            if place not in taken and not special and cells <= HOT | COLD:
                places.append(place)
        if len(places) < 2:
            return ()
        sums = [
            sum(row.cells[place] in HOT for place in places if place < len(row.cells))
            for row in self.rows
        ]
        if max(sums, default=0) > 1:
            several = sum(one > 1 for one in sums)
            raise self._unclear(
                f"{several} of the first {len(sums)} rows of {self.path} have a 1 in several of "
                "the columns "
                f"{listed([self.names[place] for place in places], 8)}",
                "each image can have only one class: remove rows with several, or choose a "
                "column with --set data.label_column=NAME",
            )
        return tuple(places) if 2 * sum(sums) > len(sums) else ()

    def only_label(self, taken: set[int]) -> int:
        """The one column that is left when files, splits, folds and measures are taken away."""
        left: list[int] = []
        path_like: list[int] = []
        for place in range(len(self.names)):
            key = vocabulary.column_key(self.names[place])
            passed_over = self.has_header and key in vocabulary.NO_LABEL_COLUMNS
            passed_over = passed_over or self._is_index(place)
            if place in taken or passed_over or not any(self.cells(place)):
                continue
            if self.has_header and key in vocabulary.PATH_COLUMNS:
                path_like.append(place)
            else:
                left.append(place)
        if (
            not left
        ):  # `Image,Id`: names of files lie in one, and a few ids again and again in the other
            left = [place for place in path_like if self._repeats(place)]
        if len(left) == 1:
            self._refuse_free_text(left[0])
            return left[0]
        if not left:
            raise self._unclear(
                f"{self.path} has no label column, only {listed(self.names, 12)}",
                "expected a column `label`, or choose one with --set data.label_column=NAME",
            )
        raise self._ambiguous(left)

    def _refuse_free_text(self, place: int) -> None:
        """Raise UserError for a column that is no more than left over, and never repeats."""
        values = [cell for cell in self.cells(place) if cell]
        if len(values) >= MANY and len(set(values)) > 0.9 * len(values):
            name = self.names[place]
            raise self._unclear(
                f"{self.path} has no label column: {name!r} has a different value in nearly "
                "every row",
                f"expected a column `label`; use {setting('label_column', name)} if every image is "
                "its own class",
            )

    def _repeats(self, place: int) -> bool:
        cells = self.cells(place)
        return 2 * len(set(cells)) <= len(cells)

    def _refuse_pixels(self) -> None:
        """Raise NoFilesError for tables of pixels: a column each, or a text of numbers."""
        width = len(self.names)
        bright = [place for place in range(width) if all(map(_is_pixel, self.cells(place)))]
        texts = [cell.split() for row in self.rows[:1] for cell in row.cells]
        longest = max(texts, key=len, default=[])
        is_text = len(longest) >= PIXELS and all(map(_is_pixel, longest))
        grey = [place for place in bright if not set(self.cells(place)) <= HOT | COLD]
        are_columns = len(bright) >= PIXELS and 2 * len(bright) > width and len(grey) >= GREY
        if is_text or are_columns:
            raise NoFilesError(
                f"{self.path} contains the pixels of images, not paths",
                "expected lines of path,label; save pixels as an .npz with the arrays images "
                "(N, height, width) and labels",
            )

    def _no_files(self) -> UserError:
        first = ", ".join(self.rows[0].cells[:5]) if self.rows else ""
        return NoFilesError(
            f"no cell of {self.path} is the path or name of an image; its first row is {first}",
            "expected a column of paths relative to the table, or of file names; use --set "
            "data.images=DIR if the images are elsewhere",
        )

    def _is_index(self, place: int) -> bool:
        """Whether a column is the row number of pandas: first without a name, or `Unnamed: 0`."""
        name, cells = self.names[place], self.cells(place)
        is_unnamed = (place == 0 and name == "1") or name.startswith("Unnamed: 0")
        are_numbers = all(map(str.isdigit, cells)) and len(set(cells)) == len(cells)
        return self.has_header and is_unnamed and are_numbers

    def _unclear(self, message: str, hint: str) -> UserError:
        """The error for unclear columns; a table that names no image is about something else."""
        return UnclearColumnsError(message, hint) if self.leads else self._no_files()

    def _ambiguous(self, places: list[int]) -> UserError:
        names = [self.names[place] for place in places]
        kind = "column" if self.has_header else "column number"
        return self._unclear(
            f"the classes of {self.path} could be in {kind} "
            f"{listed([repr(name) for name in names], 8)}",
            f"choose one, for example {setting('label_column', names[0])}",
        )

    def note(self, columns: Columns) -> str:
        """Which columns were used."""
        parts = [f"images = {self.names[columns.image]}"]
        if columns.one_hot:
            parts.append(f"classes = {listed([self.names[place] for place in columns.one_hot], 8)}")
        elif columns.label >= 0:
            parts.append(f"classes = {self.names[columns.label]}")
        if columns.split >= 0:
            parts.append(f"split = {self.names[columns.split]}")
        if columns.group >= 0:
            parts.append(f"group = {self.names[columns.group]}")
        folds = [
            name for name in self.names if vocabulary.column_key(name) in vocabulary.FOLD_COLUMNS
        ]
        kind = "columns" if self.has_header else "columns by number"
        text = f"{self.path.name}: {kind} {', '.join(parts)}"
        if folds and columns.split < 0 and columns.group < 0:
            text += f"; {folds[0]} is ignored"
        return text


def is_split(cell: str) -> bool:
    """Whether a cell says a split, or that there is none."""
    return exact_split(cell) is not None or cell.casefold() in ("unassigned", "none", *MISSING)


def _is_pixel(cell: str) -> bool:
    return cell.isdecimal() and len(cell) < 4 and int(cell) < 256


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell
    return True
