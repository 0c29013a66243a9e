"""The time budget of a training and the seconds of its parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds since the program started, and seconds of a budget left for training."""

    started: float = field(default_factory=time.monotonic)
    budget: float | None = None  # seconds for everything
    reserve: float = 0.0  # seconds reserved for evaluation and saving
    minimum_steps: int = 0  # steps that are taken even if the time is up
    seconds: dict[str, float] = field(default_factory=dict)  # by part: data, features, training …
    now: Callable[[], float] = time.monotonic

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.now() - self.started

    def left(self) -> float:
        """Seconds left for training; infinite without a budget."""
        if self.budget is None:
            return math.inf
        return self.budget - self.reserve - self.elapsed()

    def lap(self, part: str) -> None:
        """Add the seconds since the last lap to `part`."""
        since_last = self.elapsed() - sum(self.seconds.values())
        self.seconds[part] = self.seconds.get(part, 0.0) + since_last
