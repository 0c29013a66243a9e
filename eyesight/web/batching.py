"""Pictures that wait at the same time are looked at together; one that comes alone waits for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from eyesight.data.prepare import Pixels, Preparation
from eyesight.web.limits import Refused

if TYPE_CHECKING:
    from eyesight.classifier import Facts

Row = npt.NDArray[np.float32]  # probabilities, K


class Recogniser(Protocol):
    """What the service needs of a classifier, whichever file it came from."""

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
        """Encoded bytes as uint8 C,H,W; raises BadPicture."""

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of uint8 N,C,H,W."""

    @property
    def supports_heatmap(self) -> bool:
        """Whether `heat` has an answer."""

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Where it looked for its best class, N,h,w ≥ 0, of uint8 N,C,H,W."""


class Batches:
    """A queue in front of one thread that runs the network; used from one event loop."""

    def __init__(self, recogniser: Recogniser, most: int = 64) -> None:
        self.recogniser, self.most = recogniser, most
        self.waiting: deque[tuple[Pixels, asyncio.Future[Row]]] = deque()
        self.thread = ThreadPoolExecutor(1, "network")
        self.working: asyncio.Task[None] | None = None

    async def probabilities(self, pixels: Pixels) -> Row:
        """Probabilities K of one prepared picture, uint8 C,H,W."""
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self.waiting.append((pixels, answer))
        if self.working is None:
            self.working = asyncio.create_task(self._work())
        return await answer

    async def all_of(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities N,K of pictures that came together, uint8 N,C,H,W, in portions that let others in between."""
        loop = asyncio.get_running_loop()
        portions = [pixels[start : start + self.most] for start in range(0, len(pixels), self.most)]
        return np.concatenate(
            [
                await loop.run_in_executor(self.thread, self.recogniser.probabilities, portion)
                for portion in portions
            ]
        )

    async def _work(self) -> None:
        """Answer everybody, including those who come while the network is busy."""
        try:
            while self.waiting:
                together = [
                    self.waiting.popleft() for _ in range(min(self.most, len(self.waiting)))
                ]
                await self._answer(
                    [(pixels, answer) for pixels, answer in together if not answer.done()]
                )
        finally:
            self.working = None

    async def _answer(self, together: list[tuple[Pixels, asyncio.Future[Row]]]) -> None:
        if not together:
            return
        pixels = np.stack([pixels for pixels, _ in together])
        try:
            rows = await asyncio.get_running_loop().run_in_executor(
                self.thread, self.recogniser.probabilities, pixels
            )
        except Exception as error:  # whatever the network raises is the answer to these requests, not the end of the service
            for _, answer in together:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), row in zip(together, rows, strict=True):
            if not answer.done():
                answer.set_result(row)

    def close(self) -> None:
        """Let the thread end."""
        self.thread.shutdown(wait=False, cancel_futures=True)


class Untrained:
    """Stands where a network will be: it knows nothing yet and says so to whoever asks."""

    classes: tuple[str, ...] = ()
    preparation = Preparation(28, 28, 1)
    facts: Facts = {}  # noqa: RUF012 - never written to
    supports_heatmap = False

    def prepare(self, picture: bytes | Pixels) -> Pixels:
        """Refused: there is nothing to prepare for."""
        raise untrained()

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Refused."""
        raise untrained()

    def heat(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Refused."""
        raise untrained()


def untrained() -> Refused:
    """The answer while no network is there to give one."""
    hint = "/reader offers to train the digits; or: eyesight train digits"
    return Refused(
        503, "nothing has been trained yet that could answer", hint, {"Retry-After": "30"}
    )
