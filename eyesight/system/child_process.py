"""Programs of this package run as child processes, and what they report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import IO

# A child ends when its parent dies, however it dies: it waits at a pipe that only the parent holds.
WITH_PARENT = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from eyesight.cli.main import main
main()
"""


@dataclass(frozen=True)
class Finished:
    """How a child process ended: its exit code (negative for a signal) and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The reason that the program gave last, without its hint."""
        return last_error(self.stderr)

    @property
    def hint(self) -> str:
        """The hint that the program gave last, or nothing."""
        return self.stderr.rpartition("hint: ")[2].strip() if "hint: " in self.stderr else ""


def run_eyesight(
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run `eyesight ARGUMENTS` to its end in a process that ends with this one."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 - this program with arguments that it has parsed
            [sys.executable, "-c", WITH_PARENT, *arguments],
            stdin=reading,
            capture_output=True,
            cwd=folder,
            env={**os.environ, **(environment or {}), "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    return Finished(done.returncode, done.stdout, done.stderr)


def start_eyesight(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Begin `eyesight ARGUMENTS` in a process whose standard input is a pipe."""
    return subprocess.Popen(  # noqa: S603 - this program with arguments that it has parsed
        [sys.executable, "-m", "eyesight", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
    )


def start_with_parent(
    arguments: Sequence[str],
    *,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Begin `eyesight ARGUMENTS` in a process that ends with this one; its talk is a pipe."""
    return subprocess.Popen(  # noqa: S603 - this program with arguments that it has parsed
        [sys.executable, "-c", WITH_PARENT, *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
    )


def last_error(text: str) -> str:
    """The last `error:` line of what a command of ours wrote, or else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    return lines[-1] if lines else "no reason was given"


def describe_exit(code: int) -> str:
    """An exit code in words: "ended with exit code 1", "was killed by SIGKILL …"."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = str(-code)
    if -code in set(Signals):
        name = Signals(-code).name
    if name == "SIGKILL":
        return "was killed by SIGKILL, probably because it ran out of memory"
    return f"was killed by {name}"
