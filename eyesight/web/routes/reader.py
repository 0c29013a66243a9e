"""The reader's page and its endpoints under /api/reader/."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from eyesight.data.prepare import Pixels, encode_png
from eyesight.web.digit_reader import DIGITS, RECIPE, ReadCode, ReadDigit, Reader
from eyesight.web.limits import Refused
from eyesight.web.routes.api import BODIES, BODY, RESPONSES
from eyesight.web.routes.serving import serving_of
from eyesight.web.run_table import row
from eyesight.web.schemas import Named, Problem
from eyesight.web.templating import templates
from eyesight.web.training_job import seconds_left
from eyesight.web.uploads import read_picture, read_pictures

if TYPE_CHECKING:
    from eyesight.reader.strip import Corners

router = APIRouter(prefix="/api/reader")
page = APIRouter(include_in_schema=False)
BOXES = 20  # in one form
TOP = 3
EMPTY = "_"  # an empty box keeps its place in a code
PRIVATE: dict[int | str, dict[str, Any]] = {
    403: {
        "model": Problem,
        "description": ("other machines can reach this server, and it has no token"),
    }
}
UNTRAINED: dict[int | str, dict[str, Any]] = {
    503: {
        "model": Problem,
        "description": "no network for digits yet, or too many requests",
    }
}
Expected = Annotated[
    int | None, Query(ge=1, le=20, description="number of digits of the code, if known")
]


class Digit(BaseModel):
    """The digit of a box; only `empty` is set for an empty box."""

    empty: bool
    digit: str | None = None
    probability: float | None = None
    sure: bool | None = Field(default=None, description="false: check this digit")
    top: list[Named] = []
    seen: str | None = Field(
        default=None,
        description="the network's input of 28 × 28 pixels, as a PNG data URL",
    )


class Digits(BaseModel):
    """The boxes in order; in `code` a "_" stands for an empty one."""

    code: str
    digits: list[Digit]


class Place(BaseModel):
    """A rectangle in pixels of the upright photograph."""

    x: int
    y: int
    width: int
    height: int


class PlacedDigit(Digit, Place):
    """A digit and where it is."""


class Code(BaseModel):
    """The code on a photograph of `width` × `height`, its digits from left to right."""

    code: str = Field(description='"_" stands for an empty box')
    doubtful: bool = Field(
        description="check the code: an uncertain digit, an empty box, an unexpected number of "
        "digits, or a mark as tall as the digits was left out"
    )
    width: int
    height: int
    digits: list[PlacedDigit]
    left_out: list[Place] = Field(
        description=("marks in the same row that are not part of the code")
    )


class State(BaseModel):
    """Whether digits can be read, and the progress of a training."""

    state: Literal["ready", "untrained", "training", "failed", "unable"]
    name: str = ""
    run: str = Field(default="", description="the run being trained, for /runs/NAME")
    progress: float = 0.0
    seconds_left: float | None = Field(
        default=None, description="of the training, from the time its epochs took"
    )
    problem: str = ""
    collecting: bool = Field(default=False, description="whether corrected samples are stored")
    samples: int = 0


class Kept(BaseModel):
    """The number of stored samples."""

    samples: int


def reader_of(request: Request) -> Reader:
    """The reader that the application was made with."""
    reader: Reader = request.app.state.reader
    return reader


@page.get("/reader", response_class=HTMLResponse)
async def reader(request: Request) -> Response:
    """The page: boxes to draw in and a photo upload, or the offer to train a network."""
    asyncio.get_running_loop().run_in_executor(reader_of(request).service.decoders, warm)
    return templates.TemplateResponse(request, "reader.html", await context(request))


@page.post("/reader", response_class=HTMLResponse)
async def photograph(request: Request, digits: Expected = None) -> Response:
    """The page with the code on a photograph, for browsers without JavaScript."""
    read = await code(request, digits)
    return templates.TemplateResponse(
        request, "reader.html", {**await context(request), "read": read}
    )


async def context(request: Request) -> dict[str, object]:
    """What the page shows: the state, and the run that reads."""
    now = await state(request)
    return {"now": now, "serving": serving_of(request, reader_of(request).run, digits=True)}


def warm() -> None:
    """Import modules in advance, so that the first digit does not wait."""
    for name in ("mnist_digit", "postcode"):
        import_module(f"eyesight.reader.{name}")


@router.get("")
async def state(request: Request) -> State:
    """Whether digits can be read now."""
    reader = reader_of(request)
    now = State(state="ready", collecting=reader.collection is not None)
    now.samples = len(reader.collection or ())
    training = reader.training
    busy = training is not None and training.busy
    if reader.recogniser is None and not busy and not await reader.has_looked():
        return now.model_copy(  # a run is being exported
            update={"state": "training", "run": reader.tried or "", "progress": 1.0}
        )
    if reader.recogniser is not None:
        now.name = str(reader.recogniser.facts.get("name") or "")
        return now
    if training is None:
        now.state = "unable"
        return now
    if training.busy:
        now.state = "training"
        run = training.run
        if run is not None:
            now.run = run.name
            now.progress = row(run).progress
            now.seconds_left = seconds_left(run)
        return now
    now.problem = training.problem or reader.failure
    now.state = "failed" if now.problem else "untrained"
    return now


@router.post(
    "/train",
    status_code=202,
    responses={
        **PRIVATE,
        409: {"model": Problem, "description": "it is being trained, or cannot be"},
    },
)
async def train(request: Request) -> State:
    """Train the recipe `postal_digits` into the server's folder of runs."""
    reader = reader_of(request)
    command = f"eyesight train {RECIPE}"
    if reader.recogniser is not None:
        raise Refused(409, "there is nothing to train", command)
    if reader.training is None:
        raise Refused(409, "this server has no folder of runs", command)
    if not reader.training.start(RECIPE):
        raise Refused(409, "a training is already running", "wait until it has finished")
    return await state(request)


@router.post("/boxes", responses={**RESPONSES, **UNTRAINED}, openapi_extra=BODIES)
async def boxes(request: Request) -> Digits:
    """Read the digit in each box: small images, as the files of a form, in order.

    They are not stored.
    """
    reader = reader_of(request)
    async with reader.service.entered(request):
        uploads = await read_pictures(request, reader.service.limits, BOXES)
        read = await reader.service.in_time(reader.read_boxes(uploads))
    digits = [described_digit(digit, reader.threshold) for digit in read]
    text = "".join(digit.digit or EMPTY for digit in digits)
    return Digits(code=text.rstrip(EMPTY), digits=digits)


@router.post("/code", responses={**RESPONSES, **UNTRAINED}, openapi_extra=BODY)
async def code(request: Request, digits: Expected = None) -> Code:
    """Read the code in a photograph: its file as the body, or as the only file of a form.

    It is not stored.
    """
    reader = reader_of(request)
    async with reader.service.entered(request):
        upload = await read_picture(request, reader.service.limits)
        read = await reader.service.in_time(reader.read_photograph(upload, digits))
    return described(read, digits)


def described(read: ReadCode, digits: int | None) -> Code:
    """A code as the API gives it."""
    from eyesight.reader.postcode import SURE

    placed = []
    for digit in read.code.digits:
        values = described_digit(ReadDigit(digit.pixels, digit.probabilities), SURE).model_dump()
        placed.append(PlacedDigit(**values, **rectangle(digit.corners).model_dump()))
    return Code(
        code=read.code.text,
        doubtful=read.code.is_doubtful(digits),
        width=read.width,
        height=read.height,
        digits=placed,
        left_out=[rectangle(corners) for corners in read.code.left_out],
    )


def rectangle(corners: Corners) -> Place:
    """The upright rectangle around corners."""
    left, top = (round(float(value)) for value in corners.min(axis=0))
    right, bottom = (round(float(value)) for value in corners.max(axis=0))
    return Place(x=left, y=top, width=right - left, height=bottom - top)


@router.post(
    "/samples",
    responses={**RESPONSES, **PRIVATE, 404: {"model": Problem, "description": "not collecting"}},
    openapi_extra=BODIES,
)
async def samples(
    request: Request,
    digits: Annotated[str, Query(pattern="^[0-9]{1,20}$", description="the digit in each image")],
) -> Kept:
    """Store drawn digits with their labels for a later training; needs `serve --collect`."""
    reader = reader_of(request)
    collection = reader.collection
    if collection is None:
        raise Refused(404, "this server does not store samples", "eyesight serve --collect FOLDER")
    async with reader.service.entered(request):
        uploads = await read_pictures(request, reader.service.limits, BOXES)
        read = await reader.service.in_time(reader.read_boxes(uploads))
    written = [digit.pixels for digit in read if digit.pixels is not None]
    if not len(written) == len(read) == len(digits):
        raise Refused(
            422,
            f"{len(written)} written digits and {len(digits)} names",
            "send one name per image, and no empty boxes",
        )
    named = [(name, pixels[None]) for name, pixels in zip(digits, written, strict=True)]
    return Kept(samples=await asyncio.to_thread(collection.keep, named))


def described_digit(read: ReadDigit, sure: float) -> Digit:
    """A digit for the API; below the probability `sure` it should be checked."""
    if read.pixels is None or read.probabilities is None:
        return Digit(empty=True)
    top = []
    for place in read.probabilities.argsort()[::-1][:TOP].tolist():
        top.append(Named(name=DIGITS[place], probability=float(read.probabilities[place])))
    return Digit(
        empty=False,
        digit=top[0].name,
        probability=top[0].probability,
        sure=top[0].probability >= sure,
        top=top,
        seen=data_address(read.pixels),
    )


def data_address(pixels: Pixels) -> str:
    """Pixels uint8 H,W as an image inside a page."""
    return "data:image/png;base64," + b64encode(encode_png(pixels[None])).decode()
