"""What a run keeps of its data, in types."""

from __future__ import annotations

from typing import TypedDict

from eyesight.data.corrections import CorrectionFacts


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
