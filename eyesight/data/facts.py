"""What a run keeps of its data, in types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from eyesight.data.corrections import CorrectionFacts
from eyesight.data.decode import Problem, left_out_by_kind

PARTS = {"train": "training"}  # other parts are called as they are


class DataFacts(TypedDict, total=False):
    """What a run keeps of its data (data.json); `colours` where the target is a mask."""

    name: str
    classes: list[str]
    counts: dict[str, int]
    per_class: dict[str, list[int]]
    problems: list[dict[str, object]]
    notes: list[str]
    preparation: dict[str, object]
    store: str
    split: str
    colours: list[list[int]]
    corrections: CorrectionFacts


def problems_of(facts: DataFacts) -> list[Problem]:
    """The problems of a run's data; runs of earlier versions kept no counts."""
    problems = []
    for problem in facts.get("problems") or ():
        count = problem.get("count")
        if not isinstance(count, int):
            count = 1
        name, kind, detail = (str(problem.get(key, "")) for key in ("id", "kind", "detail"))
        problems.append(Problem(name, kind, detail, bool(problem.get("fatal")), count))
    return problems


def count_line(counts: Mapping[str, int], problems: Iterable[Problem], excluded: int = 0) -> str:
    """How many images there are, how many of them are left out, and where the others are.

    `excluded` are those that corrections leave out.
    """
    left_out = left_out_by_kind(problems)
    if excluded:
        left_out["corrections"] = excluded
    total = sum(counts.values()) + sum(left_out.values())
    parts = [f"{number:,} {PARTS.get(name, name)}" for name, number in counts.items()]
    for kind, number in left_out.items():
        parts.append(f"{number:,} left out ({kind.replace('_', ' ')})")
    return f"{total:,} images: {', '.join(parts)}"
