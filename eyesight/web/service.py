"""From an upload to an answer, each step within its limits; what every request shares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from starlette.requests import Request

from eyesight.data.prepare import BEGINNINGS, BadPicture, Pixels, dimensions
from eyesight.web.batches import Batches, Recogniser, Row
from eyesight.web.limits import Gate, Limits, Refused
from eyesight.web.uploads import drain, read_picture

SMALL_BYTES, SMALL_PIXELS = 4096, 64 * 64  # a drawn digit: 0.1 ms
STATUS = {"huge": 413, "empty": 422, "truncated": 422, "size": 422}


class Service:
    """A recogniser, the folder of runs (None when there is none) and the limits of one server."""

    def __init__(self, recogniser: Recogniser, runs: Path | None, limits: Limits) -> None:
        self.recogniser, self.runs, self.limits = recogniser, runs, limits
        self.gate = Gate(limits.requests)
        self.batches = Batches(recogniser)
        self.decoders = ThreadPoolExecutor(limits.decoders, "decoder")

    @property
    def threshold(self) -> float | None:
        """The probability from which on an answer is sure; None when nobody could measure it."""
        found = self.recogniser.facts.get("threshold")
        return float(found["value"]) if found else None

    async def recognise(self, request: Request) -> Row:
        """Probabilities K of the picture in a request; raises Refused."""
        try:
            with self.gate.enter():
                return await self._look(await read_picture(request, self.limits))
        except Refused as refused:
            if refused.status == 503:
                await drain(request, self.limits)
            raise

    async def _look(self, picture: bytes) -> Row:
        try:
            async with asyncio.timeout(self.limits.seconds):
                pixels = self.at_once(picture)
                if pixels is None:
                    pixels = await asyncio.get_running_loop().run_in_executor(self.decoders, self.prepare, picture)
                return await self.batches.probabilities(pixels)
        except TimeoutError:
            raise Refused(504, f"the picture took longer than {self.limits.seconds:g} seconds", "send a smaller one") from None

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
                raise BadPicture("huge", f"{width} x {height} is over {self.limits.pixels / 1e6:g} megapixels")
            return self.recogniser.prepare(picture)

    def close(self) -> None:
        """Let the threads end."""
        self.batches.close()
        self.decoders.shutdown(wait=False, cancel_futures=True)


@contextmanager
def refusing(picture: bytes) -> Iterator[None]:
    """Whatever makes this picture unusable in the block becomes the answer."""
    try:
        yield
    except BadPicture as bad:
        known = any(picture.startswith(beginning) for beginning in BEGINNINGS)
        status = STATUS.get(bad.kind, 422 if known else 415)
        raise Refused(status, str(bad), "send a JPEG, PNG, GIF, WebP, BMP or TIFF file" if status == 415 else "") from None
    except MemoryError:
        raise Refused(413, "huge: there is no memory for this picture") from None
