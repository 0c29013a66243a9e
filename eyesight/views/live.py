"""Reports of a training in a Python program: lines on standard error, or one notebook output."""

from __future__ import annotations

import html
import sys
import warnings
from typing import Any

from eyesight.results.history import EpochMetrics, curves_svg
from eyesight.system.progress import Epoch, Reporter

MESSAGES = 5  # last messages shown in a notebook
REDRAW = 0.01  # share of progress after which a notebook's output is drawn again


class Lines(Reporter):
    """A line on standard error for every message and every epoch."""

    def message(self, text: str) -> None:
        """Print a message."""
        sys.stderr.write(text + "\n")

    def epoch(self, epoch: Epoch) -> None:
        """Print a finished epoch."""
        sys.stderr.write(epoch_text(epoch) + "\n")


class Notebook(Reporter):
    """One output that is updated: progress, curves, the last messages."""

    def __init__(self, display: Any) -> None:
        self.history: list[EpochMetrics] = []
        self.messages: list[str] = []
        self.status = ""
        self.shown = ("", -1.0)
        self.handle = display(self._html(), raw=True, display_id=True)

    def message(self, text: str) -> None:
        """Show a message; only the last few stay."""
        self.messages = [*self.messages, text][-MESSAGES:]
        self._update()

    def progress(self, doing: str, done: float, total: float) -> None:
        """Show how far `doing` is."""
        share = done / max(total, 1e-9)
        before, at = self.shown
        if before == doing and 0 <= share - at < REDRAW and share < 1:
            return
        self.shown = (doing, share)
        self.status = f"{doing} {share:.0%}"
        self._update()

    def epoch(self, epoch: Epoch) -> None:
        """Add a finished epoch to the curves."""
        self.history.append(epoch_metrics(epoch))
        self.status = epoch_text(epoch)
        self._update()

    def _update(self) -> None:
        self.handle.update(self._html(), raw=True)

    def _html(self) -> dict[str, str]:
        """The output for pages, and for viewers without HTML."""
        lines = [f"<div>{html.escape(text)}</div>" for text in self.messages]
        curves = curves_svg(self.history) if self.history else ""
        status = html.escape(self.status)
        return {
            "text/html": f"<div>{curves}<div><b>{status}</b></div>{''.join(lines)}</div>",
            "text/plain": self.status,
        }


def reporter(*, verbose: bool = True) -> Reporter:
    """The reporter for where this program runs: a notebook, or anything else."""
    notebook = _in_notebook()
    if notebook:
        # timm's libraries remark on a progress bar that is not used here.
        warnings.filterwarnings("ignore", message="IProgress not found")
    if not verbose:
        return Reporter()
    if notebook:
        from IPython.display import display

        return Notebook(display)
    return Lines()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def epoch_metrics(epoch: Epoch) -> EpochMetrics:
    """A finished epoch as a run's history has it."""
    return EpochMetrics(
        epoch.epoch,
        epoch.lr,
        epoch.train_loss,
        epoch.train_score,
        epoch.validation_loss,
        epoch.validation_score,
        epoch.seconds,
        epoch.best,
    )


def epoch_text(epoch: Epoch) -> str:
    """One line for a finished epoch."""
    name = epoch.measure.replace("top1", "accuracy").replace("_", " ")
    parts = [
        f"epoch {epoch.epoch:3d}",
        f"{epoch.progress:4.0%}",
        f"train loss {epoch.train_loss:.4f} {name} {epoch.train_score:.4f}",
    ]
    if epoch.validation_loss is not None and epoch.validation_score is not None:
        validation = f"{epoch.validation_loss:.4f} {name} {epoch.validation_score:.4f}"
        parts.append(f"validation loss {validation}")
    return "  ".join(parts)
