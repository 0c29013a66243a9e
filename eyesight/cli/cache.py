"""`eyesight cache`: list and clean the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eyesight.cli.options import AsJson, app, say, show_json
from eyesight.errors import UserError

if TYPE_CHECKING:
    from eyesight.system.cache import Entry

NAME_WIDTH = 36


@app.command("cache")
def cache_(
    clean: Annotated[
        bool, typer.Option("--clean", help="remove everything that can be created again")
    ] = False,
    downloads: Annotated[
        bool, typer.Option("--downloads", help="with --clean: also remove downloaded data sets")
    ] = False,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="20G|none",
            help=(
                "limit the size of the cache from now on; the least recently used entries "
                "are removed first"
            ),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the contents of the cache. Clean it, or limit its size."""
    from eyesight.system import cache

    if downloads and not clean:
        raise UserError("--downloads needs --clean", "eyesight cache --clean --downloads", 2)
    removed: list[Entry] = []
    if limit is not None:
        removed += _limit(limit)
    if clean:
        removed += cache.clean(downloads=downloads)
    entries = cache.entries()
    if as_json:
        show_json(
            {
                "folder": str(cache.cache_dir()),
                "limit": cache.get_limit(),
                "bytes": sum(entry.bytes for entry in entries),
                "entries": [_values(entry) for entry in entries],
                "removed": [_values(entry) for entry in removed],
            }
        )
        return
    if removed:
        freed = sum(entry.bytes for entry in removed)
        say(f"removed {len(removed):,} entries, {_size(freed)}")
    say(f"{cache.cache_dir()}: {_size(sum(entry.bytes for entry in entries))}{_of_limit()}")
    for kind, purpose in cache.KINDS.items():
        _show_kind(purpose, [entry for entry in entries if entry.kind == kind])


def _limit(text: str) -> list[Entry]:
    """Set or remove the limit; the entries that had to go."""
    from eyesight.system import cache, memory

    if text == "none":
        cache.set_limit(None)
        return []
    try:
        limit = memory.parse_size(text)
    except ValueError:
        raise UserError(
            f"--limit {text!r} is not a size", "write it as 500M or 20G, or none", 2
        ) from None
    cache.set_limit(limit)
    return cache.trim(limit)


def _of_limit() -> str:
    from eyesight.system import cache

    limit = cache.get_limit()
    return "" if limit is None else f" of {_size(limit)}"


def _show_kind(purpose: str, entries: Sequence[Entry]) -> None:
    """A heading and a line for each entry, the most recently used first."""
    if not entries:
        return
    say(f"\n{purpose} ({_size(sum(entry.bytes for entry in entries))})")
    for entry in reversed(entries):
        name = entry.name or entry.key
        if len(name) > NAME_WIDTH:
            name = "…" + name[1 - NAME_WIDTH :]
        state = "" if entry.state == "whole" else f"  {_STATES[entry.state]}"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        say(f"  {name:<{NAME_WIDTH}} {_size(entry.bytes):>10}  used {used}{state}")


_STATES = {
    "old": "from another version of eyesight, unused",
    "unfinished": "in progress, or left by a killed process",
}


def _values(entry: Entry) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "key": entry.key,
        "name": entry.name,
        "bytes": entry.bytes,
        "used": entry.used,
        "state": entry.state,
        "path": str(entry.path),
    }


def _size(count: int) -> str:
    """Bytes as readable text: 12 KB, 3.4 MB, 1.2 GB."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} KB"
    if count < 1e9:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e9:,.1f} GB"
