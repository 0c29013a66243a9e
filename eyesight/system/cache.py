"""The cache: folders named by kind and key, written whole or not at all, and checked when opened.

An entry is `<cache>/<kind>/<key>/` with an `entry.json` that names its files and their checksums.
While it is built it lies in a folder of another name that a lock protects (`system/files.py`), so
that a killed process leaves nothing that counts. An entry that is damaged, or that an earlier
version wrote, is not returned: its owner builds it again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eyesight.errors import DiskFullError, UserError
from eyesight.system.digest import chunked_sha256, value_sha256
from eyesight.system.files import (
    LOCK,
    UNFINISHED,
    disk_error,
    lock,
    sweep,
    sync_file,
    sync_folder,
    unfinished_folder,
    whole_file,
)
from eyesight.system.json_value import parse_json

FORMAT = 1
ENTRY = "entry.json"
KINDS = {
    "runtimes": "runtimes of exported web pages",
    "stores": "prepared images",
    "masks": "prepared masks",
    "features": "features of frozen backbones",
    "archives": "unpacked archives",
    "glyphs": "characters rendered from fonts",
    "networks": "pretrained networks as ONNX files",
    "named": "downloaded data sets",
    "cluster": "runs of cluster jobs",
    "notes": "measurements and checksums",
    "activations": "features of earlier versions",
    "precision": "measurements of earlier versions",
    "zoo": "network data of earlier versions",
}
DOWNLOADS = ("named",)  # not to be had again without a connection
ELSEWHERE = "set EYESIGHT_CACHE to a writable folder with enough free space"

_verified: dict[
    Path, list[tuple[str | int, ...]]
] = {}  # entries that this process has checked, and their files then
_fresh = False
_made_here: set[Path] = set()  # entries that this process has built


@dataclass(frozen=True)
class Entry:
    """Something in the cache, for people: `state` is whole, old, or unfinished."""

    kind: str
    key: str
    name: str
    bytes: int
    used: float  # seconds since 1970
    state: str
    path: Path


def cache_dir() -> Path:
    """$EYESIGHT_CACHE, or `eyesight` in the platform's folder for caches; not created here."""
    if chosen := os.environ.get("EYESIGHT_CACHE"):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local or home / "AppData" / "Local") / "eyesight" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "eyesight"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "eyesight"


def start_fresh() -> None:
    """Ignore what earlier processes have left; each entry is built again when it is next needed.

    Of several processes that train together only the first does so; the others take what it built.
    """
    global _fresh
    _fresh = os.environ.get("RANK", "0") == "0"


def entry_path(kind: str, key: str) -> Path:
    """Where the entry of this kind and key is or will be."""
    return cache_dir() / kind / key


def recall(kind: str, key: str) -> Path | None:
    """The entry's folder, or None when it is absent, damaged, incomplete or of another format.

    Every file is read and compared with its checksum, once in each process.
    """
    folder = entry_path(kind, key)
    if _fresh and folder not in _made_here:
        return None
    if not is_whole(folder):
        return None
    with suppress(OSError):  # a cache that is only read keeps the time
        os.utime(folder / ENTRY)
        _verified[folder][0] = (ENTRY, *_state(folder / ENTRY))
    return folder


def is_whole(folder: Path) -> bool:
    """Whether the folder's files are those that were written, to the last bit."""
    try:
        description = parse_json((folder / ENTRY).read_text("utf-8"))
        checksum = description.pop("sha256")
        if description["format"] != FORMAT or checksum != value_sha256(description):
            return False
        files = dict(description["files"])
        state = [(name, *_state(folder / name)) for name in (ENTRY, *sorted(files))]
        if _verified.get(folder) == state:
            return True
        digests = chunked_sha256(folder / name for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if any(
        digest != files[path.relative_to(folder).as_posix()] for path, digest in digests.items()
    ):
        return False
    _verified[folder] = state
    return True


def _state(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def build(kind: str) -> Iterator[Path]:
    """A new folder to put an entry's files into; `keep` makes it an entry, else it is removed.

    Raises UserError when the cache cannot be written to, and DiskFullError when there is no room.
    """
    shelf = cache_dir() / kind
    try:
        _make_shelf(shelf)
        sweep(shelf)
        with unfinished_folder(shelf) as folder:
            yield folder
    except OSError as error:
        raise cache_error(error, shelf) from error


def keep(folder: Path, key: str, name: str) -> Path:
    """Make an entry of a folder from `build`, and return where it is.

    `name` tells people what it was made from. All is on the disk before the entry counts. When
    another process has built the same entry meanwhile, that one is kept. A damaged one makes way.
    """
    target = folder.with_name(key)
    _seal(folder, name)
    for _ in range(3):
        if not _fresh and is_whole(target):
            return target
        with suppress(OSError):  # another process may be doing the same at this moment
            if target.exists():
                with unfinished_folder(folder.parent) as aside:
                    target.rename(aside / "damaged")
            folder.rename(target)
            sync_folder(target.parent)
            break
    if not is_whole(target):
        raise UserError(
            f"{target} is damaged and cannot be replaced",
            "it may belong to another account: remove it, or " + ELSEWHERE,
        )
    _made_here.add(target)
    _trim_to_limit(target)
    return target


def _seal(folder: Path, name: str) -> None:
    """Write checksums, and see every file onto the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(8) as pool:  # a thousand files one after another take seconds
        list(pool.map(sync_file, files))
    digests = chunked_sha256(files)
    description: dict[str, object] = {
        "format": FORMAT,
        "name": name,
        "files": {path.relative_to(folder).as_posix(): digest for path, digest in digests.items()},
    }
    description["sha256"] = value_sha256(description)
    with whole_file(folder / ENTRY) as file:
        file.write(json.dumps(description).encode())
    for inner in folder.rglob("*"):
        if inner.is_dir():
            sync_folder(inner)
    sync_folder(folder)


def _make_shelf(shelf: Path) -> None:
    """A folder in the cache; where several accounts may write to the cache, so they may to this."""
    if shelf.is_dir():
        return
    shelf.mkdir(parents=True, exist_ok=True)
    mode = shelf.parent.stat().st_mode & 0o7777
    if mode & 0o022:
        with suppress(OSError):
            shelf.chmod(mode)


def cache_error(error: OSError, shelf: Path) -> Exception:
    """What a person is told when writing to the cache fails with `error`."""
    full = disk_error(error, shelf / "new")
    if isinstance(full, DiskFullError):
        return DiskFullError(f"the disk is full: no space left for the cache {shelf}", ELSEWHERE)
    elsewhere = error.filename is not None and not _is_inside(error.filename)
    refused = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    if error.errno in refused and not elsewhere:
        return UserError(f"cannot write to the cache {shelf}: {error.strerror}", ELSEWHERE)
    return error


def _is_inside(path: str | bytes) -> bool:
    return Path(os.fsdecode(path)).is_relative_to(cache_dir())


def read_note(topic: str, key: object) -> object:
    """What was remembered under this topic and key, a plain JSON value; None when nothing was."""
    path = _note_path(topic, key)
    if _fresh and path not in _made_here:
        return None
    try:
        note = parse_json(path.read_text("utf-8"))
        value: object = note["value"]
        if note["sha256"] == value_sha256(value):
            return value
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write_note(topic: str, key: object, value: object) -> None:
    """Remember a plain JSON value; where the cache cannot be written, it is found out again."""
    path = _note_path(topic, key)
    with suppress(OSError, DiskFullError):
        _make_shelf(path.parent.parent)
        _make_shelf(path.parent)
        with whole_file(path) as file:
            file.write(json.dumps({"value": value, "sha256": value_sha256(value)}).encode())
        _made_here.add(path)


def _note_path(topic: str, key: object) -> Path:
    return cache_dir() / "notes" / topic / f"{value_sha256(key)[:32]}.json"


def entries() -> list[Entry]:
    """Everything in the cache, the least recently used first."""
    result = []
    root = cache_dir()
    for kind in KINDS:
        for path in sorted((root / kind).glob("*")):
            if path.suffix != LOCK:
                with suppress(OSError):  # removed meanwhile
                    result.append(_describe(kind, path))
    return sorted(result, key=lambda entry: entry.used)


def _describe(kind: str, path: Path) -> Entry:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if path.name.startswith(UNFINISHED):
        used = max(file.stat().st_mtime for file in files)
        return Entry(kind, path.name, "", size, used, "unfinished", path)
    if kind in ("named", "cluster", "notes"):
        used = max(file.stat().st_mtime for file in files)
        return Entry(kind, path.name, path.name, size, used, "whole", path)
    try:
        description = parse_json((path / ENTRY).read_text("utf-8"))
        name = str(description["name"])
        used = (path / ENTRY).stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return Entry(kind, path.name, "", size, path.stat().st_mtime, "old", path)
    return Entry(kind, path.name, name, size, used, "whole", path)


def clean(*, downloads: bool = False) -> list[Entry]:
    """Remove everything that can be made again, and return it; `downloads` too where wished.

    What a living process is building stays.
    """
    for kind in KINDS:
        sweep(cache_dir() / kind)
    removed = []
    for entry in entries():
        alive = entry.state == "unfinished" and _is_held(entry.path.with_suffix(LOCK))
        if not alive and (downloads or entry.kind not in DOWNLOADS) and remove(entry.path):
            removed.append(entry)
    return removed


def _is_held(lock_path: Path) -> bool:
    try:
        with lock_path.open("r+b") as file:
            return not lock(file)
    except OSError:
        return False


def remove(path: Path) -> bool:
    """Remove an entry so that at no moment a part of it counts; False when it cannot be removed."""
    _verified.pop(path, None)
    if path.is_file():
        with suppress(OSError):
            path.unlink()
        return not path.exists()
    try:
        with unfinished_folder(path.parent) as aside:
            path.rename(aside / "removed")
    except OSError:
        return False
    return True


def trim(limit: int, keeping: Path | None = None) -> list[Entry]:
    """Remove the least recently used entries until the cache holds `limit` bytes at most."""
    listed = [entry for entry in entries() if entry.state != "unfinished"]
    total = sum(entry.bytes for entry in listed)
    removed = []
    for entry in listed:
        if total <= limit:
            break
        if entry.path != keeping and entry.kind not in DOWNLOADS and remove(entry.path):
            total -= entry.bytes
            removed.append(entry)
    return removed


def make_room(kind: str, needed: int, spare: int) -> int:
    """Remove the least recently used entries of a kind until `needed` and `spare` bytes are free.

    Returns the bytes that are free in the end, which may be too few.
    """
    shelf = cache_dir() / kind
    try:
        _make_shelf(shelf)
        sweep(shelf)
    except OSError as error:
        raise cache_error(error, shelf) from error
    oldest_first = [entry for entry in entries() if entry.kind == kind and entry.state == "whole"]
    for entry in oldest_first:
        if shutil.disk_usage(shelf).free >= needed + spare:
            break
        remove(entry.path)
    return shutil.disk_usage(shelf).free


def room(kind: str) -> int:
    """Bytes free on the disk of the cache once every entry of a kind has made way."""
    shelf = cache_dir() / kind
    try:
        _make_shelf(shelf)
    except OSError as error:
        raise cache_error(error, shelf) from error
    taken = sum(entry.bytes for entry in entries() if entry.kind == kind)
    return shutil.disk_usage(shelf).free + taken


def set_limit(limit: int | None) -> None:
    """Keep the cache below so many bytes from now on; None removes the limit."""
    _make_shelf(cache_dir())
    with whole_file(cache_dir() / "limit.json") as file:
        file.write(json.dumps({"bytes": limit}).encode())


def get_limit() -> int | None:
    """The bytes that the cache may hold, or None where no limit was set."""
    try:
        limit = parse_json((cache_dir() / "limit.json").read_text("utf-8"))["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return limit if isinstance(limit, int) else None


def _trim_to_limit(keeping: Path) -> None:
    limit = get_limit()
    if limit is not None:
        trim(limit, keeping)
