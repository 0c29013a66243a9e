"""The studio's images: sent one by one or as an archive, shown as thumbnails, taken out, moved."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from eyesight.data.prepare import BadPicture, Preparation, encode_png, looks_like_image, prepare
from eyesight.studio import collecting
from eyesight.studio.projects import class_folder_name
from eyesight.system.files import scratch
from eyesight.web.limits import Limits, Refused
from eyesight.web.routes.studio import body_of, picture_address, text_of, texts_of
from eyesight.web.studio.desk import desk_of
from eyesight.web.uploads import drain, read_body

PAGE = 60  # images of a class that are shown together
SIDE = 160  # of a thumbnail
LARGE = 640
THUMBNAILS = 512  # kept in memory, about 30 kB each
UPLOADS = Limits(bytes=collecting.BYTES, upload_seconds=60.0)
ARCHIVE_BYTES = 4 << 30
SILENCE = 30.0  # seconds without a byte of an archive after which it is given up
KEPT = "private, max-age=31536000, immutable"  # a file's name is made from its content
router = APIRouter(prefix="/studio", include_in_schema=False)


@router.post("/{name}/classes")
async def change_class(request: Request, name: str) -> Response:
    """Make, rename or remove a class."""
    project = desk_of(request).project(name)
    values = await body_of(request)
    made = text_of(values, "name")
    old = text_of(values, "old")
    if old and made:
        made = await run_in_threadpool(project.rename_class, old, made)
    elif old:
        await run_in_threadpool(project.remove_class, old)
    else:
        made = await run_in_threadpool(project.add_class, made)
    return JSONResponse({"name": made})


@router.post("/{name}/pictures")
async def add(request: Request, name: str, to: str, burst: str = "") -> Response:
    """Keep one image in the class `to`, as it comes."""
    project = desk_of(request).project(name)
    data = await read_body(request, UPLOADS.bytes, UPLOADS)
    try:
        added = await run_in_threadpool(collecting.add_picture, project, to, data, burst)
    except BadPicture as bad:
        status = 422 if looks_like_image(data) else 415
        if bad.kind == "huge":
            status = 413
        raise Refused(status, str(bad), "send a valid JPEG, PNG or WebP file") from None
    return JSONResponse({"file": added.file, "state": added.state, "elsewhere": added.elsewhere})


@router.post("/{name}/archive")
async def add_archive(request: Request, name: str, to: str = "") -> Response:
    """Keep the images of a zip or tar; its folders name the classes."""
    desk = desk_of(request)
    project = desk.project(name)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > ARCHIVE_BYTES:
        await drain(request, desk.limits)
        raise Refused(413, "the archive is larger than 4 GB", "drop the folder itself")
    if to:
        to = class_folder_name(to)
    title = Path(unquote(request.headers.get("x-name", "archive.zip"))).name
    with scratch() as folder:
        archive = folder / (re.sub(r"[^\w.-]", "_", title)[-80:] or "archive.zip")
        with archive.open("wb") as file:
            await receive(request, file)
        gathered = await run_in_threadpool(collecting.add_archive, project, archive, to)
    broken = [{"name": file, "reason": kind} for file, kind in gathered.broken]
    return JSONResponse(
        {
            "added": gathered.added,
            "again": gathered.again,
            "ignored": gathered.ignored,
            "broken": broken[: collecting.NAMED],
            "more": max(0, len(broken) - collecting.NAMED),
            "classes": gathered.classes,
        }
    )


async def receive(request: Request, file: IO[bytes]) -> None:
    """Write a request's body to a file; raises Refused when it is too long or stands still."""
    stream = request.stream().__aiter__()
    size = 0
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refused(408, "the upload stalled", "try again", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise Refused(400, "the upload was interrupted", "send it again") from None
        if chunk is None:
            return
        size += len(chunk)
        if size > ARCHIVE_BYTES:
            raise Refused(413, "the archive is larger than 4 GB", "drop the folder itself")
        file.write(chunk)


@router.get("/{name}/files")
def files(request: Request, name: str, of: str, start: int = 0) -> Response:
    """A page of a class's images, the newest first."""
    project = desk_of(request).project(name)
    every = project.files(of)
    start = max(0, min(start, max(0, len(every) - 1)))
    shown = every[start : start + PAGE]
    rows = [{"file": file, "address": picture_address(project, of, file)} for file in shown]
    return JSONResponse(
        {"files": rows, "start": start, "page": PAGE, "count": len(every)},
        headers={"Cache-Control": "no-store"},
    )


@router.get("/{name}/pictures/{of}/{file}")
def picture(request: Request, name: str, of: str, file: str, large: bool = False) -> Response:
    """An image made small, upright, as PNG."""
    project = desk_of(request).project(name)
    path = project.picture(of, file)
    changed = path.stat().st_mtime_ns
    try:
        drawn = thumbnail(path, changed, LARGE if large else SIDE)
    except BadPicture as bad:
        raise Refused(422, f"{file} cannot be shown: {bad}", "remove it") from None
    headers = {"Cache-Control": KEPT} if changed else {}
    return Response(drawn, media_type="image/png", headers=headers)


def thumbnail(path: Path, changed: int, side: int) -> bytes:
    """An image at a side; small ones are remembered."""
    if side == SIDE:
        return small_thumbnail(path, changed)
    return encode_png(prepare(path.read_bytes(), Preparation(side, side, 3, "letterbox")))


@lru_cache(maxsize=THUMBNAILS)
def small_thumbnail(path: Path, changed: int) -> bytes:
    """The middle square of an image that was changed at this time."""
    return encode_png(prepare(path.read_bytes(), Preparation(SIDE, SIDE, 3, "crop")))


@router.post("/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Take images out of a class, so that they can be put back."""
    project = desk_of(request).project(name)
    values = await body_of(request)
    removal = await run_in_threadpool(
        project.remove, text_of(values, "of"), texts_of(values, "files")
    )
    return JSONResponse({"removed": removal.count})


@router.post("/{name}/undo")
async def undo(request: Request, name: str) -> Response:
    """Put the images of the last removal back."""
    project = desk_of(request).project(name)
    removal = await run_in_threadpool(project.undo)
    count, of = (removal.count, removal.class_name) if removal else (0, "")
    return JSONResponse({"restored": count, "of": of})


@router.post("/{name}/move")
async def move(request: Request, name: str) -> Response:
    """Move images to another class."""
    project = desk_of(request).project(name)
    values = await body_of(request)
    moved = await run_in_threadpool(
        project.move, text_of(values, "of"), texts_of(values, "files"), text_of(values, "to")
    )
    return JSONResponse({"moved": moved})
