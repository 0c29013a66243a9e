"""The command line: data goes to standard output, talk to standard error; torch is imported only inside a command that needs it."""

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


def main() -> None:
    """Run the command line; errors for people are printed without a traceback."""
    wants_json = "--json" in sys.argv
    # Threads that spin for long while they wait for one another starve each other as soon as another program wants a core; those that
    # sleep at once make small networks 1.5 times slower. GNU OpenMP reads this when torch is loaded, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a file's name may be no text, and a terminal may know few characters
    try:
        app()  # exits by itself: 2 for wrong usage, 130 when interrupted
    except SystemExit as end:
        if end.code == 130 and not launch.silent():
            sys.stderr.write(
                "\nstopped; `eyesight train … --resume` goes on from the last checkpoint, and so does a comparison asked for again\n"
            )
        sys.exit(1 if end.code == 130 else end.code)
    except BrokenPipeError:
        sys.exit(1)
    except UserError as problem:
        refuse(problem, as_json=wants_json)
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        refuse(
            UserError(
                f"{place}{problem.strerror or problem}",
                "check the path, its permissions and the free space",
            ),
            as_json=wants_json,
        )


def refuse(problem: UserError, *, as_json: bool) -> NoReturn:
    """Say what went wrong, and end with its exit code; of several processes the first one speaks, as soon as they have met."""
    if launch.refuses_silently():
        sys.exit(problem.code)
    from eyesight.cli import console

    console.error(problem)
    if as_json:
        show_json({"error": problem.message, "hint": problem.hint})
    sys.exit(problem.code)
