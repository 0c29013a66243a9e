"""Long-running jobs, one at a time: trainings, checks and exports as child processes.

A child process ends with the server; a training's progress is saved in its run.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen
from threading import Lock, Thread

from eyesight.errors import UserError
from eyesight.studio.projects import Project
from eyesight.system.child_process import last_error, start_with_parent
from eyesight.system.json_value import JsonObject

LINES = 200  # lines of a child's output that are kept


class Job:
    """A job of a project; `doing` is its last message, `seconds` what it may take."""

    def __init__(self, project: Project, kind: str, seconds: float | None = None) -> None:
        self.project = project
        self.kind = kind
        self.began = time.monotonic()
        self.seconds = seconds
        self.before = frozenset(run.name for run in project.runs)
        self.lines: deque[str] = deque(maxlen=LINES)
        self.busy = True
        self.stopped = False
        self.problem = ""
        self.hint = ""
        self.process: Popen[bytes] | None = None
        self.lock = Lock()

    @property
    def doing(self) -> str:
        """The last message."""
        return self.lines[-1] if self.lines else ""

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the job should end; None without a limit."""
        if self.seconds is None:
            return None
        return max(0.0, self.began + self.seconds - time.monotonic())

    def run(self, arguments: Sequence[str]) -> JsonObject:
        """Run `eyesight ARGUMENTS --json` and return its output.

        Raises UserError if it fails or is stopped.
        """
        with tempfile.TemporaryFile() as output:
            with self.lock:
                if self.stopped:
                    raise stopped()
                process = start_with_parent([*arguments, "--json"], stdout=output)
                self.process = process
            assert process.stderr is not None and process.stdin is not None
            with process.stderr, process.stdin:
                for line in process.stderr:
                    text = line.decode(errors="replace").strip()
                    if text:
                        self.lines.append(text)
                code = process.wait()
            if self.stopped or code < 0:
                raise stopped()
            if code:
                raise self._failure()
            output.seek(0)
            return as_object(output.read())

    def _failure(self) -> UserError:
        text = "\n".join(self.lines)
        _, _, hint = text.rpartition("hint: ")
        return UserError(last_error(text), hint.splitlines()[0] if hint else "try again")

    def stop(self) -> None:
        """Stop the job; a training can be resumed."""
        with self.lock:
            self.stopped = True
            if self.process is not None and self.process.poll() is None:
                self.process.terminate()


class Jobs:
    """The jobs of a server: one at a time; the last job of each project is kept."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.current: Job | None = None
        self.last: dict[Path, Job] = {}
        self.threads: list[Thread] = []

    def of(self, project: Project) -> Job | None:
        """The last job of a project since the server started."""
        return self.last.get(project.path)

    def start(
        self,
        project: Project,
        kind: str,
        work: Callable[[Job], None],
        seconds: float | None = None,
    ) -> Job:
        """Start a job in a thread; raises UserError while another one is running."""
        with self.lock:
            if self.current is not None and self.current.busy:
                raise UserError(
                    f"{self.current.project.title} is already running",
                    "wait until it has finished, or stop it there",
                )
            job = Job(project, kind, seconds)
            self.current = self.last[project.path] = job
        thread = Thread(target=perform, args=(job, work), name=kind, daemon=True)
        self.threads.append(thread)
        thread.start()
        return job

    def close(self) -> None:
        """Stop the running job."""
        if self.current is not None:
            self.current.stop()
        for thread in self.threads:
            thread.join(5)


def perform(job: Job, work: Callable[[Job], None]) -> None:
    """Run a job and store its error."""
    try:
        work(job)
    except UserError as error:
        job.problem, job.hint = error.message, error.hint
    except Exception as error:  # the page must report that the job failed
        job.problem = f"{type(error).__name__}: {error}"
    finally:
        job.busy = False


def as_object(text: bytes) -> JsonObject:
    """Parse a command's JSON output; raises UserError if it is invalid."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError("the command printed no result", "try again")
    return values


def stopped() -> UserError:
    """The error of a job stopped by the user."""
    return UserError("it was stopped", "start it again")
