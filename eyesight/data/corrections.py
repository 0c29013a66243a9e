"""Corrections of labels: a small CSV beside the data, which never touches the images.

Each row names an image by id and by the hash of its content, so that corrections survive renamed
folders. The later of two rows about one image counts. An empty `new` leaves the image out, and so
does `UNTOLD`, which says that nobody can tell its class; `new` equal to `old` confirms the label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from eyesight.errors import UserError
from eyesight.system.digest import sha256
from eyesight.system.files import whole_file
from eyesight.system.tables import csv_text

SUFFIX = ".corrections.csv"
BESIDE = "beside"  # of data.corrections: the file beside the data, where there is one
NONE = "none"
AUDIT = "audit"  # who suggested what no person has looked at
UNTOLD = "(cannot be told)"  # a `new` of images whose class nobody can tell
HALF = 0.5  # of the rows at least must be about images of the data


class CorrectionFacts(TypedDict):
    """What a run keeps of the corrections that it used."""

    file: str
    sha256: str
    rows: int
    relabelled: int
    excluded: int
    confirmed: int
    untold: int
    refused: list[str]


@dataclass(frozen=True)
class Correction:
    """One row: `content` is the SHA-256 of the image, `when` is in ISO 8601."""

    id: str
    content: str
    old: str
    new: str
    who: str
    when: str

    @property
    def leaves_out(self) -> bool:
        """Whether the image is left out."""
        return self.new in ("", UNTOLD)


@dataclass(frozen=True)
class Conflict:
    """Two corrections of one image that disagree."""

    first: Correction
    second: Correction

    def __str__(self) -> str:
        one = f"{self.first.new or 'left out'} ({self.first.who})"
        other = f"{self.second.new or 'left out'} ({self.second.who})"
        return f"{self.first.id}: {one} or {other}"


@dataclass(frozen=True, eq=False)
class Applied:
    """Labels after corrections.

    `labels` (int64 N) and `excluded` (bool N) are about the images of the data; `machine` (bool N)
    marks rows that no person has confirmed. `refused` says which rows were not applied, and why.
    """

    labels: NDArray[np.int64]
    excluded: NDArray[np.bool_]
    machine: NDArray[np.bool_]
    confirmed: int
    untold: int
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Corrections:
    """Corrections of one data set, in the order in which they were made."""

    rows: tuple[Correction, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Correction]:
        return iter(self.rows)

    @staticmethod
    def read(file: str | Path) -> Corrections:
        """The corrections in a file; raises UserError for a file that is none."""
        path = Path(file)
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"cannot read the corrections {path}: {reason}",
                "use a file written by `eyesight review` or `eyesight audit --corrections`",
            ) from error
        try:
            header, *lines = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
        except csv.Error as error:
            raise UserError(
                f"{path} is not a corrections file: {error}", f"expected {','.join(columns())}"
            ) from error
        if header != list(columns()):
            raise UserError(
                f"{path} is not a corrections file: its first line is {','.join(header)[:80]!r}",
                f"expected {','.join(columns())}, separated by commas",
            )
        rows = []
        for number, row in enumerate(lines, 2):
            if not row:  # an empty line, as editors leave at the end
                continue
            if len(row) != len(header) or not row[1]:
                raise UserError(
                    f"{path}, line {number}: expected {len(header)} values, found {len(row)}",
                    "correct or remove the line",
                )
            rows.append(Correction(*row))
        return Corrections(tuple(rows))

    def write(self, file: str | Path) -> None:
        """Write the corrections, whole or not at all."""
        text = csv_text([columns(), *map(astuple, self.rows)])
        with whole_file(Path(file)) as opened:
            opened.write(text.encode("utf-8", "surrogateescape"))

    def sha256(self) -> str:
        """A hash of all rows."""
        return sha256(repr([astuple(row) for row in self.rows]).encode())

    def latest(self) -> dict[str, Correction]:
        """The row that counts for each content hash."""
        return {row.content: row for row in self.rows}

    def merge(self, other: Corrections) -> tuple[Corrections, tuple[Conflict, ...]]:
        """The corrections of both, and what they disagree about, which is in neither.

        A person's row is preferred to the audit's.
        """
        mine = self.latest()
        theirs = other.latest()
        merged = []
        conflicts = []
        for content in dict.fromkeys([*mine, *theirs]):
            first = mine.get(content)
            second = theirs.get(content)
            if first is None or second is None or first.new == second.new:
                row = first or second
                assert row is not None
                merged.append(row)
            elif AUDIT in (first.who, second.who):
                merged.append(second if first.who == AUDIT else first)
            else:
                conflicts.append(Conflict(first, second))
        return Corrections(tuple(merged)), tuple(conflicts)

    def apply(
        self,
        ids: Sequence[str],
        contents: Sequence[str],
        labels: NDArray[np.int64],
        class_names: Sequence[str],
        file: str = "the corrections",
        *,
        whole: bool = True,
    ) -> Applied:
        """The labels of a data set with the corrections applied.

        Raises UserError for corrections of another data set, and for classes that the data does not
        have. Of a part of a data set, `whole` is False: few of the corrections may be about it.
        """
        places: dict[str, list[int]] = {}
        for place, content in enumerate(contents):
            places.setdefault(content, []).append(place)
        rows = with_renamed_classes(self.latest(), places, labels, class_names)
        self._check(rows, places, class_names, file, whole=whole)
        number = {name: place for place, name in enumerate(class_names)}
        corrected = labels.copy()
        excluded = np.zeros(len(labels), dtype=bool)
        machine = np.zeros(len(labels), dtype=bool)
        confirmed = 0
        untold = 0
        refused = []
        for content, row in rows.items():
            if content not in places:
                reason = "its content has changed" if row.id in ids else "it is no longer there"
                refused.append(f"{row.id}: {reason}")
            for place in places.get(content, ()):
                now = class_names[labels[place]] if labels[place] >= 0 else ""
                if row.new == now:
                    confirmed += 1
                elif row.old != now:
                    refused.append(f"{row.id}: its label is now {now!r} instead of {row.old!r}")
                elif row.leaves_out:
                    excluded[place] = True
                    untold += row.new == UNTOLD
                    machine[place] = row.who == AUDIT
                else:
                    corrected[place] = number[row.new]
                    machine[place] = row.who == AUDIT
        return Applied(corrected, excluded, machine, confirmed, untold, tuple(refused))

    def _check(
        self,
        rows: dict[str, Correction],
        places: dict[str, list[int]],
        class_names: Sequence[str],
        file: str,
        *,
        whole: bool,
    ) -> None:
        """Raise UserError unless these corrections can be about this data."""
        present = sum(content in places for content in rows)
        if whole and present < HALF * len(rows):
            raise UserError(
                f"{file} belongs to another data set: "
                f"{present} of its {len(rows)} images are in this one",
                "name the right file with --set data.corrections=FILE, or ignore it with "
                "--set data.corrections=none",
            )
        strangers = sorted({row.new for row in rows.values()} - {*class_names, "", UNTOLD})
        if strangers:
            listed = ", ".join(list(class_names)[:20])
            raise UserError(
                f"{file} contains classes that the data does not have: {', '.join(strangers[:5])}",
                f"the classes are {listed}; if a class was renamed, write its new name into the "
                "columns old and new, or ignore the file with "
                "--set data.corrections=none",
            )


def with_renamed_classes(
    rows: dict[str, Correction],
    places: dict[str, list[int]],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Correction]:
    """The rows with the present names of classes whose folders were renamed.

    A class was renamed if it is no class of the data, and all images that carried it are now in one
    class that the corrections do not name.
    """
    named = {row.old for row in rows.values()} | {row.new for row in rows.values()}
    now: dict[str, set[str]] = {}
    for content, row in rows.items():
        for place in places.get(content, ()):
            name = class_names[labels[place]] if labels[place] >= 0 else ""
            now.setdefault(row.old, set()).add(name)
    renamed = {}
    for old, names in now.items():
        if old not in class_names and len(names) == 1 and not names & named:
            renamed[old] = names.pop()
    return {
        content: replace(row, old=renamed.get(row.old, row.old), new=renamed.get(row.new, row.new))
        for content, row in rows.items()
    }


def columns() -> tuple[str, ...]:
    """The first line of a file of corrections."""
    return tuple(field.name for field in fields(Correction))


def is_corrections(name: str) -> bool:
    """Whether a file of this name holds corrections, which are never read as labels."""
    return name.lower().endswith(SUFFIX)


def beside(where: str) -> Path:
    """Where the corrections of a data set lie.

    NAME.corrections.csv beside its folder or file, or here for a named set.
    """
    path = Path(where).expanduser()
    if not path.exists():
        return Path(f"{path.name}{SUFFIX}")
    name = path.resolve().name
    if path.is_file():
        name = name.split(".")[0] or name
    return path.resolve().parent / f"{name}{SUFFIX}"


def corrections_for(setting: str, where: str) -> tuple[Path, Corrections] | None:
    """The corrections that `data.corrections` asks for, with their file; None where there are none.

    Raises UserError for a named file that cannot be read.
    """
    if setting in ("", NONE):
        return None
    if setting != BESIDE:
        file = Path(setting).expanduser()
        return file, Corrections.read(file)
    file = beside(where)
    if not file.is_file():
        return None
    return file, Corrections.read(file)


def orphans(where: str) -> list[Path]:
    """Files of corrections beside the data whose own data set is no longer there.

    It may have been renamed.
    """
    path = Path(where).expanduser()
    if not path.exists():
        return []
    folder = path.resolve().parent
    present = {
        other.name.split(".")[0] for other in folder.iterdir() if not is_corrections(other.name)
    }
    return [
        file
        for file in sorted(folder.glob(f"*{SUFFIX}"))
        if file.name.removesuffix(SUFFIX).split(".")[0] not in present
    ]
