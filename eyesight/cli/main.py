"""The command line: data goes to standard output, messages to standard error.

PyTorch is imported only inside a command that needs it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from eyesight.cli import judging, serving, training
from eyesight.cli.options import app, show_json
from eyesight.distributed import launch
from eyesight.errors import UserError

__all__ = ["app", "judging", "main", "serving", "training"]

INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors for people are printed without a traceback."""
    as_json = "--json" in sys.argv
    # Threads that spin long while they wait for each other starve once another program wants a
    # core; threads that sleep at once make small networks 1.5 times slower. GNU OpenMP reads this
    # when PyTorch is loaded, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may be no text, and a terminal may lack characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()  # exits by itself: 2 for wrong usage, 130 when interrupted
    except SystemExit as end:
        sys.exit(_exit_code(end))
    except BrokenPipeError:
        sys.exit(1)
    except UserError as problem:
        refuse(problem, as_json=as_json)
    except OSError as problem:
        message = str(problem.strerror or problem)
        if problem.filename:
            message = f"{problem.filename}: {message}"
        hint = "check the path, its permissions and the free space"
        refuse(UserError(message, hint), as_json=as_json)


def _exit_code(end: SystemExit) -> str | int | None:
    """The exit code of a command that ended; an interrupted one says how to go on."""
    if end.code != INTERRUPTED:
        return end.code
    if not launch.silent():
        sys.stderr.write(
            "\nstopped; `eyesight train … --resume` goes on from the last checkpoint, and so does a"
            " comparison asked for again\n"
        )
    return 1


def refuse(problem: UserError, *, as_json: bool) -> NoReturn:
    """Print an error and end with its exit code; of several processes only the first prints."""
    if launch.refuses_silently():
        sys.exit(problem.code)
    from eyesight.cli import console

    console.error(problem)
    if as_json:
        show_json({"error": problem.message, "hint": problem.hint})
    sys.exit(problem.code)
