"""A run's log as it grows, as server-sent events."""

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
PAUSE = 0.5  # seconds between two readings of the file
ALIVE = 15.0  # seconds after which silence would look like a lost connection
watchers = Gate(64)


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "events, one JSON object each",
    },
    404: {"model": Problem, "description": "there is no such run"},
    503: {"model": Problem, "description": "too many clients are watching"},
}


@router.get("/runs/{name}/events", response_class=StreamingResponse, responses=RESPONSES)
async def events(request: Request, name: str) -> StreamingResponse:
    """Every event of the run's log, those to come included; the stream ends with the training."""
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
    """Whole lines of a log as it grows, until "done", "failed" or the removal of the run."""
    position = 0
    partial = b""
    quiet = 0.0
    while True:
        try:
            new = await asyncio.to_thread(read_from, file, position)
        except OSError:
            yield "event: gone\ndata: {}\n\n"
            return
        position += len(new)
        *lines, partial = (partial + new).split(b"\n")
        for line in lines:
            kind = event_kind(line)
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


def read_from(file: Path, position: int) -> bytes:
    """What was added to a log since `position`; nothing while a run that prepares has none yet.

    Raises OSError when the run is gone.
    """
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            return opened.read()
    except FileNotFoundError:
        if position or not (file.parent / "recipe.json").is_file():
            raise
        return b""


def event_kind(line: bytes) -> str:
    """The kind of event that a line of the log holds; "" for a torn line."""
    try:
        event = json.loads(line)
    except ValueError:
        return ""
    return str(event.get("event") or "") if isinstance(event, dict) else ""
