"""Programs of this package run as child processes, and what they report."""

from __future__ import annotations


def last_error(said: str) -> str:
    """What a command of ours complained of at last."""
    lines = (
        [line for line in said.splitlines() if line.startswith("error: ")]
        or said.splitlines()
        or ["no reason was given"]
    )
    return lines[-1].removeprefix("error: ")
