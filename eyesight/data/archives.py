"""Tar and zip archives, unpacked once into the cache; nothing leaves their folder.

Links, devices, paths that leave the folder, names listed twice and bombs (by bytes, count or ratio)
are refused, never skipped: a data set that is silently incomplete would change a result.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from eyesight.data.source import hidden, path_stamp, printable
from eyesight.data.zip_names import LABELS, decoded_names
from eyesight.errors import UserError
from eyesight.system import cache
from eyesight.system.digest import file_sha256
from eyesight.system.progress import Talk, silent

FILES = "files"  # the folder inside an entry of the cache
SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
CHUNK = 1 << 20
LARGE = 1 << 30  # bytes from which reading alone takes seconds
# tarfile reads extended headers in one piece; a longer one is an attack on the memory.
HEADER_BYTES = 1 << 24


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    `ratio` counts only beyond `small` bytes, since little files of one colour shrink a lot. From
    `many` members on they must hold `mean` bytes on average: a million empty ones would only fill
    the disk's index.
    """

    bytes: int = 64 << 30
    count: int = 3_000_000
    ratio: int = 250
    small: int = 64 << 20
    many: int = 20_000
    mean: int = 32


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `open` is None for a folder."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]] | None


def is_archive(path: Path) -> bool:
    """Whether the file is a tar or a zip, by name or else by content; never an .npz."""
    if path.suffix.lower() == ".npz":
        return False
    if path.name.lower().endswith(SUFFIXES):
        return True
    with path.open("rb") as file:
        return _is_zip(file) or tarfile.is_tarfile(file)


def unpack(archive: Path, *, talk: Talk = silent, limits: Limits = LIMITS) -> tuple[Path, str]:
    """The folder in the cache that holds the archive's files, and the archive's SHA-256.

    It is unpacked at the first call, and again when its files in the cache were damaged.
    """
    try:
        checksum = _remembered_sha256(archive, talk)
        size = archive.stat().st_size
    except OSError as error:
        raise UserError(
            f"cannot read {archive}: {error.strerror or error}",
            "check the path and its permissions",
        ) from error
    key = checksum[:32]
    folder = cache.recall("archives", key)
    if folder is not None:
        return folder / FILES, checksum
    talk(f"unpacking {archive.name} ({size:,} bytes)")
    with cache.build("archives") as building:
        (building / FILES).mkdir()
        extract(archive, building / FILES, limits, talk)
        return cache.keep(building, key, archive.name) / FILES, checksum


def extract(archive: Path, folder: Path, limits: Limits = LIMITS, talk: Talk = silent) -> None:
    """Write every member below the existing `folder`.

    Raises UserError for anything unsafe, broken or too large, and may then leave a part behind.
    """
    try:
        with archive.open("rb") as file:
            if _is_zip(file):
                members = _zip_members(file, limits, talk)
            else:
                members = _tar_members(file, archive.stat().st_size, limits)
            with closing(members):
                _write(members, folder)
    except BROKEN as error:
        raise UserError(
            f"{archive.name} is damaged or not an archive: {error}",
            "download it again, or unpack it and use the folder",
        ) from error
    except OSError as error:
        if error.errno is not None:  # gzip and bzip2 say "damaged" with an OSError without number
            raise
        raise UserError(f"{archive.name} is damaged: {error}", "download it again") from error
    except UserError as error:
        raise UserError(
            f"{archive.name} was rejected: {error.message}",
            error.hint or "unpack it yourself and use the folder",
        ) from error


def safe_path(name: str) -> PurePosixPath:
    """The member's path with forward slashes.

    Raises UserError when it is absolute, names a drive or climbs out.
    """
    plain = printable(name.replace("\\", "/"))  # zips from some Windows programs carry backslashes
    path = PurePosixPath(plain)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\0" in plain
        or re.match("[A-Za-z]:", plain)
        or (os.name == "nt" and ":" in plain)
    ):
        raise UserError(f"the member {printable(name)!r} would be written outside its folder")
    return path


def _magic(file: IO[bytes]) -> bytes:
    magic = file.read(6)
    file.seek(0)
    return magic


def _is_zip(file: IO[bytes]) -> bool:
    """By its first bytes: zipfile looks at the end, where a tar may hold a zip of its own."""
    return _magic(file).startswith((b"PK\3\4", b"PK\5\6"))


def _remembered_sha256(archive: Path, talk: Talk) -> str:
    """The archive's checksum, read again only when the file may have changed."""
    stamp = path_stamp(archive)
    remembered = cache.read_note("archives", stamp)
    if isinstance(remembered, str):
        return remembered
    size = archive.stat().st_size
    if size > LARGE:
        talk(f"reading {archive.name} ({size:,} bytes) for its checksum")
    checksum = file_sha256(archive)
    cache.write_note("archives", stamp, checksum)
    return checksum


def _write(members: Iterator[Member], folder: Path) -> None:
    """Copy the members that are a person's.

    Two of one name are refused, as is a file where a folder must be.
    """
    for member in members:
        path = safe_path(member.name)
        if not path.parts and member.open is not None:
            raise UserError("one of its files has no name")
        if not path.parts or any(hidden(part) for part in path.parts):
            continue
        target = folder / path
        try:
            if member.open is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, CHUNK)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"two members share the name {str(path)!r}") from error


def _check(limits: Limits, total: int, count: int, compressed: int) -> None:
    """Raise UserError when the archive unpacks to too much."""
    if count > limits.count:
        raise UserError(f"it has more than {limits.count:,} members")
    if count > limits.many and total < limits.mean * count:
        raise UserError(f"it has more than {limits.many:,} nearly empty members")
    if total > limits.bytes:
        raise UserError(f"it unpacks to more than {limits.bytes:,} bytes")
    if total > max(limits.small, limits.ratio * compressed):
        raise UserError(
            f"it unpacks to more than {limits.ratio} times its size, like an archive bomb"
        )


def _zip_members(file: IO[bytes], limits: Limits, talk: Talk) -> Generator[Member, None, None]:
    """The members of a zip; sizes are checked before the first byte is unpacked.

    zipfile reads no more of a member than it declares.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        compressed = sum(entry.compress_size for entry in entries)
        compressed = min(compressed, os.fstat(file.fileno()).st_size)
        _check(limits, sum(entry.file_size for entry in entries), len(entries), compressed)
        names, encoding = decoded_names(entries)
        if encoding:
            talk(
                f"the archive does not state the encoding of its names; using {encoding} "
                f"({LABELS[encoding]})"
            )
        for entry, name in zip(entries, names, strict=True):
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"the member {printable(name)!r} is a link or a device")
            if entry.flag_bits & 1:
                raise UserError(
                    "it is protected by a password",
                    "unpack it with the password and use the folder",
                )
            is_folder = name.endswith(("/", "\\"))
            opener = None if is_folder else partial(archive.open, entry)
            yield Member(name, entry.file_size, opener)


def _tar_members(file: IO[bytes], compressed: int, limits: Limits) -> Generator[Member, None, None]:
    """The members of a tar, in one pass forward."""
    capped: Any = _Capped(_decompressed(file), compressed, limits)
    with closing(capped.stream), tarfile.open(fileobj=capped, mode="r:") as archive:
        total = 0
        count = 0
        while (entry := archive.next()) is not None:
            count += 1
            archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
            if not (entry.isdir() or entry.isreg()) or entry.issparse():
                raise UserError(f"the member {printable(entry.name)!r} is a link or a device")
            total += entry.size
            _check(limits, total, count, max(compressed, 1))
            opener = None if entry.isdir() else partial(_contents, archive, entry)
            yield Member(entry.name, entry.size, opener)
        # tarfile takes a broken header for the end.
        if capped.latest.strip(b"\0") or len(capped.latest) < tarfile.BLOCKSIZE:
            raise UserError("it is truncated or damaged", "download it again")
        while capped.read(tarfile.RECORDSIZE):  # to the very end, where gzip keeps its checksum
            pass


def _contents(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    contents = archive.extractfile(entry)
    assert contents is not None
    return contents


def _decompressed(file: IO[bytes]) -> Any:
    """The stream inside gzip, bzip2 or xz, told by the first bytes."""
    magic = _magic(file)
    for start, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if magic.startswith(start):
            return opener(file)
    return file


class _Capped:
    """A stream that raises as soon as more is read from it than the archive may unpack to."""

    def __init__(self, stream: IO[bytes], compressed: int, limits: Limits) -> None:
        self.stream = stream
        self.compressed = max(compressed, 1)
        self.limits = limits
        self.latest = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_BYTES:
            raise UserError("it has an invalid header length")
        self._check(self.stream.tell() + size - tarfile.RECORDSIZE)
        self.latest = self.stream.read(size)
        return self.latest

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(position - tarfile.RECORDSIZE)
        return self.stream.seek(position, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def _check(self, total: int) -> None:
        _check(self.limits, total, 0, self.compressed)
