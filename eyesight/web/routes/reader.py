"""The reader's page and its paths under /api/reader/: drawn boxes and photographed codes in, digits out."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from eyesight.data.prepare import BadPicture, Pixels, dimensions, encode_png
from eyesight.web.digit_reader import DIGITS, RECIPE, Looked, Reader
from eyesight.web.limits import Refused
from eyesight.web.routes.api import BODIES, BODY, RESPONSES
from eyesight.web.run_table import row
from eyesight.web.schemas import Named, Problem
from eyesight.web.service import refusing
from eyesight.web.templating import templates
from eyesight.web.uploads import read_picture, read_pictures

if TYPE_CHECKING:
    from eyesight.reader.postcode import Found

router = APIRouter(prefix="/api/reader")
page = APIRouter(include_in_schema=False)
BOXES = 20  # in one form
TOP = 3
PRIVATE: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "others can reach this server, and it has no token"}
}
UNTRAINED: dict[int | str, dict[str, Any]] = {
    503: {
        "model": Problem,
        "description": "no network that knows the ten digits yet, or too many requests",
    }
}


class Digit(BaseModel):
    """What a box says; everything but `empty` is null in an empty one."""

    empty: bool
    digit: str | None = None
    probability: float | None = None
    sure: bool | None = Field(default=None, description="false: somebody should check this digit")
    top: list[Named] = []
    seen: str | None = Field(
        default=None,
        description="the 28 × 28 pixels that the network saw, a PNG as a data: address",
    )


class Digits(BaseModel):
    """The boxes in their order; `code` is what they say together, without the empty ones."""

    code: str
    digits: list[Digit]


class Placed(Digit):
    """A digit and where it is, in pixels of the upright picture."""

    x: int
    y: int
    width: int
    height: int


class Code(BaseModel):
    """The digits of a photographed code from left to right, in a picture of `width` × `height`."""

    code: str
    width: int
    height: int
    digits: list[Placed]


class State(BaseModel):
    """Whether digits can be read, and how far a training of them is."""

    state: Literal["ready", "untrained", "training", "failed", "unable"]
    name: str = ""
    run: str = Field(default="", description="the run being trained, for /runs/NAME")
    progress: float = 0.0
    problem: str = ""
    collecting: bool = Field(default=False, description="whether corrected samples are kept")
    samples: int = 0


class Kept(BaseModel):
    """How many samples are kept by now."""

    samples: int


def reader_of(request: Request) -> Reader:
    """What the application's factory left for the reader's requests."""
    found = request.app.state.reader
    assert isinstance(found, Reader)
    return found


@page.get("/reader", response_class=HTMLResponse)
async def reader(request: Request) -> Response:
    """Five boxes to draw in, a code to photograph; or the offer to train what reads them."""
    asyncio.get_running_loop().run_in_executor(reader_of(request).service.decoders, warm)
    return templates.TemplateResponse(request, "reader.html", {"now": await state(request)})


def warm() -> None:
    """Load now what the first digit would otherwise wait for."""
    for name in ("mnist_digit", "postcode"):
        import_module(f"eyesight.reader.{name}")


@router.get("")
async def state(request: Request) -> State:
    """Whether digits can be read now."""
    reader = reader_of(request)
    kept: dict[str, Any] = {
        "collecting": reader.collection is not None,
        "samples": len(reader.collection or ()),
    }
    apprentice = reader.apprentice
    if reader.known is None and not (apprentice and apprentice.busy) and not await reader.looked():
        return State(
            state="training", run=reader.looked_at or "", progress=1.0, **kept
        )  # it is being exported
    if reader.known is not None:
        return State(state="ready", name=str(reader.known.facts.get("name") or ""), **kept)
    if apprentice is None:
        return State(state="unable", **kept)
    if apprentice.busy:
        run = apprentice.run
        return State(
            state="training",
            run=run.name if run else "",
            progress=row(run).progress if run else 0.0,
            **kept,
        )
    problem = apprentice.problem or reader.trouble
    return State(state="failed" if problem else "untrained", problem=problem, **kept)


@router.post(
    "/train",
    status_code=202,
    responses={
        **PRIVATE,
        409: {"model": Problem, "description": "it is being trained, or cannot be"},
    },
)
async def train(request: Request) -> State:
    """Train the recipe `digits` on MNIST into the server's folder of runs; half a minute on two cores."""
    reader = reader_of(request)
    if reader.apprentice is None or reader.known is not None:
        raise Refused(
            409,
            "there is nothing to train" if reader.known else "this server has no folder of runs",
            "eyesight train digits",
        )
    if not reader.apprentice.start(*RECIPE):
        raise Refused(409, "a training is going on already", "wait for its end")
    return await state(request)


@router.post("/boxes", responses={**RESPONSES, **UNTRAINED}, openapi_extra=BODIES)
async def boxes(request: Request) -> Digits:
    """What is drawn in each box: one small picture each, as the files of a form in their order. Nothing of it is kept."""
    reader = reader_of(request)
    async with reader.service.entered(request):
        pictures = await read_pictures(request, reader.service.limits, BOXES)
        looked = await reader.service.in_time(reader.boxes(pictures))
    digits = [Digit(**said(reader, one)) for one in looked]
    return Digits(code=together(digits), digits=digits)


@router.post("/code", responses={**RESPONSES, **UNTRAINED}, openapi_extra=BODY)
async def code(request: Request) -> Code:
    """The digits on a photographed or scanned code: its file as the body, or as the one file of a form. Nothing of it is kept."""
    reader = reader_of(request)
    async with reader.service.entered(request):
        picture = await read_picture(request, reader.service.limits)
        return await reader.service.in_time(_code(reader, picture))


async def _code(reader: Reader, picture: bytes) -> Code:
    loop = asyncio.get_running_loop()
    (height, width), found = await loop.run_in_executor(
        reader.service.decoders, find_digits, picture, reader.service.limits.pixels
    )
    looked = await reader.look([one.pixels for one in found])
    placed = [
        Placed(
            **said(reader, one), x=place.left, y=place.top, width=place.width, height=place.height
        )
        for one, place in zip(looked, found, strict=True)
    ]
    return Code(code=together(placed), width=width, height=height, digits=placed)


def find_digits(picture: bytes, most: int) -> tuple[tuple[int, ...], list[Found]]:
    """Height and width of an encoded picture of at most `most` pixels, and the digits on it; raises Refused."""
    from eyesight.reader import (
        mnist_digit,
        postcode,
    )  # scipy takes a tenth of a second, which the first page need not wait for

    with refusing(picture):
        width, height = dimensions(picture)
        if width * height > most:
            raise BadPicture("huge", f"{width} x {height} is over {most / 1e6:g} megapixels")
        pixels = mnist_digit.grey(picture)
        return pixels.shape, postcode.read_row(pixels)


@router.post(
    "/samples",
    responses={**RESPONSES, **PRIVATE, 404: {"model": Problem, "description": "not collecting"}},
    openapi_extra=BODIES,
)
async def samples(
    request: Request,
    digits: Annotated[str, Query(pattern="^[0-9]{1,20}$", description="what each picture shows")],
) -> Kept:
    """Keep drawn digits with their right names for a later training; only where the server was started with --collect."""
    reader = reader_of(request)
    collection = reader.collection
    if collection is None:
        raise Refused(404, "this server keeps no samples", "eyesight serve --collect FOLDER")
    async with reader.service.entered(request):
        pictures = await read_pictures(request, reader.service.limits, BOXES)
        looked = await reader.service.in_time(reader.boxes(pictures))
    written = [one.pixels for one in looked if one.pixels is not None]
    if not len(written) == len(looked) == len(digits):
        raise Refused(
            422,
            f"{len(written)} written digits and {len(digits)} names",
            "one name for each picture, and no empty boxes",
        )
    return Kept(
        samples=await asyncio.to_thread(
            collection.keep, [(name, one[None]) for name, one in zip(digits, written, strict=True)]
        )
    )


def said(reader: Reader, one: Looked) -> dict[str, Any]:
    """The fields of a Digit."""
    if one.pixels is None or one.row is None:
        return {"empty": True}
    best = one.row.argsort()[::-1][:TOP].tolist()
    top = [Named(name=DIGITS[place], probability=float(one.row[place])) for place in best]
    first = top[0]
    sure = first.probability >= reader.threshold
    return {
        "empty": False,
        "digit": first.name,
        "probability": first.probability,
        "sure": sure,
        "top": top,
        "seen": address(one.pixels),
    }


def together(digits: list[Digit] | list[Placed]) -> str:
    """What the digits say, the empty ones passed over."""
    return "".join(one.digit or "" for one in digits)


def address(pixels: Pixels) -> str:
    """Pixels as a picture inside a page."""
    return "data:image/png;base64," + b64encode(encode_png(pixels[None])).decode()
