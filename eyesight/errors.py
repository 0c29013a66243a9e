"""The one exception meant for people: it is printed without a traceback, with a hint on how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST = 40  # names listed in an error


class UserError(Exception):
    """Something the person can mend: `message` says what happened and what was expected, `hint` how to go on.

    `code` is the exit code of the command line: 1 failed, 2 wrong usage. `status` is what the service answers over HTTP.
    """

    status = 422

    def __init__(self, message: str, hint: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class MissingError(UserError):
    """A run, or a part of one or of its file, that is not there, or damaged."""

    status = 404


class DiskFullError(UserError):
    """There is no room for what had to be written."""

    status = 507


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among `known`; names the nearest right one."""
    names = list(known)
    folded = {other.lower(): other for other in reversed(names)}
    near = [folded[match] for match in get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {listed(names)}"
    return UserError(f"unknown {kind} {name!r}", hint, code=2)


def listed(names: Sequence[str], most: int = MOST) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (
        f" and {len(names) - most:,} more" if len(names) > most else ""
    )
