"""What one visitor may ask of the server, and the answer to whoever asks for more."""

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
    pixels: int = 40_000_000  # of one picture, read from its header
    upload_seconds: float = 20.0  # from the first byte of an upload to the last
    seconds: float = 10.0  # from the last byte to the answer
    requests: int = (
        64  # pictures on their way at the same time; the next one is asked to come again
    )
    decoders: int = field(default_factory=lambda: min(4, cores()))


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that gets `status` and a sentence instead of what it asked for."""

    def __init__(
        self, status: int, message: str, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.headers = status, message, hint, headers or {}

    def to_dict(self) -> dict[str, str]:
        """The form every refusal has."""
        return {"error": self.message, "hint": self.hint}


class Turns:
    """One thread after another, and only so many that wait: they are the server's threads, which others need too."""

    def __init__(self, what: str, most: int = 16, patience: float = 10.0) -> None:
        self.what, self.patience = what, patience
        self.places, self.turn = BoundedSemaphore(most), Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Be the only one until the block ends; raises Refused when too many wait, or for too long."""
        if not self.places.acquire(blocking=False):
            raise self._refusal()
        try:
            if not self.turn.acquire(timeout=self.patience):
                raise self._refusal()
            try:
                yield
            finally:
                self.turn.release()
        finally:
            self.places.release()

    def _refusal(self) -> Refused:
        return Refused(
            503,
            f"too many {self.what} are being made already",
            "come again in a second",
            {"Retry-After": "1"},
        )


class Gate:
    """Counts the requests inside; only ever touched by the event loop's thread."""

    def __init__(self, most: int) -> None:
        self.most, self.inside = most, 0

    @property
    def full(self) -> bool:
        """Whether the next one would be refused."""
        return self.inside >= self.most

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside until the block ends; raises Refused when it is full."""
        if self.full:
            raise Refused(
                503,
                f"{self.inside} pictures are being looked at already",
                "come again in a second",
                {"Retry-After": "1"},
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
