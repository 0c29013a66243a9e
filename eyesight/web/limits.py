"""Limits on requests, and the error for exceeding them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock

from eyesight.system.memory import cores


@dataclass(frozen=True)
class Limits:
    """Memory stays under about `requests` × `bytes` + `decoders` × 8 × `pixels`."""

    bytes: int = 10_000_000  # of one upload
    pixels: int = 40_000_000  # of one image, read from its header
    upload_seconds: float = 20.0  # from the first byte of an upload to the last
    seconds: float = 10.0  # from the last byte to the answer
    requests: int = 64  # at the same time; the next one gets 503
    decoders: int = field(default_factory=lambda: min(4, cores()))


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """An HTTP error: status, message and hint."""

    def __init__(
        self, status: int, message: str, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.headers = status, message, hint, headers or {}

    def to_dict(self) -> dict[str, str]:
        """The error as the JSON body of the answer."""
        return {"error": self.message, "hint": self.hint}


class Queue:
    """A lock with a limited number of waiting threads, because other requests need threads too."""

    def __init__(self, task: str, most: int = 16, timeout: float = 10.0) -> None:
        self.task = task
        self.timeout = timeout
        self.places = BoundedSemaphore(most)
        self.lock = Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock within the block; raises Refused if too many wait."""
        if not self.places.acquire(blocking=False):
            raise busy(f"too many {self.task} are being drawn")
        try:
            if not self.lock.acquire(timeout=self.timeout):
                raise busy(f"too many {self.task} are being drawn")
            try:
                yield
            finally:
                self.lock.release()
        finally:
            self.places.release()


class Gate:
    """Count the requests in progress; used only in the event loop's thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0

    @property
    def full(self) -> bool:
        """Whether the next one would be rejected."""
        return self.inside >= self.most

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request within the block; raises Refused if the gate is full."""
        if self.full:
            raise busy(f"{self.inside} requests are being answered")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


def busy(message: str) -> Refused:
    """The error 503 with Retry-After."""
    return Refused(503, message, "try again in a second", {"Retry-After": "1"})
