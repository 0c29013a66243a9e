"""How long-running functions report to their caller: messages, progress and finished epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

Talk = Callable[[str], None]  # receives one message
Progress = Callable[[int, int], None]  # receives (done, total)


def silent(message: str) -> None:
    """A `Talk` that ignores its message."""


def no_progress(done: int, total: int) -> None:
    """A `Progress` that ignores its numbers."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training, scored by the task's measure; None where nothing was measured."""

    epoch: int
    progress: float  # of the whole training, from 0 to 1
    lr: float
    train_loss: float
    train_score: float
    train_clean: (
        bool  # measured after the epoch on unblended images, because the batches were blends
    )
    validation_loss: float | None
    validation_score: float | None
    gradient: float  # norm of the last gradient
    pictures: int  # images seen
    seconds: float
    best: bool
    measure: str = "top1"  # the name of the score in a log
    # Loss and score on two halves of the validation images, where a second stage follows.
    halves: tuple[tuple[float, float], tuple[float, float]] | None = None

    def event(self) -> dict[str, object]:
        """The epoch as a line of a run's log."""
        values = asdict(self)
        key = values.pop("measure")
        if values["halves"] is None:
            del values["halves"]
        renamed = {name.replace("score", key): value for name, value in values.items()}
        return {"event": "epoch", **renamed}


class Reporter:
    """Receives the reports of a long-running function. This one ignores them.

    Override what you need.
    """

    def message(self, text: str) -> None:
        """Receive one line for people."""

    def progress(self, doing: str, done: float, total: float) -> None:
        """Receive how far `doing` is.

        Called as often as once a step. A smaller `done` starts over.
        """

    def run_began(self, folder: Path) -> None:
        """Receive the folder of the run that is trained from now on."""

    def epoch(self, epoch: Epoch) -> None:
        """Receive a finished epoch."""

    def step(self, step: int, loss: float) -> None:
        """Receive the loss of a batch, as often as the context's `every` asks for."""

    def counter(self, doing: str) -> Progress:
        """`progress` as a function of (done, total)."""
        return partial(self.progress, doing)


class Callbacks(Reporter):
    """Reports through functions: `message(text)` and `epoch(epoch)`."""

    def __init__(self, message: Talk, epoch: Callable[[Epoch], None]) -> None:
        self._message = message
        self._epoch = epoch

    def message(self, text: str) -> None:
        """Call the function for messages."""
        self._message(text)

    def epoch(self, epoch: Epoch) -> None:
        """Call the function for epochs."""
        self._epoch(epoch)
