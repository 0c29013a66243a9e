"""The time budget of a training, and what a caller sees of its progress."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds since the whole program began, and when training has to stop so that everything ends within the budget."""

    started: float  # time.monotonic() at the start
    budget: float | None = None  # seconds for everything
    reserve: float = 0.0  # seconds of it kept for evaluation and saving
    least: int = 0  # steps that are taken however late it is

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def left(self) -> float:
        """Seconds left for training; infinite without a budget."""
        return math.inf if self.budget is None else self.budget - self.reserve - self.elapsed()


@dataclass
class Meter:
    """What a progress bar may look at while training runs; the loop writes it and never reads it."""

    epoch: int = 0
    progress: float = 0.0
    pictures: int = 0
    began: float = 0.0  # time.monotonic() when training began, with `origin` done before
    origin: float = 0.0

    def seconds_left(self) -> float | None:
        """Time left by the speed so far; None before anything is known."""
        done = self.progress - self.origin
        return (
            (time.monotonic() - self.began) / done * (1 - self.progress)
            if self.began and done > 0.002
            else None
        )
