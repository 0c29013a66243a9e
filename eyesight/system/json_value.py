"""The values that JSON can hold, and reading them from files that anybody could have written."""

from __future__ import annotations

import json
from typing import Any, TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
JsonObject: TypeAlias = "dict[str, Json]"
DEEPEST = 100  # levels; our own files have fewer than ten


def parse_json(text: str | bytes) -> Any:
    """What `json.loads` returns; raises ValueError also for what is nested too deep.

    `json.loads` would raise RecursionError there, or whoever walks through its value.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if isinstance(text, bytes):
        opened = text.count(b"[") + text.count(b"{")
    else:
        opened = text.count("[") + text.count("{")
    if opened <= DEEPEST:
        return value
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in contents(outer)]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def contents(value: object) -> list[object]:
    """The lists and dictionaries that lie directly in a value."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    return [item for item in inner if isinstance(item, list | dict)]
