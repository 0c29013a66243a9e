"""Files written whole or not at all, locks that the system releases when their process dies, and scratch folders swept by those locks."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, gettempdir
from typing import IO

from eyesight.errors import DiskFullError

SCRATCH, HELD = (
    "eyesight-scratch-",
    "held",
)  # how scratch folders begin, and the file in each that its process keeps locked
DAY = 86_400.0  # seconds after which a folder without such a file was left behind, not begun


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` only when the block ends well; UserError when the disk is full."""
    temporary = None
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(
            0o666 & ~_umask()
        )  # a temporary file is private, what replaces `path` should not be
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def distinct(names: Iterable[str]) -> list[str]:
    """Names for files in one folder: each its own, the later of equal ones with a number that makes it no other's; case makes none."""
    wanted = list(names)
    taken, numbers = {name.casefold() for name in wanted}, Counter[str]()
    found = []
    for name in wanted:
        numbers[key := name.casefold()] += 1
        chosen = name if numbers[key] == 1 else f"{name}-{numbers[key]}"
        while chosen != name and chosen.casefold() in taken:
            numbers[key] += 1
            chosen = f"{name}-{numbers[key]}"
        taken.add(chosen.casefold())
        found.append(chosen)
    return found


def disk_error(error: OSError, path: Path) -> Exception:
    """`error` as a DiskFullError when it means a full disk, or else unchanged."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return DiskFullError(
            f"the disk is full: {path.name} could not be written to {path.parent}",
            "free some space and repeat",
        )
    return error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def lock(file: IO[bytes], patience: float = 0.0) -> bool:
    """Take the file's lock until it is closed; False when another open file still has it after `patience` seconds."""
    end = time.monotonic() + patience
    while not _try_lock(file):
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)
    return True


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder among the system's temporary ones that is gone afterwards, or swept away by another process once this one was killed."""
    sweep()
    with (
        TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as folder,
        (Path(folder) / HELD).open("wb") as held,
    ):
        lock(held)
        held.write(
            b"1"
        )  # only from here on the lock tells: while the file is empty, nobody tries it
        held.flush()
        yield Path(folder)


def sweep() -> None:
    """Remove the scratch folders whose processes were killed: nobody holds their locks."""
    for folder in Path(gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):  # another user's, or gone by now
            if _is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    held = folder / HELD
    if not held.is_file() or not held.stat().st_size:
        return time.time() - folder.stat().st_mtime > DAY
    with held.open("r+b") as file:
        return lock(file)
