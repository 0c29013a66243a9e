"""A file of corrections that a person is writing: every decision is saved at once.

Others may write to the same file meanwhile, such as a second page or a second program: it is read
again before anything is added, under a lock. The file is a history, so that undoing a decision
brings back the one before it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock

from eyesight.data.corrections import AUDIT, Correction, Corrections
from eyesight.errors import UserError
from eyesight.system.digest import sha256
from eyesight.system.files import lock

PATIENCE = 10.0  # seconds for another program's turn
MOST_NAME = 80  # characters


class CorrectionFile:
    """The corrections in a file, as one person adds to them; safe to use from several threads."""

    def __init__(self, path: Path, who: str) -> None:
        self.path = path
        self.who = checked_name(who)
        self._lock = RLock()
        self._stamp: tuple[int, ...] | None = None
        self._corrections = Corrections()
        self._read()

    @property
    def corrections(self) -> Corrections:
        """All rows of the file as it is now."""
        with self._lock:
            self._read()
            return self._corrections

    @property
    def version(self) -> str:
        """Another text whenever the rows are others."""
        return self.corrections.sha256()[:16]

    def decide(self, decisions: Sequence[tuple[str, str, str, str]]) -> None:
        """Add decisions (id, content, old, new) that were made together."""
        with self._turn():
            when = self._moment()
            rows = [Correction(*decision, self.who, when) for decision in decisions]
            self._write(Corrections((*self._corrections.rows, *rows)))

    def undo(self) -> tuple[Correction, ...]:
        """Remove what this person decided last, and return it; nothing where there is nothing."""
        with self._turn():
            mine = [row for row in self._corrections if row.who == self.who]
            if not mine:
                return ()
            last = mine[-1].when
            undone = tuple(row for row in mine if row.when == last)
            kept = (row for row in self._corrections if row not in undone)
            self._write(Corrections(tuple(kept)))
            return undone

    def _moment(self) -> str:
        """Now, other than any moment before: by it what was decided together is known."""
        earlier = {row.when for row in self._corrections if row.who == self.who}
        now = datetime.now(UTC)
        while now.isoformat(timespec="microseconds") in earlier:
            now += timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")

    def _read(self) -> None:
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return
        corrections = Corrections()
        if stamp is not None:
            corrections = Corrections.read(self.path)
        self._corrections = corrections
        self._stamp = stamp

    def _current_stamp(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _write(self, corrections: Corrections) -> None:
        try:
            corrections.write(self.path)
        except OSError as error:
            raise UserError(
                f"cannot write the corrections {self.path}: {error.strerror}",
                "name a file in a writable folder with --corrections",
            ) from error
        self._corrections = corrections
        self._stamp = self._current_stamp()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """This thread's and this program's turn to change the file, which is read again."""
        with self._lock, _locked(self.path):
            self._read()
            yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other programs of this person from changing the file meanwhile."""
    name = sha256(os.fsencode(path.resolve()))[:16]
    lock_path = Path(tempfile.gettempdir()) / f"eyesight-corrections-{name}"
    try:
        file = lock_path.open("ab")
    except OSError:  # another account's: the file itself is replaced whole all the same
        yield
        return
    with file:
        if not lock(file, patience=PATIENCE):
            raise UserError(
                f"another program has locked {path} for {PATIENCE:.0f} seconds",
                "stop it, or try again",
            )
        yield


def checked_name(who: str) -> str:
    """The name of the person who decides; raises UserError for one that cannot be kept."""
    name = " ".join(who.split())
    if not name or len(name) > MOST_NAME or name == AUDIT:
        raise UserError(
            f"{who[:MOST_NAME]!r} is not a valid reviewer name",
            f"use --who NAME with up to {MOST_NAME} characters, other than {AUDIT}",
            code=2,
        )
    return name


def account_name() -> str:
    """The name of the account that runs this program."""
    import getpass

    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "somebody"
