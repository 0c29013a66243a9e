"""The bytes of uploaded pictures, held in memory only, and refused with a clear answer as soon as they are too many.

A refused upload is still read to its end, up to a point: a browser that is cut off while sending shows no answer at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from eyesight.web.limits import Limits, Refused

ENVELOPE = 64_000  # bytes that a form may need around its picture
FIELDS = 20  # parts of a form beside its files
EDGE = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
FILE = re.compile(rb"^content-disposition:[^\r]*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)
DRAINED = 8  # times the limit that is read and thrown away before the connection is closed


async def read_picture(request: Request, limits: Limits) -> bytes:
    """The picture in a request's body, bare or as the one file of a form; raises Refused."""
    if not is_form(request):
        picture = await read_body(request, limits.bytes, limits)
    else:
        (picture,) = files(
            await read_body(request, limits.bytes + ENVELOPE, limits),
            request.headers["content-type"],
            1,
        )
    if len(picture) > limits.bytes:
        raise too_large(limits)
    return picture


async def read_pictures(request: Request, limits: Limits, most: int) -> list[bytes]:
    """The pictures in a form of up to `most` files, which have to keep the limit of one together; raises Refused."""
    if not is_form(request):
        await drain(request, limits)
        raise Refused(
            422,
            "several pictures come as the files of one form",
            "curl -F picture=@ONE -F picture=@OTHER",
        )
    return files(
        await read_body(request, limits.bytes + ENVELOPE, limits),
        request.headers["content-type"],
        most,
    )


def is_form(request: Request) -> bool:
    """Whether a request says that its body is a form with files."""
    return (
        request.headers.get("content-type", "").partition(";")[0].strip().lower()
        == "multipart/form-data"
    )


async def read_body(request: Request, most: int, limits: Limits) -> bytes:
    """A request's body of up to `most` bytes, within the time of an upload; raises Refused."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        await drain(request, limits)
        raise Refused(
            415,
            "compressed uploads are not unpacked",
            "send the picture's file as it is, without Content-Encoding",
        )
    try:
        async with asyncio.timeout(limits.upload_seconds):
            return await _read(request, most, limits)
    except TimeoutError:
        late = f"the upload did not end within {limits.upload_seconds:g} seconds"
        raise Refused(
            408,
            late,
            "send a smaller picture, or try again on a faster connection",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Refused(400, "the upload was cut off", "send the picture again") from None


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
    if (
        request.headers.get("expect", "").lower() != "100-continue"
    ):  # who asks first is told at once
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
        413,
        f"the upload is larger than {limits.bytes / 1e6:g} MB",
        "send a smaller picture; the network sees few of its pixels anyway",
    )


def files(body: bytes, kind: str, most: int) -> list[bytes]:
    """The files in a form (RFC 7578) that is in memory as a whole, at least one and at most `most`; raises Refused."""
    edge = EDGE.search(kind)
    if edge is None:
        raise unreadable("its Content-Type names no boundary")
    # The body is here already, so one search is all it takes: 4 µs where a parser made for streams takes 100.
    _, *parts = (b"\r\n" + body).split(
        b"\r\n--" + (edge[1] or edge[2]).encode("latin-1"), most + FIELDS + 1
    )
    end = next((place for place, part in enumerate(parts) if part.startswith(b"--")), None)
    if end is None:
        raise unreadable("it does not end, or has too many parts" if parts else "it has no parts")
    found = []
    for part in parts[:end]:
        head, ends, content = part.partition(b"\r\n\r\n")
        if not ends or len(head) > ENVELOPE:
            raise unreadable("one of its parts has no beginning")
        if FILE.search(head):
            found.append(content)
    if not found:
        raise Refused(422, "the form holds no file", "send one: curl -F picture=@FILE")
    if len(found) > most:
        hint = "send fewer" if most > 1 else "POST /api/predict/many takes several"
        raise Refused(422, f"the form holds more than {most} file{'s' * (most > 1)}", hint)
    return found


def unreadable(why: str) -> Refused:
    """The answer to a form that is none."""
    return Refused(422, f"the form cannot be read: {why}", "send it as curl -F picture=@FILE does")
