"""A training in a process of its own, and what became of it.

The process ends when the one that began it dies, however it dies: it waits at a pipe that only the other one holds open.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eyesight.runs import Run

Outcome = Run | str  # a finished run, or why there is none
TOGETHER = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from eyesight.cli.main import main
main()
"""


def train(
    arguments: Sequence[str],
    out: Path,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """`eyesight train ARGUMENTS` in a process of its own, within `folder`: its run in `out`, or why it left none.

    An unfinished run of the same recipe goes on where it was.
    """
    command = [
        sys.executable,
        "-c",
        TOGETHER,
        "train",
        *arguments,
        f"--out={out}",
        "--resume",
        "--json",
    ]
    alone = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")
    }  # as some clusters set them
    reading, writing = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 - this program with arguments that it has parsed
            command,
            capture_output=True,
            stdin=reading,
            cwd=folder,
            env={**alone, **(environment or {}), "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    return outcome(done.returncode, done.stdout, done.stderr, folder)


def outcome(code: int, printed: str, said: str, folder: Path | None = None) -> Outcome:
    """What a finished process means: the run its JSON names, or the reason it gave, or how it died."""
    try:
        answer = json.loads(printed)
    except ValueError:
        answer = {}
    if code == 0 and "run" in answer:
        return Run.open((folder or Path()) / answer["run"])
    if answer.get("error"):
        return str(answer["error"]) + (
            f" ({answer['hint']})".replace("\n", "; ") if answer.get("hint") else ""
        )
    last = next(
        (line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing"
    )
    return f"{_death(code)}: {last}"


def _death(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"it was killed by {name}" + (
        ", perhaps for want of memory" if name == "SIGKILL" else ""
    )
