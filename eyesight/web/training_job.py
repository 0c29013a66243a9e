"""A training begun on a page: a process of its own, so that the server answers meanwhile."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread

from eyesight.errors import UserError
from eyesight.runs import Run, list_runs
from eyesight.system.child_process import last_error, start_with_parent

MARK = "by_page.json"  # `eyesight serve` without a name prefers runs that have no such file
HINT = "start it again, on the page or with eyesight train"


class TrainingJob:
    """One training at a time into the folder `runs`.

    `done` is called in the job's thread when a training has ended well.
    """

    def __init__(self, runs: Path, done: Callable[[], None]) -> None:
        self.runs = runs
        self.done = done
        self.lock = Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.busy = False
        self.stopped = False
        self.problem = ""
        self.before: frozenset[str] = frozenset()  # the runs that were there when it began

    def start(self, recipe: str, *options: str) -> bool:
        """Begin `eyesight train RECIPE`; False when a training is going on already."""
        with self.lock:
            if self.busy:
                return False
            self.busy = True
            self.problem = ""
            self.before = frozenset(run.name for run in list_runs(self.runs))
        Thread(target=self._work, args=(recipe, *options), name="training", daemon=True).start()
        return True

    def _work(self, recipe: str, *options: str) -> None:
        try:
            self._train(["train", recipe, *options, "--out", str(self.runs), "--json"])
            run = self.run
            if run is not None:
                run.write_json(MARK, {"page": "/reader"})
            self.done()
        except UserError as error:
            self.problem = error.message
        except Exception as error:  # the page must say that nothing will come of this training
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self.busy = False

    def _train(self, arguments: list[str]) -> None:
        with tempfile.TemporaryFile() as errors:  # a pipe that nobody reads would stop it
            with self.lock:
                if self.stopped:
                    raise UserError("the training was stopped", HINT)
                process = start_with_parent(arguments, stdout=subprocess.DEVNULL, stderr=errors)
                self.process = process
            assert process.stdin is not None
            with process.stdin:  # as long as it is open, the training goes on
                code = process.wait()
            if code < 0:
                raise UserError("the training was stopped", HINT)
            if code > 0:
                errors.seek(0)
                raise UserError(last_error(errors.read().decode(errors="replace")), HINT)

    @property
    def run(self) -> Run | None:
        """The run that is being trained, as soon as there is one."""
        if not self.busy:
            return None
        for run in reversed(list_runs(self.runs)):
            if run.name not in self.before:
                return run
        return None

    def stop(self) -> None:
        """End the training with the server; `eyesight train --resume` could go on."""
        with self.lock:
            self.stopped = True
            if self.process is not None and self.process.poll() is None:
                self.process.terminate()


def seconds_left(run: Run) -> float | None:
    """How long a training will still take, from its epochs so far; None before the first one."""
    log = run.log
    starts = [str(event["time"]) for event in log if event.get("event") == "start"]
    epochs = [event for event in log if event.get("event") == "epoch"]
    progress = float(epochs[-1].get("progress") or 0.0) if epochs else 0.0
    if not starts or not progress:
        return None
    last = datetime.fromisoformat(str(epochs[-1]["time"]))
    taken = (last - datetime.fromisoformat(starts[0])).total_seconds()
    since = (datetime.now(UTC) - last).total_seconds()
    return max(0.0, taken * (1 - progress) / progress - since)
