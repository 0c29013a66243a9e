"""Errors for people: the command line prints them without a traceback, with a hint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST = 40  # names listed in an error


class UserError(Exception):
    """An error that the person can mend.

    `status` is what the service answers over HTTP.

    Parameters
    ----------
    message
        What happened and what was expected.
    hint
        How to go on.
    code
        The exit code of the command line: 1 failed, 2 wrong usage.
    """

    status = 422

    def __init__(self, message: str, hint: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        if hint:
            self.add_note(f"hint: {hint}")


class MissingError(UserError):
    """A run, or a part of it or of its file, is missing or damaged."""

    status = 404


class DiskFullError(UserError):
    """There is no room for a file that has to be written."""

    status = 507


class TrainingFailedError(UserError):
    """A training failed after its first step, so that its run is worth keeping."""


def unknown(kind: str, name: str, names: Iterable[str]) -> UserError:
    """The error for a `name` that is not among `names`; its hint names the nearest ones."""
    names = list(names)
    folded = {other.lower(): other for other in reversed(names)}
    matches = get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    hint = f"known: {listed(names)}"
    if matches:
        hint = f"did you mean {' or '.join(folded[match] for match in matches)}?"
    return UserError(f"unknown {kind} {name!r}", hint, code=2)


def listed(names: Sequence[str], most: int = MOST) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" and {len(names) - most:,} more"
    return text
