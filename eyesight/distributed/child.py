"""A training in a process of its own, and what became of it.

The process ends when the one that began it dies, however it dies: it waits at a pipe that only the
other one holds open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from eyesight.runs import Run
from eyesight.system.child_process import describe_exit, last_error, run_eyesight

Outcome = Run | str  # a finished run, or why there is none
ALONE = {"RANK": "0", "WORLD_SIZE": "1"}  # whatever the environment says of other processes


def train(
    arguments: Sequence[str],
    out: Path,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `eyesight train ARGUMENTS` in a process of its own: its run in `out`, or the reason.

    An unfinished run of the same recipe goes on where it was.
    """
    done = run_eyesight(
        "train",
        *arguments,
        f"--out={out}",
        "--resume",
        "--json",
        folder=folder,
        environment={**ALONE, **(environment or {})},
    )
    return outcome(done.code, done.stdout, done.stderr, folder)


def outcome(code: int, printed: str, errors: str, folder: Path | None = None) -> Outcome:
    """The run that a finished process names, or the reason it gave, or how it died."""
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
    return f"it {describe_exit(code)}: {last_error(errors)}"
