"""Output on standard error: notes, progress bars with the time left, errors with hints.

Nothing is written to standard output.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from eyesight.errors import UserError
from eyesight.system.progress import Epoch, Reporter

console = Console(stderr=True, highlight=False, soft_wrap=True)
QUICK = 1.0  # seconds before progress is shown
EVERY = 5.0  # seconds between two lines, where no terminal writes one over the other
EVERY_ON_TERMINAL = 0.2
KNOWN_FROM = 0.02  # the share of the work, or
KNOWN_AFTER = 20.0  # the seconds, after which the time left is shown


def talk(message: str) -> None:
    """Print a note on standard error."""
    console.print(Text(message, style="dim"))


def error(problem: UserError) -> None:
    """Print an error and its hint."""
    console.print(Text.assemble(("error: ", "bold red"), problem.message))
    if problem.hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), problem.hint))


def duration(seconds: float) -> str:
    """Seconds as readable text: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def budget_line(budget: float, given: str | None = None) -> str:
    """The budget in words, such as "budget: 2 minutes"; of a bare number, that it is seconds."""
    parts = []
    left = budget
    if budget >= 60:
        for name, seconds in (("hour", 3600), ("minute", 60)):
            count, left = divmod(left, seconds)
            if count:
                parts.append(f"{count:g} {name}" + "s" * (count != 1))
    if left or not parts:
        parts.append(f"{left:g} second" + "s" * (left != 1))
    line = f"budget: {' '.join(parts)}"
    if given is not None and given.strip().isdigit():
        line += f" (a bare number is seconds; {given.strip()}m is minutes)"
    return line


def epoch_line(epoch: Epoch) -> str:
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
    parts.append(f"{epoch.pictures / max(epoch.seconds, 1e-9):,.0f} images/s")
    if epoch.best:
        parts.append("best")
    return "  ".join(parts)


class ConsoleReporter(Reporter):
    """Prints messages and epochs, and how far the work is: as a bar inside `bar()`, else
    as lines.
    """

    def __init__(self) -> None:
        self.display: Progress | None = None
        self.doing = ""
        self.done = self.first = 0.0  # of the present work, and where it began
        self.began = self.shown = 0.0  # time.monotonic()

    def message(self, text: str) -> None:
        """Print a note."""
        talk(text)

    def epoch(self, epoch: Epoch) -> None:
        """Print a line for a finished epoch."""
        console.print(Text(epoch_line(epoch)))

    def step(self, step: int, loss: float) -> None:
        """Print the loss of a batch."""
        console.print(Text(f"step {step:6,}  loss {loss:.4f}"))

    def progress(self, doing: str, done: float, total: float) -> None:
        """Show the progress and the estimated time left.

        Nothing about what is quick.
        """
        now = time.monotonic()
        if doing != self.doing or done < self.done or not done:
            self.doing, self.first = doing, done
            self.began = self.shown = now
        self.done = done
        pause = EVERY_ON_TERMINAL if console.is_terminal else EVERY
        if now - self.began < QUICK or (now - self.shown < pause and done < total):
            return
        self.shown = now
        # A training without a bar has its epochs as lines.
        if self.display is not None or total != 1:
            self.show(self.describe(now - self.began, total), done / total)

    def describe(self, seconds: float, total: float) -> str:
        """What is done, how much of it, and the time left once the speed is known."""
        share = f"{self.done:,.0f} of {total:,.0f}"
        if total == 1:
            share = f"{self.done:4.0%}"
        speed = (self.done - self.first) / seconds
        steady = self.done >= KNOWN_FROM * total or seconds > KNOWN_AFTER
        if not steady or speed <= 0:
            return f"{self.doing} {share}"
        return f"{self.doing} {share}, {duration((total - self.done) / speed)} left"

    def show(self, text: str, share: float) -> None:
        """Put the text beside the bar, or print it: over the line before on a terminal."""
        if self.display is None:
            end = "\n" if not console.is_terminal or share == 1 else "\r"
            console.print(Text(f"{text}   ", style="dim"), end=end)
        elif share == 1:  # how long what comes now will take is not known
            (task,) = self.display.tasks
            task.total, task.completed, task.description = None, 0.0, ""
        else:
            (bar,) = self.display.task_ids
            self.display.update(bar, total=1.0, completed=share, description=text)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show progress as a bar while the block runs; no bar outside a terminal."""
        if not console.is_terminal:
            yield
            return
        text = TextColumn("{task.description}", style="cyan", markup=False)
        with Progress(BarColumn(), text, console=console, transient=True) as display:
            display.add_task("", total=None)
            self.display = display
            try:
                yield
            finally:
                self.display = None


reporter = ConsoleReporter()
