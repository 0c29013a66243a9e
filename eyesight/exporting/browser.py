"""A Chromium without a window, in which an exported page shows that it answers rightly.

It is spoken to by its own debugging protocol through two pipes, so nothing has to be installed
beside the browser. It reaches no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from time import monotonic
from typing import IO, TypeAlias

from eyesight.errors import UserError
from eyesight.system.files import scratch

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

VARIABLE = "EYESIGHT_CHROMIUM"  # names the browser
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
OPTIONS = (
    "--headless=new",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--proxy-server=127.0.0.1:9",  # nobody listens there
    "--remote-debugging-pipe",
)
# Puts two pipes where the browser looks for them, whatever their numbers are, and becomes it.
PLACE = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
OTHER = f"try again, select another browser with {VARIABLE}, or export to ONNX"
PATIENCE = 120.0  # seconds for one answer
CHUNK = 1 << 16


def find_browser() -> Path | None:
    """The browser that $EYESIGHT_CHROMIUM names, else the first one of the usual names."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        return Path(chosen) if Path(chosen).is_file() else None
    for name in PROGRAMS:
        program = shutil.which(name)
        if program is not None:
            return Path(program)
    return next((Path(path) for path in APPLICATIONS if Path(path).is_file()), None)


def can_drive() -> bool:
    """Whether a browser can be given its pipes on this system."""
    return sys.platform != "win32"


@dataclass(eq=False)
class Page:
    """A page in the browser."""

    process: subprocess.Popen[bytes]
    commands: IO[bytes]
    answers: IO[bytes]
    session: str = ""
    number: int = 0
    buffer: bytearray = field(default_factory=bytearray)

    def send(self, method: str, **parameters: Json) -> dict[str, Json]:
        """Call a method of the protocol and return its result; raises UserError when it fails."""
        self.number += 1
        message: dict[str, Json] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        try:
            self.commands.write(json.dumps(message).encode() + b"\0")
            self.commands.flush()
        except OSError as error:
            raise self._ended() from error
        while True:
            reply = self._receive()
            if reply.get("id") == self.number:
                break
        problem = reply.get("error")
        if problem is not None:
            raise UserError(f"the browser rejected {method}: {problem}", OTHER)
        result = reply["result"]
        assert isinstance(result, dict)
        return result

    def evaluate(self, expression: str) -> Json:
        """The value of an expression in the page, awaited; raises UserError with its error."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        problem = result.get("exceptionDetails")
        if isinstance(problem, dict):
            thrown = problem.get("exception")
            text = thrown.get("description") if isinstance(thrown, dict) else None
            raise UserError(f"the page failed: {text or problem.get('text')}", OTHER)
        value = result["result"]
        assert isinstance(value, dict)
        return value.get("value")

    def _receive(self) -> Mapping[str, Json]:
        end = monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select([self.answers], [], [], max(0.0, end - monotonic()))
            if not ready:
                raise UserError(f"the browser did not respond for {PATIENCE:.0f} s", OTHER)
            block = os.read(self.answers.fileno(), CHUNK)
            if not block:
                raise self._ended()
            self.buffer += block
        message, _, rest = self.buffer.partition(b"\0")
        self.buffer = bytearray(rest)
        reply: Mapping[str, Json] = json.loads(message)
        return reply

    def _ended(self) -> UserError:
        return UserError(
            f"the browser exited unexpectedly (exit code {self.process.poll()})",
            f"check that it starts, or select another with {VARIABLE}",
        )


@contextmanager
def opened(browser: Path, page: Path) -> Iterator[Page]:
    """The file `page` in a new browser that ends with the block."""
    with scratch() as profile, _started(browser, profile) as driver:
        target = driver.send("Target.createTarget", url="about:blank")["targetId"]
        attached = driver.send("Target.attachToTarget", targetId=target, flatten=True)
        driver.session = str(attached["sessionId"])
        driver.send("Page.enable")
        driver.send("Page.navigate", url=page.resolve().as_uri())
        _wait_for_load(driver)
        yield driver


def _wait_for_load(driver: Page) -> None:
    driver.evaluate(
        "new Promise((done) => document.readyState === 'complete' && location.href !== "
        "'about:blank' ? done() : addEventListener('load', () => done()))"
    )


@contextmanager
def _started(browser: Path, profile: Path) -> Iterator[Page]:
    reads, commands = os.pipe()
    answers, writes = os.pipe()
    arguments = [str(browser), f"--user-data-dir={profile}", *OPTIONS]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # which the administrator cannot have
    with os.fdopen(commands, "wb") as to_browser, os.fdopen(answers, "rb", 0) as from_browser:
        try:
            process = subprocess.Popen(  # noqa: S603 - the browser that was found
                [sys.executable, "-SEc", PLACE, str(reads), str(writes), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(reads, writes),
                start_new_session=True,
            )
        finally:
            os.close(reads)
            os.close(writes)
        driver = Page(process, to_browser, from_browser)
        try:
            yield driver
        finally:
            _end(driver)


def _end(driver: Page) -> None:
    driver.session = ""
    with suppress(UserError):
        driver.send("Browser.close")
    try:
        driver.process.wait(10)
    except subprocess.TimeoutExpired:
        driver.process.kill()
        driver.process.wait()
