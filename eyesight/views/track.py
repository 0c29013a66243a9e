"""Follow a training in TensorBoard or MLflow: what its log holds, event by event.

The log stays the run's own record. How many of its events a track has is kept in `track.json`, so
that a resumed training goes on where its track ended.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

from eyesight.errors import UserError, unknown
from eyesight.results.records import Event
from eyesight.runs import Run, Status
from eyesight.system.progress import Epoch, Reporter

KINDS = ("tensorboard", "mlflow")
PACKAGES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow",)}
FOLDER = "track"  # of TensorBoard's files, in the run
FILE = "track.json"
EXPERIMENT = "eyesight"  # of MLflow's runs
ENDINGS: dict[Status, str] = {  # MLflow's words
    "done": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "running": "RUNNING",
}


class Track(Protocol):
    """Where the events of a log are written to."""

    id: str  # by which a resumed training finds it again

    def numbers(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write named numbers of a step; `time` is in seconds since 1970."""

    def text(self, name: str, text: str) -> None:
        """Write a text."""

    def close(self, status: Status) -> None:
        """Finish writing, and say how the run ended."""


class TensorBoard:
    """Event files in the run; `tensorboard --logdir RUNS` shows them."""

    def __init__(self, run: Run, first_step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = FOLDER
        # What a resumed training does again replaces what was written of these steps.
        self.writer = SummaryWriter(str(run.path / FOLDER), purge_step=first_step)

    def numbers(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write scalars and see them onto the disk."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, time)
        self.writer.flush()

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        self.writer.add_text(name, text)

    def close(self, status: Status) -> None:
        """Close the event file."""
        self.writer.close()


class MLflow:
    """A run of MLflow, at the address that its own settings name (MLFLOW_TRACKING_URI)."""

    def __init__(self, run: Run, earlier: str) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        self.id = earlier
        if earlier:
            self.client.update_run(earlier, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        number = (
            experiment.experiment_id if experiment else self.client.create_experiment(EXPERIMENT)
        )
        self.id = str(self.client.create_run(number, run_name=run.name).info.run_id)

    def numbers(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Log metrics."""
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, timestamp=round(1000 * time), step=step)

    def text(self, name: str, text: str) -> None:
        """Set a tag."""
        self.client.set_tag(self.id, name, text)

    def close(self, status: Status) -> None:
        """Say how the run ended."""
        self.client.set_terminated(self.id, status=ENDINGS[status])


class TrackingReporter(Reporter):
    """Reports as another does, and writes the log of the run to a track after every epoch."""

    def __init__(self, reporter: Reporter, kind: str) -> None:
        check_kind(kind)
        self.reporter = reporter
        self.kind = kind
        self.run: Run | None = None
        self.track: Track | None = None
        self.written = 0  # events of the log
        self.last_step = 0

    def message(self, text: str) -> None:
        """Pass a message on."""
        self.reporter.message(text)

    def progress(self, doing: str, done: float, total: float) -> None:
        """Pass the progress on."""
        self.reporter.progress(doing, done, total)

    def step(self, step: int, loss: float) -> None:
        """Pass the loss of a batch on."""
        self.reporter.step(step, loss)

    def run_began(self, folder: Path) -> None:
        """Take the run whose log is to be written."""
        self.run = Run(folder)
        kept = record(self.run, self.kind).get("events", 0)
        self.written = kept if isinstance(kept, int) else 0

    def epoch(self, epoch: Epoch) -> None:
        """Pass the epoch on, and write what the log has by now."""
        self.reporter.epoch(epoch)
        with self.giving_up():
            self.write()

    def close(self) -> None:
        """Write the rest of the log, how the training ended among it."""
        with self.giving_up():
            self.write(last=True)
            if self.run is not None and self.track is not None:
                self.track.close(self.run.status)

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """A track that cannot be written ends with a message, and the training goes on."""
        try:
            yield
        except Exception as error:  # of a server, a disk or another library
            self.run = None
            self.reporter.message(f"{self.kind} is not written any more: {error}")

    def write(self, *, last: bool = False) -> None:
        """Write the events that the track does not have yet.

        It is opened with the first epoch, from which a resumed training replaces what it had.
        """
        if self.run is None:
            return
        log = self.run.log
        fresh = log[min(self.written, len(log)) :]
        if not fresh:
            return
        if self.track is None:
            first = first_epoch(fresh)
            if first is None and not last:
                return
            self.track = open_track(self.kind, self.run, first if self.written else None)
        for event in fresh:
            self.write_event(self.track, event)
        self.written = len(log)
        keep_record(self.run, self.kind, self.track.id, self.written)

    def write_event(self, track: Track, event: Event) -> None:
        """Write one event of the log."""
        epoch = event.get("epoch")
        self.last_step = epoch if isinstance(epoch, int) else self.last_step
        track.numbers(dict(numbers_of(event)), self.last_step, seconds_of(event))
        for name in ("recipe", "message", "hint"):
            text = cast("dict[str, object]", event).get(name)
            if isinstance(text, str):
                track.text(name, text)


def check_kind(kind: str) -> None:
    """Raise UserError for a kind of track that is unknown or not installed."""
    if kind not in KINDS:
        raise unknown("track", kind, KINDS)
    missing = [name for name in PACKAGES[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--track {kind} needs {missing[0]}, which is not installed",
            "python -m pip install 'eyesight[track]'",
        )


def open_track(kind: str, run: Run, first_step: int | None) -> Track:
    """The track of a run; `first_step` is where a resumed training goes on, None for a new one."""
    if kind == "tensorboard":
        return TensorBoard(run, first_step)
    return MLflow(run, str(record(run, kind).get("id", "")))


def first_epoch(events: Sequence[Event]) -> int | None:
    """The number of the first epoch among the events."""
    for event in events:
        if event.get("event") == "epoch":
            return event.get("epoch")
    return None


def numbers_of(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, float]]:
    """Every number of an event under its path, such as `test/top1`."""
    for name, value in values.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping):
            yield from numbers_of(value, f"{path}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and path != "epoch":
            yield path, float(value)


def seconds_of(event: Event) -> float:
    """When an event was written, in seconds since 1970."""
    return datetime.fromisoformat(event["time"]).timestamp()


def record(run: Run, kind: str) -> dict[str, object]:
    """What a run keeps of its track of this kind; empty without one."""
    kept = run.read_json(FILE, missing_ok=True).get(kind)
    return dict(kept) if isinstance(kept, dict) else {}


def keep_record(run: Run, kind: str, track_id: str, events: int) -> None:
    """Note how much of the log a track has."""
    kept = run.read_json(FILE, missing_ok=True)
    run.write_json(FILE, {**kept, kind: {"id": track_id, "events": events}})
