"""Process uploads into predictions, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from starlette.requests import Request

from eyesight.data.prepare import BadPicture, Pixels, dimensions, looks_like_image
from eyesight.inference import dense as render
from eyesight.inference.annotate import overlaid
from eyesight.inference.dense import Rendered
from eyesight.inference.onnx_classifier import OnnxClassifier
from eyesight.web.batching import Answer, Batches, Recogniser, Row
from eyesight.web.limits import Gate, Limits, Refused
from eyesight.web.uploads import drain, read_picture, read_pictures

Result = TypeVar("Result")
# Images so small that decoding them takes 0.1 ms, less than handing them to another thread.
SMALL_BYTES = 4096
SMALL_PIXELS = 64 * 64
MANY = 64  # images in one form
BATCH = 64  # images that go through the network together at most
BATCH_BYTES = 32 << 20  # of the answers of one batch
HINTS = {
    413: "send a smaller image; the network scales it down anyway",
    415: "send a JPEG, PNG, GIF, WebP, BMP or TIFF file",
    422: (
        "the file is damaged or truncated: open it in an image viewer, save it again, and "
        "send the new file"
    ),
}
STATUS = {"huge": 413, "empty": 422, "truncated": 422, "size": 422}


class Service:
    """A recogniser, the folder of runs (None when there is none) and the limits of one server.

    `run` names the run that the recogniser comes from, if the caller knows it.
    """

    def __init__(
        self, recogniser: Recogniser, runs: Path | None, limits: Limits, run: str | None = None
    ) -> None:
        self.recogniser = recogniser
        self.runs = runs
        self.run_name = run
        self.limits = limits
        self.gate = Gate(limits.requests)
        self.batches = Batches(recogniser, batch_size(recogniser))
        self.decoders = ThreadPoolExecutor(limits.decoders, "decoder")

    @property
    def run(self) -> str:
        """The name of the run that answers; "" for a network that comes from no run."""
        return self.run_name or str(self.recogniser.facts.get("run") or "")

    @property
    def threshold(self) -> float | None:
        """The probability from which on a prediction is sure; None if it was not measured."""
        threshold = self.recogniser.facts.get("threshold")
        return float(threshold["value"]) if threshold else None

    @property
    def only(self) -> str | None:
        """The kind of all classes but the last, "everything else", of a narrowed network."""
        return self.recogniser.facts.get("only")

    @property
    def names(self) -> tuple[str, ...]:
        """The class names."""
        return self.recogniser.classes[:-1] if self.only else self.recogniser.classes

    @property
    def target(self) -> str:
        """The target of the network: "class", "picture" (reconstruction) or "mask"."""
        return str(self.recogniser.facts.get("target") or "class")

    def require_classes(self) -> None:
        """Raise Refused if the network does not predict classes."""
        if self.target != "class":
            raise Refused(
                404,
                f"this network predicts a {self.target}, not a class",
                "send it to /api/render",
            )

    async def recognise(self, request: Request) -> Answer:
        """Probabilities K of the image in a request; raises Refused."""
        self.require_classes()
        return await self._answer(request, self._classify)

    async def recognise_many(self, request: Request) -> list[Answer | Refused]:
        """Probabilities K, or an error, of each image in a request's form.

        Raises Refused when the form itself cannot be used.
        """
        self.require_classes()
        async with self.entered(request):
            images = await read_pictures(request, self.limits, MANY)
            return await self.in_time(self._classify_all(images))

    async def render(self, request: Request) -> tuple[Rendered, bytes]:
        """The scores of a mask or a restored image, and a drawing of it as PNG; raises Refused."""
        if self.target == "class":
            raise Refused(404, "this network predicts classes", "send it to /api/predict")
        return await self._answer(request, self._render)

    async def explain(self, request: Request) -> bytes:
        """The heatmap over the image in a request as PNG; raises Refused."""
        self.require_classes()
        return await self._answer(request, self._heatmap)

    async def _answer(
        self, request: Request, process: Callable[[bytes], Awaitable[Result]]
    ) -> Result:
        async with self.entered(request):
            return await self.in_time(process(await read_picture(request, self.limits)))

    @asynccontextmanager
    async def entered(self, request: Request) -> AsyncIterator[None]:
        """Count the request; when there are too many, read its body before it is refused."""
        if self.gate.full:
            await drain(request, self.limits)
        with self.gate.enter():
            yield

    async def in_time(self, answer: Awaitable[Result]) -> Result:
        """The answer, or Refused when it takes too long."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await answer
        except TimeoutError:
            raise Refused(
                504,
                f"this took longer than {self.limits.seconds:g} seconds",
                "send fewer or smaller images",
            ) from None

    async def _classify(self, picture: bytes) -> Answer:
        return await self.batches.answer(await self._pixels(picture))

    async def _render(self, picture: bytes) -> tuple[Rendered, bytes]:
        recogniser = self.recogniser
        assert isinstance(recogniser, OnnxClassifier)
        pixels = await self._pixels(picture)
        output = (await self.batches.answer(pixels)).probabilities
        return await asyncio.get_running_loop().run_in_executor(
            self.decoders, draw, recogniser, pixels, output
        )

    async def _heatmap(self, picture: bytes) -> bytes:
        pixels = await self._pixels(picture)
        loop = asyncio.get_running_loop()
        heat = await loop.run_in_executor(self.batches.thread, self.recogniser.heat, pixels[None])
        return await loop.run_in_executor(self.decoders, overlaid, pixels, heat[0])

    async def _pixels(self, picture: bytes) -> Pixels:
        pixels = self.prepare_small(picture)
        if pixels is not None:
            return pixels
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.decoders, self.prepare, picture)

    async def _classify_all(self, pictures: list[bytes]) -> list[Answer | Refused]:
        """Decode the images one after another in one thread and classify them together."""
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self.decoders, self.prepare_all, pictures)
        good = [pixels for pixels in prepared if not isinstance(pixels, Refused)]
        rows = iter(await self.batches.all_of(np.stack(good)) if good else ())
        return [pixels if isinstance(pixels, Refused) else next(rows) for pixels in prepared]

    def prepare_small(self, picture: bytes) -> Pixels | None:
        """The pixels of an image too small to be worth another thread; None for larger ones."""
        if len(picture) > SMALL_BYTES:
            return None
        with refusing(picture):
            width, height = dimensions(picture)
            return self.recogniser.prepare(picture) if width * height <= SMALL_PIXELS else None

    def prepare(self, picture: bytes) -> Pixels:
        """Decode and prepare an image; raises Refused when it cannot be read or is too large."""
        with refusing(picture):
            width, height = dimensions(picture)
            if width * height > self.limits.pixels:
                raise BadPicture(
                    "huge", f"{width} x {height} is over {self.limits.pixels / 1e6:g} megapixels"
                )
            return self.recogniser.prepare(picture)

    def prepare_all(self, pictures: list[bytes]) -> list[Pixels | Refused]:
        """Decode and prepare several images; an error stands for one that cannot be read."""
        prepared: list[Pixels | Refused] = []
        for picture in pictures:
            try:
                prepared.append(self.prepare(picture))
            except Refused as refused:
                prepared.append(refused)
        return prepared

    def close(self) -> None:
        """Stop the threads."""
        self.batches.close()
        self.decoders.shutdown(wait=False, cancel_futures=True)


def draw(recogniser: OnnxClassifier, pixels: Pixels, output: Row) -> tuple[Rendered, bytes]:
    """The scores of an output, and its drawing as PNG; slow enough to need a thread of its own."""
    scores = render.figures(recogniser, "", pixels, output, recogniser.facts.get("unfamiliar_from"))
    return scores, render.drawn(recogniser, pixels, output)


def batch_size(recogniser: Recogniser) -> int:
    """How many images go through the network together; fewer where each pixel has an output."""
    if recogniser.facts.get("target") != "mask":
        return BATCH
    pixels = int(np.prod(recogniser.preparation.shape[1:]))
    bytes_per_image = 4 * len(recogniser.classes) * pixels
    return max(1, min(BATCH, BATCH_BYTES // bytes_per_image))


@contextmanager
def refusing(picture: bytes) -> Iterator[None]:
    """Turn what makes this image unusable into the error that the client gets."""
    try:
        yield
    except BadPicture as bad:
        default = 422 if looks_like_image(picture) else 415
        status = STATUS.get(bad.kind, default)
        raise Refused(status, str(bad), HINTS[status]) from None
    except MemoryError:
        raise Refused(413, "too large: not enough memory for this image", HINTS[413]) from None
