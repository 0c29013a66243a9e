"""The values that JSON can hold, and reading them from files that anybody could have written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
JsonObject: TypeAlias = "dict[str, Json]"
DEEPEST = 100  # levels; our own files have fewer than ten


def parse_json(text: str | bytes) -> Any:
    """What `json.loads` returns; raises ValueError also for what is nested too deep.

    `json.loads` would raise RecursionError there, or whoever walks through its value.
    """
    value = _parsed(text)
    if _opened(text) <= DEEPEST:
        return value
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in contents(outer)]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def parse_json_lines(lines: Sequence[bytes]) -> Any:
    """The values of lines of JSON as a list; raises ValueError if one of them is no JSON.

    A line with few brackets cannot be nested deep, so most files need no walk through their values.
    """
    text = b"[" + b",".join(lines) + b"]"
    if all(_opened(line) < DEEPEST for line in lines):
        return _parsed(text)
    return parse_json(text)


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _opened(text: str | bytes) -> int:
    """The number of brackets that open a list or an object, or stand in a string."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def contents(value: object) -> list[object]:
    """The lists and dictionaries that lie directly in a value."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    return [item for item in inner if isinstance(item, list | dict)]
