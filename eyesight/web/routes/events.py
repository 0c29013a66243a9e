"""A run's log as it grows, to whoever keeps the connection open (server-sent events)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from eyesight.web.limits import Gate
from eyesight.web.routes.api import find_run, service_of
from eyesight.web.schemas import Problem

router = APIRouter(prefix="/api")
PAUSE = 0.5  # seconds between two looks at the file
ALIVE = 15.0  # seconds after which silence would look like a lost connection
watchers = Gate(64)


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "events, one JSON object each",
    },
    404: {"model": Problem, "description": "there is no such run, or no longer"},
    503: {"model": Problem, "description": "too many watch already"},
}


@router.get("/runs/{name}/events", response_class=StreamingResponse, responses=RESPONSES)
async def events(request: Request, name: str) -> StreamingResponse:
    """Every event of the run's log, those to come included, as server-sent events; the stream ends with the training."""
    run = find_run(service_of(request), name)
    with watchers.enter():  # refused here, before the answer has begun
        pass
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(
        _stream(run.path / "log.jsonl"), media_type="text/event-stream", headers=headers
    )


async def _stream(file: Path) -> AsyncIterator[str]:
    with watchers.enter():
        async for event in follow(file):
            yield event


async def follow(file: Path) -> AsyncIterator[str]:
    """Whole lines of a file that grows; ends after "done" or "failed", or when the file is gone."""
    place, rest, quiet = 0, b"", 0.0
    while True:
        try:
            new = await asyncio.to_thread(_read_from, file, place)
        except OSError:
            yield "event: gone\ndata: {}\n\n"
            return
        place += len(new)
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            kind = _kind(line)
            if kind:
                yield f"data: {line.decode(errors='replace')}\n\n"
            if kind in ("done", "failed"):
                yield "event: end\ndata: {}\n\n"
                return
        quiet = 0.0 if new else quiet + PAUSE
        if quiet >= ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(PAUSE)


def _read_from(file: Path, place: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(place)
        return opened.read()


def _kind(line: bytes) -> str:
    """What a line of the log tells of; empty for a torn one."""
    try:
        event = json.loads(line)
    except ValueError:
        return ""
    return str(event.get("event") or "") if isinstance(event, dict) else ""
