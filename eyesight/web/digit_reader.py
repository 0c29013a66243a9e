"""Reading written digits for the pages: which network does it, what it says about each, and where a new one comes from.

The network being served may know dogs: then the newest run that knows just the ten digits reads; without one, a page offers to train it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from eyesight.data.prepare import BadPicture, Pixels, dimensions
from eyesight.errors import UserError
from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.runs import Run, list_runs
from eyesight.web.batching import Batches, Recogniser, Row, Untrained, untrained
from eyesight.web.samples import Collection
from eyesight.web.service import Service, refusing
from eyesight.web.training_job import Apprentice

DIGITS = tuple("0123456789")
SURE = 0.9  # MNIST's own threshold is lower; of scikit-learn's digits, by other hands, 97 % were right above this and 79 % below
PATIENCE = 1.0  # seconds that a page waits for a network which is being exported, before it says so
AGAIN = 60.0  # seconds after which a network that could not be taken is tried again
BOX_BYTES, BOX_PIXELS = 500_000, 1_000_000  # of one drawn box
RECIPE = (
    "digits",
    "--data",
    "digits",
)  # MNIST, or where it cannot be had scikit-learn's small digits


@dataclass(frozen=True, eq=False)
class Looked:
    """A box or a found digit as the network sees it, uint8 28,28, with its probabilities in the order of DIGITS; None for an empty one."""

    pixels: Pixels | None
    row: Row | None


class Reader:
    """What the reader's pages share; `collection` is None unless the server keeps samples, `trains` says whether visitors may train."""

    def __init__(
        self, service: Service, collection: Collection | None = None, *, trains: bool = True
    ) -> None:
        self.service, self.collection, self.lock = service, collection, Lock()
        self.known: Recogniser | None = (
            service.recogniser if knows_digits(service.recogniser) else None
        )
        self.batches: Batches | None = service.batches if self.known else None
        self.looked_at: str | None = None  # the run that was tried last
        self.failed: tuple[object, float] | None = (
            None  # its files and when, if it could not be taken: it is not tried all the time
        )
        self.apprentice = Apprentice(service.runs, self.find) if service.runs and trains else None
        self.finder, self.finding = ThreadPoolExecutor(1, "finder"), Future[None]()
        self.finding.set_result(None)
        self.trouble = ""  # why the last network that was found could not be taken

    async def looked(self) -> bool:
        """Look for a network; False while that goes on, since a run may have to be exported. One thread looks for all who ask."""
        if self.finding.done():
            self.finding = self.finder.submit(self._look_around)
        done, _ = await asyncio.wait([asyncio.wrap_future(self.finding)], timeout=PATIENCE)
        return bool(done)

    def _look_around(self) -> None:
        try:
            self.find()
        except (UserError, OSError) as error:
            self.trouble = str(error)

    def find(self) -> None:
        """Take the newest run that knows the ten digits, where there is no network yet; it may have to be exported first."""
        with self.lock:
            run = None if self.known or self.service.runs is None else newest(self.service.runs)
            if run is not None and self._worth_trying(run):
                self.looked_at = run.name
                from eyesight.exporting.onnx_file import exported

                try:
                    self.take(onnx_classifier.load(exported(run)))
                except BaseException:
                    self.failed = contents(run), time.monotonic()
                    raise

    def _worth_trying(self, run: Run) -> bool:
        """Whether it was not tried yet, or may have become better since: by other files, or by a disk that has room again."""
        if self.failed is None or run.name != self.looked_at:
            return True
        files, when = self.failed
        return time.monotonic() - when > AGAIN or contents(run) != files

    def take(self, known: Recogniser) -> None:
        """Read with this network from now on; where nothing was served yet, serve it too."""
        self.batches, self.known, self.trouble = Batches(known), known, ""
        if isinstance(self.service.recogniser, Untrained):
            self.service.batches.close()
            self.service.batches, self.service.recogniser = self.batches, known

    @property
    def threshold(self) -> float:
        """The probability from which on a digit need not be checked."""
        measured = self.known.facts.get("threshold") if self.known else None
        return max(SURE, float(measured["value"]) if measured else 0.0)

    async def look(self, pictures: list[Pixels | None]) -> list[Looked]:
        """Prepared digits, uint8 28,28, or None for empty ones, each with what the network says; raises Refused without a network."""
        known, batches = self.known, self.batches
        if known is None or batches is None:
            raise untrained()
        written = [known.prepare(pixels) for pixels in pictures if pixels is not None]
        order = [known.classes.index(digit) for digit in DIGITS]
        rows = iter(await batches.all_of(np.stack(written)) if written else ())
        return [
            Looked(pixels, None if pixels is None else next(rows).probabilities[order])
            for pixels in pictures
        ]

    async def boxes(self, pictures: list[bytes]) -> list[Looked]:
        """What is written in each box; raises Refused for what is no picture or too large."""
        loop = asyncio.get_running_loop()
        return await self.look(
            await loop.run_in_executor(
                self.service.decoders, lambda: [prepared(picture) for picture in pictures]
            )
        )

    def close(self) -> None:
        """Let what was begun end."""
        if self.apprentice:
            self.apprentice.stop()
        self.finder.shutdown(wait=False, cancel_futures=True)
        if self.batches is not None and self.batches is not self.service.batches:
            self.batches.close()


def knows_digits(known: Recogniser) -> bool:
    """Whether its answers are the ten digits and no others."""
    return set(known.classes) == set(DIGITS) and known.facts.get("target", "class") == "class"


def newest(folder: Path) -> Run | None:
    """The last run with a classifier of the ten digits."""
    for run in reversed(list_runs(folder)):
        try:
            described = run.read_json("classifier/classifier.json", missing_ok=True)
        except (UserError, OSError):
            continue
        if (
            set(described.get("classes", ())) == set(DIGITS)
            and described.get("target", "class") == "class"
        ):
            return run
    return None


def contents(run: Run) -> list[tuple[str, int, int]]:
    """Name, size and time of the files of which its network is made."""
    files = [
        file
        for folder in (run.classifier_path, file_of(run).parent)
        for file in sorted(folder.glob("*"))
    ]
    return [
        (file.name, about.st_size, about.st_mtime_ns) for file in files if (about := file.stat())
    ]


def prepared(picture: bytes) -> Pixels | None:
    """One drawn box as uint8 28,28, None when it is empty; raises Refused."""
    from eyesight.reader import mnist_digit

    with refusing(picture):
        width, height = dimensions(picture)
        if len(picture) > BOX_BYTES or width * height > BOX_PIXELS:
            raise BadPicture(
                "huge",
                f"a box has at most {BOX_PIXELS / 1e6:g} megapixels and {BOX_BYTES / 1e6:g} MB",
            )
        strength = mnist_digit.ink(mnist_digit.grey(picture))
        return None if strength is None else mnist_digit.fitted(strength)
