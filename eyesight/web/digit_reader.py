"""The postal-code reader of the web pages: choose, load and train its network.

If the served network does not classify digits, the newest run with exactly the ten digits is used;
without one, the page offers to train it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from eyesight.data.prepare import BadPicture, Pixels, dimensions
from eyesight.errors import UserError
from eyesight.exporting.onnx_file import file_of
from eyesight.inference import onnx_classifier
from eyesight.runs import Run, list_runs
from eyesight.web.batching import Batches, Recogniser, Row, Untrained, untrained
from eyesight.web.samples import Collection
from eyesight.web.service import Service, refusing
from eyesight.web.training_job import TrainingJob

if TYPE_CHECKING:
    from eyesight.reader.postcode import PostalCode

DIGITS = tuple("0123456789")
SURE = 0.9  # of a digit; `benchmarks/envelopes.py` measures what it marks
PATIENCE = 1.0  # seconds that a page waits for a network which is being exported
AGAIN = 60.0  # seconds after which a network that could not be loaded is tried again
BOX_BYTES, BOX_PIXELS = 500_000, 1_000_000  # of one drawn box
RECIPE = "postal_digits"


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """A prepared digit, uint8 28,28, and its probabilities in the order of DIGITS.

    Both are None for an empty box.
    """

    pixels: Pixels | None
    probabilities: Row | None


@dataclass(frozen=True, eq=False)
class ReadCode:
    """A postal code and the height and width of the photograph it was read from."""

    code: PostalCode
    height: int
    width: int


class Reader:
    """The state that the reader's pages share.

    `collection` is None unless the server keeps samples; `trains` says whether visitors may train.
    """

    def __init__(
        self, service: Service, collection: Collection | None = None, *, trains: bool = True
    ) -> None:
        self.service = service
        self.collection = collection
        self.lock = Lock()
        self.recogniser: Recogniser | None = None
        self.batches: Batches | None = None
        self.run = ""  # the name of the run that reads
        if reads_digits(service.recogniser):
            self.recogniser = service.recogniser
            self.batches = service.batches
            self.run = service.run
        self.tried: str | None = None  # the run that was tried last
        self.failed: tuple[object, float] | None = (
            None  # its files, and when it could not be loaded
        )
        self.failure = ""
        self.training: TrainingJob | None = None
        if service.runs and trains:
            self.training = TrainingJob(service.runs, self.find)
        self.finder = ThreadPoolExecutor(1, "finder")
        self.finding: Future[None] = Future()
        self.finding.set_result(None)

    async def has_looked(self) -> bool:
        """Look for a network in a single thread; False while it is being exported."""
        if self.finding.done():
            self.finding = self.finder.submit(self._try_to_find)
        done, _ = await asyncio.wait([asyncio.wrap_future(self.finding)], timeout=PATIENCE)
        return bool(done)

    def _try_to_find(self) -> None:
        try:
            self.find()
        except (UserError, OSError) as error:
            self.failure = str(error)

    def find(self) -> None:
        """Load the newest run with the ten digits, exporting it if necessary."""
        with self.lock:
            if self.recogniser or self.service.runs is None:
                return
            run = newest_digits_run(self.service.runs)
            if run is None or not self._is_worth_trying(run):
                return
            self.tried = run.name
            from eyesight.exporting.onnx_file import exported

            try:
                self.use(onnx_classifier.load(exported(run)), run.name)
            except BaseException:
                self.failed = contents(run), time.monotonic()
                raise

    def _is_worth_trying(self, run: Run) -> bool:
        """Whether a run was not tried yet, or something may have changed since."""
        if self.failed is None or run.name != self.tried:
            return True
        files, when = self.failed
        return time.monotonic() - when > AGAIN or contents(run) != files

    def use(self, recogniser: Recogniser, run: str = "") -> None:
        """Use this network from now on; if no network is served yet, serve it too."""
        self._close_batches()
        self.batches = Batches(recogniser)
        self.recogniser = recogniser
        self.run = run
        self.failure = ""
        if isinstance(self.service.recogniser, Untrained):
            self.service.batches.close()
            self.service.batches = self.batches
            self.service.recogniser = recogniser
            self.service.run_name = run

    @property
    def threshold(self) -> float:
        """The probability above which a digit need not be checked."""
        if self.recogniser is None:
            return SURE
        measured = self.recogniser.facts.get("threshold")
        return max(SURE, float(measured["value"])) if measured else SURE

    async def read_digits(self, images: list[Pixels | None]) -> list[ReadDigit]:
        """Read prepared digits, uint8 28,28, None for empty ones; raises Refused if it cannot."""
        recogniser, batches = self.recogniser, self.batches
        if recogniser is None or batches is None:
            raise untrained()
        written = [recogniser.prepare(pixels) for pixels in images if pixels is not None]
        order = [recogniser.classes.index(digit) for digit in DIGITS]
        rows = iter(await batches.all_of(np.stack(written)) if written else ())
        digits = []
        for pixels in images:
            probabilities: Row | None = None
            if pixels is not None:
                probabilities = next(rows).probabilities[order]
            digits.append(ReadDigit(pixels, probabilities))
        return digits

    async def read_boxes(self, uploads: list[bytes]) -> list[ReadDigit]:
        """Read one drawn digit from each upload; raises Refused for what is no image."""
        loop = asyncio.get_running_loop()
        prepare_all = lambda: [prepared_box(upload) for upload in uploads]  # noqa: E731
        images = await loop.run_in_executor(self.service.decoders, prepare_all)
        return await self.read_digits(images)

    async def read_photograph(self, upload: bytes, digits: int | None) -> ReadCode:
        """Read the code on an uploaded photograph; raises Refused."""
        recogniser = self.recogniser
        if recogniser is None:
            raise untrained()
        loop = asyncio.get_running_loop()
        most = self.service.limits.pixels
        return await loop.run_in_executor(
            self.service.decoders, read_upload, upload, most, recogniser, digits
        )

    def close(self) -> None:
        """Stop the training and the threads."""
        if self.training:
            self.training.stop()
        self.finder.shutdown(wait=False, cancel_futures=True)
        self._close_batches()

    def _close_batches(self) -> None:
        """Stop the thread of the reader's own network; the service closes its own."""
        if self.batches is not None and self.batches is not self.service.batches:
            self.batches.close()


def reads_digits(recogniser: Recogniser) -> bool:
    """Whether the classes of a network are the ten digits and no others."""
    target = recogniser.facts.get("target", "class")
    return set(recogniser.classes) == set(DIGITS) and target == "class"


def newest_digits_run(folder: Path) -> Run | None:
    """The last run with a classifier of the ten digits."""
    for run in reversed(list_runs(folder)):
        try:
            described = run.read_json("classifier/classifier.json", missing_ok=True)
        except (UserError, OSError):
            continue
        classes = described.get("classes")
        of_digits = isinstance(classes, list) and sorted(map(str, classes)) == sorted(DIGITS)
        if of_digits and described.get("target", "class") == "class":
            return run
    return None


def contents(run: Run) -> list[tuple[str, int, int]]:
    """Name, size and time of the files that a run's network is made of."""
    files = []
    for folder in (run.classifier_path, file_of(run).parent):
        for file in sorted(folder.glob("*")):
            about = file.stat()
            files.append((file.name, about.st_size, about.st_mtime_ns))
    return files


def prepared_box(upload: bytes) -> Pixels | None:
    """One drawn box as uint8 28,28, None when it is empty; raises Refused."""
    from eyesight.reader import mnist_digit

    with refusing(upload):
        width, height = dimensions(upload)
        if len(upload) > BOX_BYTES or width * height > BOX_PIXELS:
            limits = f"{BOX_PIXELS / 1e6:g} megapixels and {BOX_BYTES / 1e6:g} MB"
            raise BadPicture("huge", f"a box may have at most {limits}")
        strength = mnist_digit.ink(mnist_digit.grey(upload))
        return None if strength is None else mnist_digit.fitted(strength)


def read_upload(upload: bytes, most: int, recogniser: Recogniser, digits: int | None) -> ReadCode:
    """Read the code on an encoded photograph of at most `most` pixels; raises Refused."""
    from eyesight.reader import mnist_digit, postcode

    order = [recogniser.classes.index(digit) for digit in DIGITS]

    def classify(images: Pixels) -> Row:
        prepared = np.stack([recogniser.prepare(pixels) for pixels in images])
        return recogniser.probabilities(prepared)[:, order]

    with refusing(upload):
        width, height = dimensions(upload)
        if width * height > most:
            raise BadPicture("huge", f"{width} x {height} is over {most / 1e6:g} megapixels")
        photograph = mnist_digit.grey(upload)
    code = postcode.read_code(photograph, classify, digits)
    return ReadCode(code, *photograph.shape)
