"""Talk on standard error: notes, progress bars with the time left, errors with their hints; never a byte on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from eyesight.errors import UserError

if TYPE_CHECKING:
    from eyesight.training.clock import Meter
    from eyesight.training.loop import Epoch

console = Console(stderr=True, highlight=False, soft_wrap=True)


def talk(message: str) -> None:
    """A note for the person."""
    console.print(Text(message, style="dim"))


def error(problem: UserError) -> None:
    """What happened and how to mend it."""
    console.print(Text.assemble(("error: ", "bold red"), problem.message))
    if problem.hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), problem.hint))


def duration(seconds: float) -> str:
    """For people: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def line(text: str, share: float) -> None:
    """Where something stands: written over by the next on a terminal, a line of its own elsewhere."""
    end = "\n" if not console.is_terminal or share == 1 else "\r"
    console.print(Text(f"{text}   ", style="dim"), end=end)


class Preparing:
    """A progress function for pictures being prepared: silence for what is quick; a count that falls begins another series."""

    def __init__(
        self, doing: str = "preparing pictures", show: Callable[[str, float], None] = line
    ) -> None:
        self.doing, self.show = doing, show
        self.began = self.said = time.monotonic()
        self.first = self.done = 0

    def __call__(self, done: int, total: int) -> None:
        """Called with the pictures done and in all, as often as one likes."""
        now = time.monotonic()
        if done < self.done or not done:
            self.began, self.said, self.first = now, now, done
        self.done = done
        if now - self.began < 1 or (
            now - self.said < (0.2 if console.is_terminal else 5) and done < total
        ):
            return
        self.said = now
        speed = (done - self.first) / (now - self.began)
        known = done * 50 >= total and speed > 0
        self.show(
            f"{self.doing} {done:,} of {total:,}"
            + (f", {duration((total - done) / speed)} left" if known else ""),
            done / total,
        )


class Standing(ProgressColumn):
    """What is done and the time left: of the training by the meter's own speed, or of what was shown since it last began."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter
        self.shown, self.share, self.at = "", 0.0, time.monotonic()

    def show(self, text: str, share: float) -> None:
        """How far something else is than training."""
        self.shown, self.share, self.at = text, share, time.monotonic()

    def render(self, task: Task) -> Text:
        """For one line of the display; a bar without a total moves to and fro."""
        left = self.meter.seconds_left()
        if trains := self.meter.began > self.at:
            self.shown, self.share = f"training {self.meter.progress:4.0%}", self.meter.progress
        if self.share == 1:  # what comes now is not known
            self.shown, self.share = "", 0.0
        task.total, task.completed = 1.0 if self.shown else None, self.share
        return Text(
            self.shown
            + (f", {duration(left)} left" if trains and self.shown and left is not None else ""),
            style="cyan",
        )


@contextmanager
def training(meter: Meter) -> Iterator[Callable[[str], Preparing]]:
    """A bar that follows the meter while the block trains, and what is made to say how far other work is; no bar outside a terminal."""
    if not console.is_terminal:
        yield Preparing
        return
    standing = Standing(meter)
    with Progress(BarColumn(), standing, console=console, transient=True) as bar:
        bar.add_task("", total=None)
        yield lambda doing: Preparing(doing, standing.show)


def epoch_line(epoch: Epoch) -> None:
    """One line for a finished epoch."""
    name = epoch.measure.replace("top1", "top-1").replace("_", " ")
    parts = [
        f"epoch {epoch.epoch:3d}",
        f"{epoch.progress:4.0%}",
        f"train loss {epoch.train_loss:.4f} {name} {epoch.train_score:.4f}",
    ]
    if epoch.validation_loss is not None:
        parts.append(
            f"validation loss {epoch.validation_loss:.4f} {name} {epoch.validation_score:.4f}"
        )
    parts.append(f"{epoch.pictures / max(epoch.seconds, 1e-9):,.0f} pictures/s")
    console.print(Text("  ".join(parts) + ("  best" if epoch.best else "")))
