"""How a data set is laid out, where a person says it: which folder, which column, which level."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from shlex import quote

from eyesight.errors import UserError
from eyesight.recipe import Data


@dataclass(frozen=True)
class Layout:
    """Explicit answers to what is otherwise read from the data.

    An empty one is read from the data.
    """

    images: str = ""  # folder of the images, relative to the data set or absolute
    image_column: str = ""  # of a table: name, or number from 1
    label_column: str = ""
    split_column: str = ""  # "none": the table gives no split
    group_column: str = ""
    group_pattern: str = ""  # regular expression searched in an image's id
    group_file: str = ""  # CSV of ids and groups
    class_level: int = 0  # the class is the folder at this level below the data set, from 1

    @classmethod
    def of(cls, data: Data) -> Layout:
        """The layout that a recipe's data group gives."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(cls)})

    def set_fields(self, *, without: tuple[str, ...] = ()) -> list[str]:
        """The fields that say something."""
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) and name not in without]

    @property
    def names_columns(self) -> bool:
        """Whether something is said that only a table can satisfy."""
        columns = (self.image_column, self.label_column, self.split_column, self.group_column)
        return any(columns)


def setting(field: str, value: str) -> str:
    """The command line's option for a field of `data`, quoted for a shell."""
    return f"--set {quote(f'data.{field}={value}')}"


def group_names(ids: tuple[str, ...], pattern: str) -> tuple[tuple[str, ...], int]:
    """The group of each id by a regular expression, and how many ids it does not match.

    The group is what the first parentheses match, or else the whole match; an id without a match is
    a group by itself. Raises UserError for an invalid expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"data.group_pattern is not a valid regular expression: {error}",
            "for example --set 'data.group_pattern=patient(\\d+)'",
            code=2,
        ) from None
    groups: list[str] = []
    unmatched = 0
    for name in ids:
        match = expression.search(name)
        if match is None:
            unmatched += 1
            groups.append(f"\0{name}")
        elif expression.groups:
            groups.append(match[1] or "")
        else:
            groups.append(match[0])
    return tuple(groups), unmatched
