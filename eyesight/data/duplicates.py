"""What follows from exact copies: left out where they would flatter or confuse, else only noted.

Named sets hold exact copies of their own; there all are kept, so that the official counts stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyesight.data.prepare import Problem

if TYPE_CHECKING:
    from eyesight.data.source import Source

# Of two copies, the one in the later split is kept.
PRECEDENCE = {"": 0, "train": 0, "validation": 1, "test": 2}


def settle_duplicates(
    source: Source, digests: Sequence[str], usable: NDArray[np.bool_]
) -> Iterator[tuple[int, Problem]]:
    """(index, problem) for each image that has an exact copy and does not simply stay.

    What the data marks as test is never left out.
    """
    copies_of: dict[str, list[int]] = {}
    for index in np.flatnonzero(usable).tolist():
        copies_of.setdefault(digests[index], []).append(index)
    official = source.fingerprint.startswith("named:")
    for copies in copies_of.values():
        if len(copies) < 2:
            continue
        for index, kind, other in _settle(source, copies):
            fatal = not official and source.splits[index] != "test"
            yield index, Problem(source.ids[index], kind, _relation(source, kind, other), fatal)


def _settle(source: Source, copies: Sequence[int]) -> Iterator[tuple[int, str, int]]:
    """(image, kind, the copy it is compared with) for the copies that do not simply stay."""
    labels = {int(source.labels[index]) for index in copies}
    if len(labels) > 1:
        for index in copies:
            others = (copy for copy in copies if source.labels[copy] != source.labels[index])
            yield index, "conflict", next(others)
        return
    ranks = [PRECEDENCE[str(source.splits[index])] for index in copies]
    highest = max(ranks)
    kept = copies[ranks.index(highest)]
    for index, rank in zip(copies, ranks, strict=True):
        if index != kept:
            kind = "leak" if rank < highest else "duplicate"
            yield index, kind, kept


def _relation(source: Source, kind: str, other: int) -> str:
    """How an image relates to its copy, as a problem's detail."""
    if kind == "conflict":
        label = source.classes[source.labels[other]]
        return f"same as {source.ids[other]}, which is labelled {label!r}"
    if kind == "leak":
        return f"same as {source.ids[other]} in {source.splits[other]}"
    return f"same as {source.ids[other]}"


def copied_from(problem: Problem) -> str | None:
    """The id of the image that a problem's image is a copy of; None for other problems."""
    ends = {"conflict": ", which is labelled ", "leak": " in "}
    if problem.kind not in (*ends, "duplicate") or not problem.detail.startswith("same as "):
        return None
    other = problem.detail.removeprefix("same as ")
    if problem.kind in ends:
        return other.rpartition(ends[problem.kind])[0]
    return other
