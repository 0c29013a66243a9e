"""The bytes of one uploaded picture, held in memory only, and refused with a clear answer as soon as they are too many.

A refused upload is still read to its end, up to a point: a browser that is cut off while sending shows no answer at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from eyesight.web.limits import Limits, Refused

ENVELOPE = 64_000  # bytes that a form may need around its picture
DRAINED = 8  # times the limit that is read and thrown away before the connection is closed


class InMemory(MultiPartParser):
    """Starlette's parser, told never to put a part into a temporary file."""

    spool_max_size = 2**62


async def read_picture(request: Request, limits: Limits) -> bytes:
    """The picture in a request's body, bare or as the one file of a form; raises Refused."""
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        await drain(request, limits)
        raise Refused(415, "compressed uploads are not unpacked", "send the picture's file as it is, without Content-Encoding")
    most = limits.bytes + ENVELOPE * form
    try:
        async with asyncio.timeout(limits.upload_seconds):
            body = await _read(request, most, limits)
            picture = await _only_file(request, body) if form else body
    except TimeoutError:
        raise Refused(408, f"the upload did not end within {limits.upload_seconds:g} seconds", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "the upload was cut off") from None
    if len(picture) > limits.bytes:
        raise too_large(limits)
    return picture


async def _read(request: Request, most: int, limits: Limits) -> bytes:
    """The body; its length is believed when it is announced as too great, and counted in any case."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        await drain(request, limits)
        raise too_large(limits)
    chunks: list[bytes] = []
    size = 0
    stream = request.stream()
    async for chunk in stream:
        size += len(chunk)
        if size > most:
            chunks.clear()
            await _drain(stream, limits)
            raise too_large(limits)
        chunks.append(chunk)
    return b"".join(chunks)


async def drain(request: Request, limits: Limits) -> None:
    """Read and throw away what a client is still sending, within bounds."""
    if request.headers.get("expect", "").lower() != "100-continue":  # who asks first is told at once
        await _drain(request.stream(), limits)


async def _drain(stream: AsyncIterator[bytes], limits: Limits) -> None:
    left = DRAINED * limits.bytes
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def too_large(limits: Limits) -> Refused:
    """The answer to more bytes than one upload may have."""
    return Refused(
        413, f"the upload is larger than {limits.bytes / 1e6:g} MB", "send a smaller picture; the network sees few of its pixels anyway"
    )


async def _only_file(request: Request, body: bytes) -> bytes:
    async def once() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await InMemory(request.headers, once(), max_files=1, max_fields=20).parse()  # type: ignore[arg-type]
    except MultiPartException as error:
        raise Refused(422, f"the form cannot be read: {error.message}", "send one picture a request: curl -F picture=@FILE") from None
    try:
        for value in form.values():
            if isinstance(value, UploadFile):
                return await value.read()
    finally:
        await form.close()
    raise Refused(422, "the form holds no file", "send one: curl -F picture=@FILE")
