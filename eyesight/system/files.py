"""Files and folders written whole or not at all, and locks that end with their process.

What is being written has a name that begins with `.eyesight-` and a lock. The operating system
releases the lock when the process dies, however it dies; `sweep` removes what nobody holds.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import IO

from eyesight.errors import DiskFullError

UNFINISHED = ".eyesight-"
LOCK, FOLDER, FILE = ".lock", ".part", ".tmp"
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` only when the block ends without an error.

    A symbolic link stays a link, and a file keeps its permissions. What is no regular file, such as
    /dev/stdout or a pipe, is written to directly. Raises DiskFullError when there is no room.
    """
    try:
        if _is_device(path):
            with path.open("wb") as file:
                yield file
        else:
            with _replacement(path.resolve() if path.is_symlink() else path) as file:
                yield file
    except OSError as error:
        raise disk_error(error, path) from error


def _is_device(path: Path) -> bool:
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return True
    return path.exists() and not path.is_file()


@contextmanager
def _replacement(target: Path) -> Iterator[IO[bytes]]:
    if target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
        with target.open("ab"):  # a file that may not be written is not replaced either
            pass
    else:
        mode = 0o666 & ~_umask()
    with _locked_file(target.parent, FILE) as (temporary, file):
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(mode)
            if sys.platform == "win32":
                file.close()
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            if sys.platform == "win32":
                file.close()
            temporary.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(parent: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new folder in `parent` that is removed at the end, unless the block has renamed it."""
    with _locked_file(parent, LOCK) as (lock_path, file):
        folder = lock_path.with_suffix(FOLDER)
        try:
            folder.mkdir(mode)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if sys.platform == "win32":
                file.close()
            lock_path.unlink(missing_ok=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder for temporary files, removed at the end.

    Those of killed processes are swept.
    """
    parent = Path(gettempdir())
    sweep(parent)
    with unfinished_folder(parent, mode=0o700) as folder:
        yield folder


@contextmanager
def _locked_file(parent: Path, suffix: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file that this process holds the lock of."""
    while True:
        path = parent / f"{UNFINISHED}{secrets.token_hex(8)}{suffix}"
        with path.open("xb") as file:
            lock(file, patience=1.0)
            # Another process that swept between these two lines has removed the file again.
            if path.exists():
                yield path, file
                return


def sweep(parent: Path) -> None:
    """Remove the unfinished files and folders in `parent` that no living process holds."""
    for path in parent.glob(f"{UNFINISHED}*"):
        if path.suffix in (LOCK, FILE):
            with suppress(OSError):  # another account's, or gone meanwhile
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with path.open("r+b") as file:
        if not lock(file):
            return
        shutil.rmtree(path.with_suffix(FOLDER), ignore_errors=True)
        if sys.platform != "win32":
            path.unlink()
            return
    path.unlink()


def lock(file: IO[bytes], patience: float = 0.0) -> bool:
    """Take the file's lock until it is closed.

    False when another open file still has it after `patience` seconds, or where the file system has
    no locks.
    """
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


def sync_file(path: Path) -> None:
    """Return when the file's content is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the folder's names are on the disk, where folders can be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(PermissionError):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def unique_names(names: Iterable[str]) -> list[str]:
    """File names that differ, also where case does not count: a repeated name gets a number."""
    originals = list(names)
    taken = {name.casefold() for name in originals}
    numbers = Counter[str]()
    results = []
    for name in originals:
        key = name.casefold()
        numbers[key] += 1
        unique = name
        while numbers[key] > 1:
            unique = f"{name}-{numbers[key]}"
            if unique.casefold() not in taken:
                break
            numbers[key] += 1
        taken.add(unique.casefold())
        results.append(unique)
    return results


def disk_error(error: OSError, path: Path) -> Exception:
    """`error` as a DiskFullError when it means that there is no room, or else unchanged."""
    if error.errno in FULL:
        return DiskFullError(
            f"the disk is full: {path.name} could not be written to {path.parent}",
            "free some disk space and try again",
        )
    if error.errno == errno.EFBIG:
        return DiskFullError(
            f"{path} would exceed the file size limit",
            "raise the limit (ulimit -f) and try again",
        )
    return error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
