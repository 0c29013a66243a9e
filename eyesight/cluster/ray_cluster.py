"""Trainings and answers as tasks of a Ray cluster, on this machine or on many.

The one home of Ray, which is optional. Ray does a task again when the process or the machine under
it dies; one that fails by itself is not repeated, for it would fail again.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from eyesight.cluster import packing
from eyesight.data.source import digest
from eyesight.distributed import child
from eyesight.distributed.child import Outcome
from eyesight.errors import UserError
from eyesight.inference.predict import csv_table, predict_files
from eyesight.runs import Run, list_runs
from eyesight.system.cache import cache_dir
from eyesight.system.environment import shared_versions
from eyesight.system.extras import require
from eyesight.system.memory import cores as cores_here
from eyesight.system.progress import Talk, silent

LOCAL, RUNNING = "ray", "auto"
KEPT = 20  # runs that were sent to their callers and are kept
RETRIES = 3  # of a task whose process or machine dies
PATIENCE = 5.0  # seconds for an address to answer
STORE = (
    256 << 20
)  # bytes of shared memory on a cluster of one's own: tables and packed runs are small
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of 15 otherwise: trainings with a budget would yield to everything.
    "RAY_worker_niceness": "0",
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine needs more than the usual 30
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # tries to join, each of about a second, of 20
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what a task without a GPU sees is said by us
}
HINT = (
    "use HOST:PORT on a machine of the cluster, ray://HOST:10001 from outside, auto for a "
    "cluster running here, or ray to start one here"
)
GUARDED = "; if it needs authentication: RAY_AUTH_MODE=token, with the token where Ray looks for it"


class Training(Protocol):
    """What a comparison wants trained: `arguments` are those of `eyesight train`."""

    @property
    def arguments(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102


T = TypeVar("T")
Asked = TypeVar("Asked", bound=Training)


@dataclass(frozen=True)
class Share:
    """What a task has to itself."""

    cores: int = 1
    gpus: float = 0.0
    memory: int = 0  # bytes; 0 reserves none

    @classmethod
    def of(cls, cores: int, gpus: float, gigabytes: float) -> Share:
        """As people say it."""
        return cls(cores, gpus, round(gigabytes * 1e9))

    def __str__(self) -> str:
        parts = [f"{self.cores} core" + "s" * (self.cores > 1)]
        parts += [f"{self.gpus:g} GPU"] * (self.gpus > 0) + [f"{self.memory / 1e9:g} GB"] * (
            self.memory > 0
        )
        return ", ".join(parts)

    def times(self, resources: Mapping[str, float]) -> int:
        """How often a machine with these resources holds it."""
        share = {"CPU": self.cores, "GPU": self.gpus, "memory": self.memory}
        return min(
            int(resources.get(kind, 0.0) / amount + 1e-9)
            for kind, amount in share.items()
            if amount
        )


def check(where: str) -> None:
    """Raise UserError when Ray is not installed, or `where` names no cluster or one that does not
    answer.
    """
    require("ray", "--on")
    if where not in (LOCAL, RUNNING) and _address(where) is None:
        raise UserError(f"--on {where} is not the address of a cluster", HINT, code=2)
    if (address := _address(where)) is not None:
        try:
            greet(address)
        except OSError as error:
            raise UserError(
                f"no cluster answers at {where}: {error.strerror or error}", HINT
            ) from None


def greet(address: tuple[str, int]) -> None:
    """Raise OSError where nothing answers as gRPC does, which Ray speaks: joining would ask for
    minutes before it gave up.
    """
    with socket.create_connection(address, PATIENCE) as connection:
        if os.environ.get("RAY_USE_TLS") == "1":
            return
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
        answer = connection.recv(9)
    if answer[3:4] != b"\4":  # a frame of settings is what both sides begin with
        raise OSError("another program listens there")


def _address(where: str) -> tuple[str, int] | None:
    host, _, port = where.removeprefix("ray://").rpartition(":")
    return (
        (host.strip("[]"), int(port)) if host and port.isdecimal() and int(port) < 1 << 16 else None
    )


@contextmanager
def joined(where: str) -> Iterator[ModuleType]:
    """The module ray, connected while the block runs.

    A cluster started for it ends with it. Raises UserError when it cannot be reached.
    """
    check(where)
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    import ray

    if ray.is_initialized():
        yield ray
        return
    mine: dict[str, Any] = (
        {"num_cpus": cores_here(), "include_dashboard": False, "object_store_memory": STORE}
        if where == LOCAL
        else {}
    )
    try:
        ray.init(
            "local" if where == LOCAL else where,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **mine,
        )
    except (
        Exception
    ) as error:  # ray raises ConnectionError, RuntimeError, ValueError and bare Exception
        raise UserError(
            f"cannot join the cluster at {where}: {_first_line(error)}", f"{HINT}{GUARDED}"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def trainer(
    where: str, share: Share, talk: Talk = silent
) -> Callable[[Sequence[Asked], Path], Iterator[tuple[Asked, Outcome]]]:
    """Trains the members of a comparison as tasks.

    Their runs arrive in `out`, whether or not the machines share that folder.
    """

    def train(members: Sequence[Asked], out: Path) -> Iterator[tuple[Asked, Outcome]]:
        if not members:
            return
        with joined(where) as ray, _sign(out) as sign:
            talk(
                f"{len(members)} trainings of {share} each, {_slots(ray, share)} at a time, on "
                f"{_machines(ray)}"
            )
            task = partial(
                _task(ray, _train, share),
                sign=str(sign),
                folder=str(Path.cwd()),
                share=vars(share),
                versions=shared_versions(),
            )
            calls = ((member, partial(task, list(member.arguments))) for member in members)
            for member, answer in _results(ray, calls, len(members)):
                yield member, _arrived(answer, out, member.name)

    return train


def answerer(
    where: str,
    share: Share,
    files: Mapping[str, bytes],
    roots: Sequence[str],
    top: int,
    prepare: str,
    talk: Talk = silent,
) -> Callable[[Iterator[tuple[int, list[str]]]], Iterator[tuple[int, bytes | str]]]:
    """Answers parts of a list as tasks, with the classifier in `files`.

    The machines must see the pictures, not the classifier.
    """

    def answer(parts: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, bytes | str]]:
        first = next(parts, None)
        if first is None:
            return
        with joined(where) as ray:
            slots = _slots(ray, share)
            talk(f"{share} for each part, {slots} at a time, on {_machines(ray)}")
            task = partial(_task(ray, _answer, share), ray.put(dict(files)), packing.key(files))
            seen = [str(Path(root).expanduser()) for root in roots]
            same = {
                "folder": str(Path.cwd()),
                "roots": seen,
                "top": top,
                "prepare": prepare,
                "share": vars(share),
                "versions": shared_versions(),
            }
            calls = (
                (number, partial(task, paths, **same)) for number, paths in chain([first], parts)
            )
            for number, (kind, value) in _results(ray, calls, 2 * slots):
                yield number, value if kind == "table" else str(value)

    return answer


def _task(
    ray: Any, function: Callable[..., tuple[str, str | bytes]], share: Share
) -> Callable[..., Any]:
    """`function` as what starts a task and returns its promise."""
    amounts: dict[str, Any] = {
        "num_cpus": share.cores,
        "num_gpus": share.gpus,
        **({"memory": share.memory} if share.memory else {}),
    }
    task = ray.remote(function).options(**amounts, max_retries=RETRIES)
    return task.remote  # type: ignore[no-any-return]


def _results(
    ray: Any, calls: Iterable[tuple[T, Callable[[], Any]]], most: int
) -> Iterator[tuple[T, tuple[str, str | bytes]]]:
    """The answer to each call as it comes, at most `most` under way.

    What is still under way is cancelled when the caller stops.
    """
    waiting: dict[Any, T] = {}
    left = iter(calls)
    try:
        while True:
            while len(waiting) < most and (call := next(left, None)) is not None:
                waiting[call[1]()] = call[0]
            if not waiting:
                return
            ready, _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(ready[0]), _value(ray, ready[0])
    finally:
        for promise in waiting:
            with suppress(Exception):  # the cluster may be gone
                ray.cancel(promise, force=True)


def _value(ray: Any, promise: Any) -> tuple[str, str | bytes]:
    try:
        kind, value = ray.get(promise)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", error)
        return "problem", f"{cause.message} ({cause.hint})" if isinstance(
            cause, UserError
        ) else _first_line(cause)
    except ray.exceptions.RayError as error:
        return "problem", (
            f"its process or machine failed {RETRIES + 1} times: {_first_line(error)}"
        )
    return kind, value


def _first_line(error: BaseException) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )


def _slots(ray: Any, share: Share) -> int:
    """How many tasks run at a time.

    Raises UserError when no machine is large enough for one, since it would wait for ever.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(share.times(machine) for machine in machines)
    if not slots:
        most = Share(
            *(
                int(max((machine.get(kind, 0.0) for machine in machines), default=0))
                for kind in ("CPU", "GPU", "memory")
            )
        )
        raise UserError(
            f"no machine of the cluster has {share}; the largest has {most}",
            "reserve less with --cores, --gpus or --memory",
            code=2,
        )
    return slots


def _machines(ray: Any) -> str:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    noun = "machine" if len(machines) == 1 else "machines"
    cores = sum(machine.get("CPU", 0) for machine in machines)
    return f"{len(machines)} {noun} with {cores:.0f} cores"


@contextmanager
def _sign(out: Path) -> Iterator[Path]:
    """A file in `out` by which a task knows whether it sees the very same folder."""
    out.mkdir(parents=True, exist_ok=True)
    sign = out.resolve() / f".cluster-{uuid.uuid4().hex}"
    sign.write_text(sign.name)
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


def _arrived(answer: tuple[str, str | bytes], out: Path, name: str) -> Outcome:
    kind, value = answer
    if kind == "run":
        return Run.open(out / str(value))
    if kind == "packed" and isinstance(value, bytes):
        try:
            return packing.unpack_run(value, out, name)
        except (UserError, OSError) as error:
            why = error.message if isinstance(error, UserError) else error.strerror
            return (
                f"its run could not be transferred: {why}; it remains in the cache of the "
                "machine that trained it"
            )
    return str(value)


def _stranger(versions: Mapping[str, str]) -> str:
    """What this machine has other than the caller, whose work it must refuse then.

    Empty where nothing differs.
    """
    own = shared_versions()
    others = [
        f"{name} {own.get(name, 'none')} instead of {version}"
        for name, version in versions.items()
        if own.get(name) != version
    ]
    return (
        (
            f"{platform.node()} has other versions: {', '.join(others)}; install the same "
            "versions everywhere"
        )
        if others
        else ""
    )


def _train(
    arguments: Sequence[str],
    *,
    sign: str,
    folder: str,
    share: Mapping[str, Any],
    versions: Mapping[str, str],
) -> tuple[str, str | bytes]:
    """What runs on the cluster: a training in a process of its own, in the caller's folder of runs
    or else in this machine's cache.
    """
    if refusal := _stranger(versions):
        return "problem", refusal
    surroundings = {
        "OMP_NUM_THREADS": str(share["cores"]),
        **({} if share["gpus"] else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    shared = Path(sign).is_file() and Path(sign).read_text() == Path(sign).name
    out = Path(sign).parent if shared else cache_dir() / "cluster" / digest(arguments)
    outcome = child.train(
        arguments,
        out,
        folder=Path(folder) if Path(folder).is_dir() else None,
        environment=surroundings,
    )
    if isinstance(outcome, str):
        return "problem", outcome
    if shared:
        return "run", outcome.path.name
    _sweep(out.parent)
    return "packed", packing.pack_run(outcome)


def _sweep(shelf: Path) -> None:
    """Remove runs that were sent to their callers; the latest stay, for one that did not arrive.

    A run that a process still trains is never removed.
    """
    newest_first = sorted(shelf.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in newest_first[KEPT:]:
        with suppress(OSError):
            if not any(run.held for run in list_runs(folder)):
                shutil.rmtree(folder)


_opened: dict[str, Any] = {}  # the classifier that this process answered with last


def _answer(  # noqa: PLR0913 - the arguments of a Ray task
    files: Mapping[str, bytes],
    key: str,
    paths: Sequence[str],
    *,
    folder: str,
    roots: Sequence[str],
    top: int,
    prepare: str,
    share: Mapping[str, Any],
    versions: Mapping[str, str],
) -> tuple[str, str | bytes]:
    """What runs on the cluster: the table of a part."""
    if refusal := _stranger(versions):
        return "problem", refusal
    for root in roots:
        if not (Path(folder) / root).exists():
            return (
                "problem",
                f"{platform.node()} cannot access {Path(folder) / root}: the images must be at "
                "a path that all machines can read",
            )
    if key not in _opened:
        _opened.clear()
        _opened[key] = packing.open_classifier(
            files, threads=share["cores"], device="cuda" if share["gpus"] else "cpu"
        )
    return "table", csv_table(
        predict_files(_opened[key], map(Path, paths), top, prepare, Path(folder)), top
    )
