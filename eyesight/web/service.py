"""From an upload to an answer, each step within its limits; what every request shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from starlette.requests import Request

from eyesight.data.prepare import BEGINNINGS, BadPicture, Pixels, dimensions
from eyesight.inference import dense as render
from eyesight.inference.annotate import overlaid
from eyesight.inference.dense import Rendered
from eyesight.inference.onnx_classifier import OnnxClassifier
from eyesight.web.batching import Batches, Recogniser, Row
from eyesight.web.limits import Gate, Limits, Refused
from eyesight.web.uploads import drain, read_picture, read_pictures

Answer = TypeVar("Answer")
SMALL_BYTES, SMALL_PIXELS = 4096, 64 * 64  # a drawn digit: 0.1 ms
MANY = 64  # pictures in one form
MOST, ANSWERS = 64, 32 << 20  # pictures, and bytes of their answers, that are looked at in one go
MEND = {
    413: "send a smaller picture; the network sees few of its pixels anyway",
    415: "send a JPEG, PNG, GIF, WebP, BMP or TIFF file",
    422: "the file is damaged or cut off: open it in a viewer, save it again, and send that",
}
STATUS = {"huge": 413, "empty": 422, "truncated": 422, "size": 422}


class Service:
    """A recogniser, the folder of runs (None when there is none) and the limits of one server."""

    def __init__(self, recogniser: Recogniser, runs: Path | None, limits: Limits) -> None:
        self.recogniser, self.runs, self.limits = recogniser, runs, limits
        self.gate = Gate(limits.requests)
        self.batches = Batches(recogniser, together(recogniser))
        self.decoders = ThreadPoolExecutor(limits.decoders, "decoder")

    @property
    def threshold(self) -> float | None:
        """The probability from which on an answer is sure; None when nobody could measure it."""
        found = self.recogniser.facts.get("threshold")
        return float(found["value"]) if found else None

    @property
    def only(self) -> str | None:
        """What kind of thing the classes but the last are, where a network was narrowed and the last class is everything else."""
        return self.recogniser.facts.get("only")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that can be an answer."""
        return self.recogniser.classes[:-1] if self.only else self.recogniser.classes

    @property
    def target(self) -> str:
        """What it gives for a picture: a class, the picture restored, or a mask."""
        return str(self.recogniser.facts.get("target") or "class")

    def names_classes(self) -> None:
        """Raise Refused where it gives something else."""
        if self.target != "class":
            raise Refused(
                404,
                f"this network gives a {self.target} for a picture, not a class",
                "send it to /api/render",
            )

    async def recognise(self, request: Request) -> Row:
        """Probabilities K of the picture in a request; raises Refused."""
        self.names_classes()
        return await self._answer(request, self._look)

    async def recognise_many(self, request: Request) -> list[Row | Refused]:
        """Probabilities K of each picture in a request's form, or why there are none; raises Refused when the form itself is unusable."""
        self.names_classes()
        async with self.entered(request):
            return await self.in_time(
                self._look_at_all(await read_pictures(request, self.limits, MANY))
            )

    async def render(self, request: Request) -> tuple[Rendered, bytes]:
        """The figures of what it makes of the picture in a request, and that as PNG for people; raises Refused."""
        if self.target == "class":
            raise Refused(
                404, "this network gives a class for a picture", "send it to /api/predict"
            )
        return await self._answer(request, self._render)

    async def explain(self, request: Request) -> bytes:
        """The picture in a request as the network saw it, with where it looked painted over it, encoded; raises Refused."""
        self.names_classes()
        return await self._answer(request, self._paint)

    async def _answer(self, request: Request, look: Callable[[bytes], Awaitable[Answer]]) -> Answer:
        async with self.entered(request):
            return await self.in_time(look(await read_picture(request, self.limits)))

    @asynccontextmanager
    async def entered(self, request: Request) -> AsyncIterator[None]:
        """Be counted; whoever finds it full is heard to the end before being refused."""
        if self.gate.full:
            await drain(request, self.limits)
        with self.gate.enter():
            yield

    async def in_time(self, answer: Awaitable[Answer]) -> Answer:
        """The answer, or Refused when it takes too long."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await answer
        except TimeoutError:
            raise Refused(
                504,
                f"this took longer than {self.limits.seconds:g} seconds",
                "send less, or something smaller",
            ) from None

    async def _look(self, picture: bytes) -> Row:
        return await self.batches.probabilities(await self._pixels(picture))

    async def _render(self, picture: bytes) -> tuple[Rendered, bytes]:
        known, pixels = self.recogniser, await self._pixels(picture)
        assert isinstance(known, OnnxClassifier)
        answer = await self.batches.probabilities(pixels)
        return await asyncio.get_running_loop().run_in_executor(
            self.decoders, told, known, pixels, answer
        )

    async def _paint(self, picture: bytes) -> bytes:
        pixels, loop = await self._pixels(picture), asyncio.get_running_loop()
        heat = await loop.run_in_executor(self.batches.thread, self.recogniser.heat, pixels[None])
        return await loop.run_in_executor(self.decoders, overlaid, pixels, heat[0])

    async def _pixels(self, picture: bytes) -> Pixels:
        pixels = self.at_once(picture)
        return (
            pixels
            if pixels is not None
            else await asyncio.get_running_loop().run_in_executor(
                self.decoders, self.prepare, picture
            )
        )

    async def _look_at_all(self, pictures: list[bytes]) -> list[Row | Refused]:
        """In one go: decoded one after another by one thread, looked at as one batch."""
        found = await asyncio.get_running_loop().run_in_executor(
            self.decoders, self.prepare_all, pictures
        )
        good = [pixels for pixels in found if not isinstance(pixels, Refused)]
        rows = iter(await self.batches.all_of(np.stack(good)) if good else ())
        return [pixels if isinstance(pixels, Refused) else next(rows) for pixels in found]

    def at_once(self, picture: bytes) -> Pixels | None:
        """The pixels of a picture so small that handing it to another thread would take longer than decoding it; None for others."""
        if len(picture) > SMALL_BYTES:
            return None
        with refusing(picture):
            width, height = dimensions(picture)
            return self.recogniser.prepare(picture) if width * height <= SMALL_PIXELS else None

    def prepare(self, picture: bytes) -> Pixels:
        """Encoded bytes as the network sees them; raises Refused for what is no picture or too large a one."""
        with refusing(picture):
            width, height = dimensions(picture)
            if width * height > self.limits.pixels:
                raise BadPicture(
                    "huge", f"{width} x {height} is over {self.limits.pixels / 1e6:g} megapixels"
                )
            return self.recogniser.prepare(picture)

    def prepare_all(self, pictures: list[bytes]) -> list[Pixels | Refused]:
        """Each of several encoded pictures as the network sees it, or the reason why not."""
        found: list[Pixels | Refused] = []
        for picture in pictures:
            try:
                found.append(self.prepare(picture))
            except Refused as refused:
                found.append(refused)
        return found

    def close(self) -> None:
        """Let the threads end."""
        self.batches.close()
        self.decoders.shutdown(wait=False, cancel_futures=True)


def told(known: OnnxClassifier, pixels: Pixels, answer: Row) -> tuple[Rendered, bytes]:
    """The figures of an answer and its drawing, PNG: so many numbers that nobody else is answered meanwhile unless a thread does it."""
    return render.figures(
        known, "", pixels, answer, known.facts.get("unfamiliar_from")
    ), render.drawn(known, pixels, answer)


def together(recogniser: Recogniser) -> int:
    """How many pictures are looked at in one go: fewer where an answer has a number for every class and pixel."""
    maps = recogniser.facts.get("target") == "mask"
    return (
        max(
            1,
            min(
                MOST,
                ANSWERS
                // (4 * len(recogniser.classes) * int(np.prod(recogniser.preparation.shape[1:]))),
            ),
        )
        if maps
        else MOST
    )


@contextmanager
def refusing(picture: bytes) -> Iterator[None]:
    """Whatever makes this picture unusable in the block becomes the answer."""
    try:
        yield
    except BadPicture as bad:
        known = any(picture.startswith(beginning) for beginning in BEGINNINGS)
        status = STATUS.get(bad.kind, 422 if known else 415)
        raise Refused(status, str(bad), MEND[status]) from None
    except MemoryError:
        raise Refused(413, "huge: there is no memory for this picture", MEND[413]) from None
