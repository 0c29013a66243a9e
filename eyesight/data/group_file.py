"""A file of groups: images that must stay on one side of a split, as `eyesight audit` finds them.

A CSV with the columns `id` and `group`. An image that it does not name is a group by itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from eyesight.errors import UserError
from eyesight.system.files import whole_file
from eyesight.system.tables import csv_text

COLUMNS = ("id", "group")


def write(file: Path, groups: Sequence[Sequence[str]]) -> None:
    """Write groups of ids, numbered from 1."""
    rows: list[Sequence[object]] = [COLUMNS]
    for number, group in enumerate(groups, 1):
        rows += [(image_id, number) for image_id in group]
    with whole_file(file) as opened:
        opened.write(csv_text(rows).encode("utf-8", "surrogateescape"))


def read(file: Path) -> dict[str, str]:
    """The group of each id; raises UserError for a file that cannot be read."""
    try:
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror or error}",
            "data.group_file must be a CSV file",
            code=2,
        ) from None
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise UserError(
            f"{file} is not a table: {error}", "data.group_file must be a CSV file", code=2
        ) from None
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise UserError(
            f"{file} has no columns id and group",
            "write one with eyesight audit DATA --groups FILE.csv",
            code=2,
        )
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        image_id, group = row["id"], row["group"]
        if not image_id:
            raise UserError(
                f"row {number} of {file} has no id", "write one image and its group per row", code=2
            )
        if group and groups.setdefault(image_id, group) != group:
            raise UserError(
                f"{file} puts {image_id} into two groups: {groups[image_id]} and {group}",
                "keep one row for each image",
                code=2,
            )
    return groups


def groups_by_file(ids: Sequence[str], file: str) -> tuple[tuple[str, ...], int]:
    """The group of each id, and how many ids the file does not name.

    Raises UserError where it names none of them.
    """
    groups = read(Path(file).expanduser())
    unnamed = sum(one not in groups for one in ids)
    if unnamed == len(ids):
        raise UserError(
            f"none of the images in {file} is in the data",
            f"the first image of the data is {ids[0]}",
            code=2,
        )
    return tuple(groups.get(one, f"\0{one}") for one in ids), unnamed
