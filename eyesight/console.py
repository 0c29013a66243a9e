"""Talk on standard error: notes, progress bars with the time left, errors with their hints; never a byte on standard output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from eyesight.errors import UserError

if TYPE_CHECKING:
    from eyesight.loop import Epoch, Meter

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


class Preparing:
    """A progress function for pictures being prepared: a bar on a terminal, silence for what is quick, else lines."""

    def __init__(self, doing: str = "preparing pictures") -> None:
        self.doing = doing
        self.began = self.said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Called with the pictures done and in all, as often as one likes."""
        now = time.monotonic()
        if now - self.said < (0.2 if console.is_terminal else 5) and done < total:
            return
        if now - self.began < 1 or done * 50 < total:  # too early to know the speed
            return
        self.said = now
        left = (now - self.began) / max(done, 1) * (total - done)
        end = "\n" if not console.is_terminal or done == total else "\r"
        console.print(Text(f"{self.doing} {done:,} of {total:,}, {duration(left)} left   ", style="dim"), end=end)


class TimeLeft(ProgressColumn):
    """The time left by the meter's own speed."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def render(self, task: Task) -> Text:
        """For one line of the display."""
        task.completed = self.meter.progress
        left = self.meter.seconds_left()
        return Text("" if left is None else f"{duration(left)} left", style="cyan")


@contextmanager
def training(meter: Meter) -> Iterator[None]:
    """A bar that follows the meter while the block trains; nothing where standard error is no terminal."""
    if not console.is_terminal:
        yield
        return
    bar = Progress(
        TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeLeft(meter), console=console, transient=True
    )
    with bar:
        bar.add_task("", total=1.0)
        yield


def epoch_line(epoch: Epoch) -> None:
    """One line for a finished epoch."""
    name = epoch.measure.replace("top1", "top-1").replace("_", " ")
    parts = [f"epoch {epoch.epoch:3d}", f"{epoch.progress:4.0%}", f"train loss {epoch.train_loss:.4f} {name} {epoch.train_score:.4f}"]
    if epoch.validation_loss is not None:
        parts.append(f"validation loss {epoch.validation_loss:.4f} {name} {epoch.validation_score:.4f}")
    parts.append(f"{epoch.pictures / max(epoch.seconds, 1e-9):,.0f} pictures/s")
    console.print(Text("  ".join(parts) + ("  best" if epoch.best else "")))
