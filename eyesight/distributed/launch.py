"""The place of this process in its group, and starting a group without torchrun.

Nothing here imports torch: the process that starts the others only watches them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eyesight.errors import UserError
from eyesight.system.child_process import describe_exit, start_eyesight
from eyesight.system.files import scratch, sweep
from eyesight.system.memory import cores

GRACE = 30.0  # seconds in which the others end by themselves when one has ended
OURS = "EYESIGHT_PROCESSES"  # set for the processes that `start` has started
# Names the file that the first of them leaves once it needs the others no more.
ALONE = "EYESIGHT_ALONE"
MET = "EYESIGHT_MET"  # set once this process and the others have found each other
RESUME = (
    "`eyesight train … --resume` continues from the last checkpoint, also with another number "
    "of processes"
)


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, and `local` of `local_size` on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1


def place() -> Place:
    """What torchrun (or `start`) has written into the environment.

    Alone where it has not. Raises UserError for nonsense.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    given = [os.environ.get(name, "0" if name.endswith("RANK") else "1") for name in names]
    if not all(text.isdecimal() for text in given) or not int(given[0]) < int(given[1]):
        variables = ", ".join(f"{name}={text}" for name, text in zip(names, given, strict=True))
        raise UserError(
            f"the environment does not define the rank of this process: {variables}",
            "start it with torchrun, or with --processes",
            code=2,
        )
    return Place(*map(int, given))


def silent() -> bool:
    """Whether this is one of the processes for which the first one speaks."""
    try:
        return place().rank > 0
    except UserError:
        return False


def refuses_silently() -> bool:
    """Whether another process says what stops this one.

    Before they have met, one of each machine speaks for itself.
    """
    return silent() and (MET in os.environ or OURS in os.environ or place().local > 0)


def several(count: int | None, talk: Callable[[str], None]) -> None:
    """Return in a process that trains: alone, or one of a group that was started.

    Raises UserError when others than `count` were started already.
    """
    size = place().size
    if size > 1:
        if count not in (None, size):
            raise UserError(
                f"{size} processes were started already, not {count}",
                "leave out --processes under torchrun",
                code=2,
            )
        end_with_parent()
    elif count is not None and count > 1:
        sys.exit(start(count, sys.argv[1:], talk))


def start(count: int, arguments: Sequence[str], talk: Callable[[str], None]) -> int:
    """Run `eyesight` in `count` processes on this machine until all end; rank 0's exit code.

    Raises UserError when the first one cannot say itself what happened.
    """
    children = list[subprocess.Popen[bytes]]()
    with scratch() as folder:
        shared = {"MASTER_PORT": str(_free_port()), ALONE: str(folder / "alone")}
        try:
            for rank in range(count):
                surroundings = {**_environment(rank, count), **shared}
                children.append(start_eyesight(arguments, environment=surroundings))
            return _watch(children, folder / "alone", talk)
        except KeyboardInterrupt:  # which all of them got
            _wait(children, GRACE)
            return 1
        finally:
            for child in children:
                child.kill()
                child.wait()
                assert child.stdin
                child.stdin.close()
            sweep(folder.parent)  # after those that were killed


def _environment(rank: int, count: int) -> dict[str, str]:
    """What torchrun would set for one machine; each process gets its share of the cores."""
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    environment |= {"MASTER_ADDR": "127.0.0.1", OURS: str(count)}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    if sys.platform == "win32":
        environment.setdefault("USE_LIBUV", "0")  # torch for Windows is built without it
    else:
        environment.setdefault(
            "GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"
        )  # nothing is to be heard outside
    return environment


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def _watch(
    children: Sequence[subprocess.Popen[bytes]], alone: Path, talk: Callable[[str], None]
) -> int:
    """Wait for all.

    When one ends before its time, the others notice, and whoever does not is ended. But not the
    first one once it has left the file `alone`: training is complete then, and its report may take
    as long as it takes.
    """
    while all(child.poll() in (None, 0) for child in children) and children[0].poll() is None:
        time.sleep(0.05)
    codes = [child.poll() for child in children]
    killed = [
        f"process {rank} of {len(codes)} {describe_exit(code)}"
        for rank, code in enumerate(codes)
        if code is not None and code < 0
    ]
    together = _wait(children, GRACE)
    if not together and alone.exists():
        children[0].wait()
    code = children[0].poll()  # before it is ended, which on Windows leaves a code like any other
    if not together:
        for child in children:
            child.terminate()
        _wait(children, GRACE / 3)
    if code is None or code < 0:
        raise UserError(
            " and ".join(killed) or "not all processes of this training finished", RESUME
        )
    for line in killed:
        talk(line)
    return code


def _wait(children: Sequence[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Whether all have ended within so many seconds."""
    end = time.monotonic() + seconds
    while (running := any(child.poll() is None for child in children)) and time.monotonic() < end:
        time.sleep(0.05)
    return not running


def signal_complete() -> None:
    """Rank 0 tells the launcher that other ranks may exit."""
    if ALONE in os.environ:
        with suppress(OSError):
            Path(os.environ[ALONE]).touch()


def end_with_parent() -> None:
    """End this process when the launcher that started it is gone."""
    if OURS in os.environ:
        threading.Thread(target=_listen, daemon=True).start()


def _listen() -> None:
    """The parent never writes: reading ends with the parent."""
    if not os.read(0, 1):
        os._exit(1)
