"""What a distillation keeps: teacher and student by accuracy, size and time, and the choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from eyesight.system.json_value import JsonObject


@dataclass(frozen=True)
class FileRecord:
    """An exported file: test accuracy, bytes, and milliseconds for one image."""

    name: str
    accuracy: float | None
    bytes: int
    milliseconds: float
    on_front: bool = True  # nothing else is as accurate, as small and as fast
    note: str = ""


@dataclass(frozen=True)
class DistilRecord:
    """The contents of `distil.json`."""

    teacher: str
    student: str  # recipe and width
    temperature: float
    images: int  # taught on
    unlabelled: int  # of them without a label of their own
    chosen: str  # of the files
    files: tuple[FileRecord, ...]

    def to_dict(self) -> JsonObject:
        """As plain JSON values."""
        return cast(JsonObject, asdict(self))

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> DistilRecord:
        """What `to_dict` gave; raises KeyError or TypeError for anything else."""
        own: Any = dict(values)
        own["files"] = tuple(FileRecord(**file) for file in own["files"])
        return DistilRecord(**own)


def is_beaten(file: FileRecord, others: list[FileRecord]) -> bool:
    """Whether another file is at least as good in every respect, and better in one."""
    for other in others:
        ours = (file.accuracy or 0.0, -file.bytes, -file.milliseconds)
        theirs = (other.accuracy or 0.0, -other.bytes, -other.milliseconds)
        if theirs != ours and all(a >= b for a, b in zip(theirs, ours, strict=True)):
            return True
    return False
