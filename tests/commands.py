"""A command of the command line, run in this process."""

import contextlib
import io
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from eyesight.cli import main, options
from eyesight.report import report


class Printed(NamedTuple):
    """What a command wrote to standard output and to standard error."""

    out: str
    err: str


def command(*arguments, code=0, folder=".", figures=False):
    """Run `eyesight ARGUMENTS` in `folder`; fails unless it ends with the exit code `code`.

    A training takes longer to draw its figures than to train a toy, so few tests want them.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["eyesight", *map(str, arguments)])
        patch.setattr(options, "STARTED", time.monotonic())
        if not figures:
            patch.setattr(report, "write_figures", lambda run: [])
        with pytest.raises(SystemExit) as ended:
            main.main()
    assert (ended.value.code or 0) == code, err.getvalue()
    return Printed(out.getvalue(), err.getvalue())
