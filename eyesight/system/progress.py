"""How long-running functions talk to their caller: a line of text, or progress as (done, total)."""

from __future__ import annotations

from collections.abc import Callable

Talk = Callable[[str], None]


def silent(message: str) -> None:
    """The talk of whoever wants none."""


Progress = Callable[[int, int], None]
