"""Start a server: choose the classifier, the port and the access rules.

A run is exported once and served from its ONNX file, so the server never loads torch.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eyesight.errors import UserError
from eyesight.exporting.onnx_file import exported, pretrained
from eyesight.inference import onnx_classifier
from eyesight.inference.predict import is_backbone_name
from eyesight.runs import Run, list_runs
from eyesight.studio.collecting import BYTES
from eyesight.studio.qr import for_terminal
from eyesight.system.progress import Talk, silent
from eyesight.web.limits import Limits
from eyesight.web.studio.share import Share
from eyesight.web.training_job import MARK

if TYPE_CHECKING:
    from fastapi import FastAPI

    from eyesight.web.review import Review

RUNS = Path("runs")  # the default folder of runs
BACKLOG = 512  # connections that wait to be accepted
NOT_ALLOWED = ", but cannot train or save samples; --token sets a password and allows both"


@dataclass(frozen=True)
class Served:
    """The classifier and the runs that a server serves."""

    file: Path | None  # the ONNX file; None before anything was trained
    runs: Path | None  # the folder of runs; None when there is none


def find(where: Path, talk: Talk = silent, only: str | None = None) -> Served:
    """Find what to serve: an ONNX file, a run, a folder of runs or a pretrained network.

    Raises UserError if there is no classifier.
    """
    if only is not None or (is_backbone_name(where) and where != RUNS):
        return Served(pretrained(str(where), only, talk), None)
    if where.suffix.lower() == ".onnx":
        return Served(where, None)
    if where == RUNS and not any(has_classifier(run) for run in list_runs(where)):
        talk(
            "there is no trained network in runs yet; the page /reader offers to train one on "
            "digits, in half a minute on two cores"
        )
        return Served(None, where)
    if list_runs(where):
        return Served(exported(newest(where), talk), where)
    if where.is_dir() and not (where / "recipe.json").is_file():
        raise UserError(f"{where} contains no runs", "name a run, a folder of runs or an ONNX file")
    run = Run.open(where)
    return Served(exported(run, talk), run.path.absolute().parent)


def newest(folder: Path) -> Run:
    """The newest run in the folder with a classifier; raises UserError when there is none.

    Runs that a person started come before runs that a page started, and classifiers before
    networks that give images or masks.
    """
    runs = list(reversed(list_runs(folder)))
    trained = [run for run in runs if has_classifier(run)]
    if not trained:
        hint = runs[0].way_on if runs else "train one with eyesight train RECIPE"
        raise UserError(f"no run in {folder} has a classifier yet", hint)
    return min(trained, key=lambda run: ((run.path / MARK).is_file(), run.target != "class"))


def has_classifier(run: Run) -> bool:
    """Whether a run has a classifier; a damaged run counts as having none."""
    with suppress(UserError):
        return (run.classifier_path / "classifier.json").is_file() and bool(run.target)
    return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free port.

    Raises UserError, which names the next free port, when the port is in use.
    """
    try:
        return _bound(host, port)
    except OverflowError:
        raise UserError(
            f"there is no port {port}", "choose a port from 1 to 65535", code=2
        ) from None
    except socket.gaierror:
        raise UserError(
            f"this machine has no address {host!r}",
            "leave out --host to serve only this machine",
            code=2,
        ) from None
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)):
            free = _next_free(host, port)
            raise UserError(
                f"port {port} is in use by another program", f"use a free port: --port {free}"
            ) from None
        raise UserError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            "choose another port with --port",
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there the option would let two programs have one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _next_free(host: str, port: int) -> int:
    for other in range(port + 1, min(port + 50, 65536)):
        try:
            _bound(host, other).close()
        except OSError:
            continue
        return other
    return 0


@dataclass(frozen=True)
class Options:
    """The options of a server."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None  # a password that every visitor must know
    collect: Path | None = None  # keep the digits that people correct in this folder
    open_page: bool = False  # open the first page in the browser
    studio: Path | None = None  # the folder of projects of one's own


def shared(options: Options, port: int) -> Share | None:
    """How a phone reaches a server that others can reach by a token; None for other servers."""
    if options.token is None or is_loopback(options.host):
        return None
    host = options.host
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = local_address()
    return Share(f"http://{host}:{port}/studio?token={options.token}", options.token)


def local_address() -> str:
    """This machine's address in its local network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def serve(
    served: Served,
    options: Options,
    *,
    talk: Talk = silent,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until interrupted; `ready` is called with the address once the socket listens."""
    recogniser = onnx_classifier.load(served.file) if served.file else None
    if served.file and (note := onnx_classifier.note_on_checksum(served.file)):
        talk(note)
    sock = listen(options.host, options.port)

    from eyesight.web.application import LOOPBACK, application
    from eyesight.web.batching import Untrained
    from eyesight.web.studio.desk import Desk

    local = is_loopback(options.host)
    if not local:
        allowed = "" if options.token else NOT_ALLOWED
        talk(f"anyone who can reach this machine can use the server{allowed}")
    port = sock.getsockname()[1]
    desk = None
    if options.studio is not None:
        desk = Desk(options.studio, Limits(BYTES, seconds=20.0), shared(options, port))
    app = application(
        recogniser or Untrained(),
        served.runs,
        token=options.token,
        hosts=LOOPBACK if local else ("*",),
        collect=options.collect,
        studio=desk,
    )

    def told(url: str) -> None:
        ready(url)
        if desk is not None and desk.share is not None:
            talk(f"on a phone in the same network: {desk.share.address}")
            talk(for_terminal(desk.share.address))

    answer(app, sock, options, told)


def answer(
    app: FastAPI, sock: socket.socket, options: Options, ready: Callable[[str], None]
) -> None:
    """Handle requests on a listening socket until interrupted."""
    import uvicorn

    from eyesight.web.connections import LimitedConnection

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=LimitedConnection,
        ws="none",
        timeout_graceful_shutdown=3,
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{sock.getsockname()[1]}/"
    ready(url)
    if options.open_page:
        address = f"{url}?token={options.token}" if options.token else url
        threading.Timer(0.5, webbrowser.open, [address]).start()
    uvicorn.Server(config).run(sockets=[sock])


def serve_review(
    review: Review, options: Options, *, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Show a review of labels until interrupted.

    Raises UserError where other machines could change it without a password.
    """
    local = is_loopback(options.host)
    if not local and not options.token:
        raise UserError(
            "others could see and relabel these images",
            "leave out --host, or set a password with --token TOKEN",
            code=2,
        )
    sock = listen(options.host, options.port)
    from eyesight.web.application import LOOPBACK, review_application

    hosts = LOOPBACK if local else ("*",)
    answer(review_application(review, token=options.token, hosts=hosts), sock, options, ready)
