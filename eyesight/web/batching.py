"""Batching of requests: images that wait at the same time are predicted together."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from eyesight.data.prepare import Pixels, Preparation
from eyesight.results.answers import Answers
from eyesight.web.limits import Refused

if TYPE_CHECKING:
    from eyesight.classifier import Facts

Row = npt.NDArray[np.float32]  # probabilities, K


@dataclass(frozen=True, eq=False)
class Answer:
    """A classifier's prediction for one image; None for values that need calibration."""

    probabilities: Row
    set: npt.NDArray[np.bool_] | None = None  # K
    unlike: bool | None = None


def each(answers: Answers) -> list[Answer]:
    """The predictions of single images."""
    rows = []
    for place, probabilities in enumerate(answers.probabilities):
        among = None
        if answers.set is not None:
            among = answers.set[place]
        unlike = None
        if answers.unlike is not None:
            unlike = bool(answers.unlike[place] > 0)
        rows.append(Answer(probabilities, among, unlike))
    return rows


class Recogniser(Protocol):
    """The methods of a classifier that the service uses."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the probabilities."""

    @property
    def preparation(self) -> Preparation:
        """How pictures become pixels."""

    @property
    def facts(self) -> Facts:
        """Name, accuracy, threshold …"""

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """Decode bytes to uint8 C,H,W; raises BadPicture."""

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of uint8 N,C,H,W."""

    def answer(self, pixels: Pixels) -> Answers:
        """Probabilities, sets and doubt of uint8 N,C,H,W."""

    @property
    def supports_heatmap(self) -> bool:
        """Whether `heat` is available."""

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Heatmaps of the best class, N,h,w ≥ 0, for uint8 N,C,H,W."""


class Batches:
    """A queue for the thread that runs the network; for one event loop.

    A single image is not delayed.
    """

    def __init__(self, recogniser: Recogniser, most: int = 64) -> None:
        self.recogniser, self.most = recogniser, most
        self.waiting: deque[tuple[Pixels, asyncio.Future[Answer]]] = deque()
        self.thread = ThreadPoolExecutor(1, "network")
        self.working: asyncio.Task[None] | None = None

    async def answer(self, pixels: Pixels) -> Answer:
        """The prediction for a prepared image, uint8 C,H,W."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append((pixels, answer))
        if self.working is None:
            self.working = asyncio.create_task(self._work())
        return await answer

    async def all_of(self, pixels: Pixels) -> list[Answer]:
        """The predictions for images of one request, uint8 N,C,H,W.

        They are processed in batches, and other requests can run in between.
        """
        loop = asyncio.get_running_loop()
        rows: list[Answer] = []
        for start in range(0, len(pixels), self.most):
            batch = pixels[start : start + self.most]
            rows += await loop.run_in_executor(self.thread, self._infer, batch)
        return rows

    def _infer(self, pixels: Pixels) -> list[Answer]:
        return each(self.recogniser.answer(pixels))

    async def _work(self) -> None:
        """Process waiting images, and those that arrive meanwhile."""
        try:
            while self.waiting:
                batch: list[tuple[Pixels, asyncio.Future[Answer]]] = []
                while self.waiting and len(batch) < self.most:
                    pixels, answer = self.waiting.popleft()
                    if not answer.done():
                        batch.append((pixels, answer))
                await self._answer(batch)
        finally:
            self.working = None

    async def _answer(self, batch: list[tuple[Pixels, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        pixels = np.stack([pixels for pixels, _ in batch])
        try:
            rows = await asyncio.get_running_loop().run_in_executor(
                self.thread, self._infer, pixels
            )
        except Exception as error:  # fails these requests, not the service
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), row in zip(batch, rows, strict=True):
            if not answer.done():
                answer.set_result(row)

    def close(self) -> None:
        """Stop the thread."""
        self.thread.shutdown(wait=False, cancel_futures=True)


class Untrained:
    """A placeholder until a network is trained; every method raises Refused."""

    classes: tuple[str, ...] = ()
    preparation = Preparation(28, 28, 1)
    facts: Facts = {}  # noqa: RUF012 - never written to
    supports_heatmap = False

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """Raises Refused."""
        raise untrained()

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Raises Refused."""
        raise untrained()

    def answer(self, pixels: Pixels) -> Answers:
        """Raises Refused."""
        raise untrained()

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Raises Refused."""
        raise untrained()


def untrained() -> Refused:
    """The error while there is no trained network."""
    return Refused(
        503,
        "no network has been trained yet",
        "train one on the page /reader, or with `eyesight train digits`",
        {"Retry-After": "30"},
    )
