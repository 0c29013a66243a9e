"""A training that was started from a page: a process of its own, so that the server answers meanwhile and never loads torch."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread

from eyesight.errors import UserError
from eyesight.runs import Run, list_runs
from eyesight.system.child_process import last_error

MARK = "by_page.json"  # in a run that a page began: `eyesight serve` without a name prefers what a person trained
AGAIN = "begin it again, on the page or with eyesight train"


class Apprentice:
    """One training at a time, into the folder `runs`; `done` is called in the apprentice's thread when it has ended well."""

    def __init__(self, runs: Path, done: Callable[[], None]) -> None:
        self.runs, self.done, self.lock = runs, done, Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.busy, self.stopped, self.problem, self.before = False, False, "", frozenset[str]()

    def start(self, recipe: str, *options: str) -> bool:
        """Begin `eyesight train RECIPE`; False when a training is going on already."""
        with self.lock:
            if self.busy:
                return False
            self.busy, self.problem, self.before = (
                True,
                "",
                frozenset(run.name for run in list_runs(self.runs)),
            )
        Thread(target=self._work, args=(recipe, *options), name="apprentice", daemon=True).start()
        return True

    def _work(self, recipe: str, *options: str) -> None:
        try:
            self._train(
                [
                    sys.executable,
                    "-m",
                    "eyesight",
                    "train",
                    recipe,
                    *options,
                    "--out",
                    str(self.runs),
                    "--json",
                ]
            )
            if (run := self.run) is not None:
                run.write_json(MARK, {"page": "/reader"})
            self.done()
        except UserError as error:
            self.problem = error.message
        except (
            Exception
        ) as error:  # whatever it was, the page has to say that nothing will come of this training
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self.busy = False

    def _train(self, command: list[str]) -> None:
        with tempfile.TemporaryFile() as said:  # a pipe that nobody reads would stop it
            with self.lock:
                if self.stopped:
                    raise UserError("the training was stopped", AGAIN)
                self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)  # noqa: S603 - this very program
            code = self.process.wait()
            if code:
                said.seek(0)
                raise UserError(
                    last_error(said.read().decode(errors="replace"))
                    if code > 0
                    else "the training was stopped",
                    AGAIN,
                )

    @property
    def run(self) -> Run | None:
        """The run it works on, as soon as there is one."""
        return (
            next(
                (run for run in reversed(list_runs(self.runs)) if run.name not in self.before), None
            )
            if self.busy
            else None
        )

    def stop(self) -> None:
        """End it with the server; `eyesight train digits --resume` could go on."""
        with self.lock:
            self.stopped = True
            if self.process is not None and self.process.poll() is None:
                self.process.terminate()
