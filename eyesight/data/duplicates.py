"""What follows from exact copies: left out where they would flatter or confuse, only noted where the data is official.

Named sets hold exact copies of their own; there all are kept, so that the official counts stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyesight.data.prepare import Problem

if TYPE_CHECKING:
    from eyesight.data.opening import Source

PRECEDENCE = {
    "": 0,
    "train": 0,
    "validation": 1,
    "test": 2,
}  # of two copies, the one in the later split is kept


def settle_duplicates(
    source: Source, digests: list[str], usable: NDArray[np.bool_]
) -> Iterator[tuple[int, Problem]]:
    """What follows for each picture that has an exact copy; what the data marks as test is never left out."""
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(usable).tolist():
        groups.setdefault(digests[index], []).append(index)
    official = source.fingerprint.startswith("named:")
    for copies in groups.values():
        if len(copies) > 1:
            for index, kind, other in _settle(source, copies):
                fatal = not official and source.splits[index] != "test"
                yield index, Problem(source.ids[index], kind, _relation(source, kind, other), fatal)


def _settle(source: Source, copies: list[int]) -> Iterator[tuple[int, str, int]]:
    """(picture, kind, the copy it is held against) for the copies that do not simply stay."""
    if len({int(source.labels[index]) for index in copies}) > 1:
        for index in copies:
            yield (
                index,
                "conflict",
                next(other for other in copies if source.labels[other] != source.labels[index]),
            )
        return
    ranks = [PRECEDENCE[str(source.splits[index])] for index in copies]
    kept = copies[ranks.index(max(ranks))]
    for index, rank in zip(copies, ranks, strict=True):
        if index != kept:
            yield index, "leak" if rank < max(ranks) else "duplicate", kept


def _relation(source: Source, kind: str, other: int) -> str:
    if kind == "conflict":
        return (
            f"same as {source.ids[other]}, which is called {source.classes[source.labels[other]]!r}"
        )
    where = f" in {source.splits[other]}" if kind == "leak" else ""
    return f"same as {source.ids[other]}{where}"


def copied_from(problem: Problem) -> str | None:
    """The id of the image that a problem's image is an exact copy of, or None for other problems."""
    ends = {"conflict": ", which is called ", "leak": " in "}
    if problem.kind not in (*ends, "duplicate") or not problem.detail.startswith("same as "):
        return None
    other = problem.detail.removeprefix("same as ")
    if problem.kind in ends:
        return other.rpartition(ends[problem.kind])[0]
    return other
