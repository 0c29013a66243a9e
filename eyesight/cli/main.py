"""The command line: data goes to standard output, messages to standard error.

PyTorch is imported only inside a command that needs it.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn, cast

import typer
from typer.models import CommandInfo

from eyesight.cli import (
    auditing,
    cache,
    ensemble,
    judging,
    reviewing,
    searching,
    serving,
    training,
)
from eyesight.cli.options import app, show_json
from eyesight.cli.streams import close_stdout, open_streams
from eyesight.cli.usage import Command
from eyesight.errors import UserError

__all__ = [
    "app",
    "auditing",
    "cache",
    "ensemble",
    "judging",
    "main",
    "reviewing",
    "searching",
    "serving",
    "training",
]

INTERRUPTED = 130
# What a person can do after Ctrl-C, by the command.
CONTINUED = {
    "train": "; repeat the command with --resume to continue from the last checkpoint",
    "search": "; repeat the command with --resume to continue",
    "compare": "; repeat the command to continue",
}
# In the order of use, as `eyesight --help` lists them.
ORDER = [
    "data",
    "audit",
    "review",
    "corrections",
    "train",
    "predict",
    "evaluate",
    "report",
    "doctor",
    "compare",
    "search",
    "folds",
    "blend",
    "distil",
    "export",
    "serve",
    "studio",
    "recipes",
    "show",
    "augment",
    "models",
    "cache",
]
# Newer versions of Typer bring a Click of their own: its class is found through a public one.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def position(command: CommandInfo) -> int:
    """The place of a command in `ORDER`."""
    assert command.callback is not None
    return ORDER.index(command.name or command.callback.__name__)


app.registered_commands.sort(key=position)
for registered in app.registered_commands:
    registered.cls = Command


def process() -> None:
    """`main` in a process of its own, which ends as soon as everything is written.

    Taking PyTorch apart object by object, as Python does at its end, takes seconds.
    """
    codes: list[object] = [1]  # of an error that nothing caught
    atexit.register(end_now, codes)  # before PyTorch's and others', so that it runs after theirs
    try:
        main()
    except SystemExit as end:
        codes.append(end.code)
        raise


def end_now(codes: list[object]) -> None:
    """End the process with the last of the exit codes."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    code = codes[-1]
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Run the command line; user errors are printed without a traceback."""
    as_json = "--json" in sys.argv
    # Threads that spin long while they wait for each other starve once another program wants a
    # core; threads that sleep at once make small networks 1.5 times slower. GNU OpenMP reads this
    # when PyTorch is loaded, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may be no text, and a terminal may lack characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        close_stdout()
    except SystemExit as end:
        sys.exit(end.code)
    except UsageError as wrong:
        _refuse_usage(cast(typer.BadParameter, wrong), as_json=as_json)
    except typer.Abort:
        sys.exit(1)
    except BrokenPipeError:
        _leave(1)
    except UserError as problem:
        refuse(problem, as_json=as_json)
    except OSError as problem:
        refuse(_explain(problem), as_json=as_json)
    sys.exit(_exit_code(code))


def _exit_code(code: object) -> int:
    """The exit code of a command; an interruption prints how to continue."""
    if code != INTERRUPTED:
        return code if isinstance(code, int) else 0
    from eyesight.distributed import launch

    if not launch.silent():
        way_on = CONTINUED.get(next(iter(sys.argv[1:]), ""), "")
        sys.stderr.write(f"\nstopped{way_on}\n")
    return 1


def _explain(problem: OSError) -> UserError:
    message = str(problem.strerror or problem)
    if problem.filename:
        message = f"{problem.filename}: {message}"
    return UserError(message, "check the path, its permissions and the free disk space")


def _refuse_usage(wrong: typer.BadParameter, *, as_json: bool) -> NoReturn:
    """Print a usage error like Click, and as JSON with --json."""
    from eyesight.distributed import launch

    if launch.refuses_silently():
        sys.exit(wrong.exit_code)
    wrong.show()
    if as_json:
        context = wrong.ctx
        command = context.command_path if context else "eyesight"
        _try_json({"error": wrong.format_message(), "hint": f"see `{command} --help`"})
    _leave(wrong.exit_code)


def refuse(problem: UserError, *, as_json: bool) -> NoReturn:
    """Print an error and end with its exit code; of several processes only the first prints."""
    from eyesight.distributed import launch

    if launch.refuses_silently():
        sys.exit(problem.code)
    from eyesight.cli import console

    console.error(problem)
    if as_json:
        _try_json({"error": problem.message, "hint": problem.hint})
    _leave(problem.code)


def _try_json(values: dict[str, str]) -> None:
    with suppress(OSError):  # what stopped the command may have been this very output
        show_json(values)


def _leave(code: int) -> NoReturn:
    """Exit with a code, even if standard output cannot be flushed."""
    with suppress(OSError):
        close_stdout()
    sys.exit(code)
