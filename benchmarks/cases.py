"""Awkward data sets beside their right answers, as a table to read: `python benchmarks/cases.py
FOLDER [NAME ...]`.

A case is a folder with `README` (the right answer in a line or two) and `data/` or `*.npz`. Every
case is checked with `eyesight data`; those about training, evaluating or predicting go through
these commands as well. All of them run in this one process, because starting PyTorch a hundred
times would take longer than the cases.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LINES = 14  # of the output of a case
SHORT = (
    "--set", "training.epochs=1", "--set", "training.min_steps=0", "--set", "data.size=16", "--set", "training.batch=8",
)  # fmt: skip


def commands(case: Path, scratch: Path) -> Iterator[list[str]]:
    """The command lines that a case is about."""
    data = case / "data"
    runs = scratch / case.name
    target = ["--set", "data.target=mask"] if case.name.startswith("mask") else []
    arrays = sorted(case.glob("*.npz"))
    for path in arrays or [data]:
        if path.exists():
            yield ["data", str(path), *target]
    if case.name in ("eval_subset", "last_of_one_33", "one_each", "predict_same_stem"):
        teacher = case if case.name != "predict_same_stem" else case.parent / "eval_subset"
        train = ["train", "digits", "--data", str(teacher / "data"), "--out", str(runs)]
        yield [*train, *SHORT]
    if (case / "judge").exists():
        yield ["evaluate", str(runs / "latest"), "--data", str(case / "judge")]
    if case.name.startswith("predict"):
        yield ["predict", str(runs / "latest"), str(data)]


def latest(arguments: list[str]) -> list[str]:
    """The arguments with the newest run of a folder in place of `latest`."""
    resolved = []
    for argument in arguments:
        path = Path(argument)
        if path.name == "latest":
            runs = [run for run in path.parent.iterdir() if (run / "recipe.json").exists()]
            argument = str(max(runs, key=lambda run: run.stat().st_mtime))
        resolved.append(argument)
    return resolved


def run(arguments: list[str]) -> tuple[int, str]:
    """Exit code and everything printed by `eyesight` with these arguments."""
    from eyesight.cli.main import main

    output = io.StringIO()
    sys.argv = ["eyesight", *arguments]
    code = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception as error:
            code = -1
            output.write(f"TRACEBACK {type(error).__name__}: {error}\n")
    return code, output.getvalue()


def shown(output: str) -> list[str]:
    """The lines of an output that say something, and how many more there are."""
    lines = [line.rstrip()[:200] for line in output.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > LINES:
        lines[LINES:] = [f"… {len(lines) - LINES} more lines"]
    return lines


def main() -> None:
    """Print every case with its right answer and what was printed."""
    folder = Path(sys.argv[1])
    names = sys.argv[2:]
    started = time.monotonic()
    cases = sorted(path for path in folder.iterdir() if (path / "README").is_file())
    if names:
        cases = [path for path in cases if any(name in path.name for name in names)]
    tracebacks = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EYESIGHT_CACHE"] = str(Path(scratch) / "cache")
        for case in cases:
            print(f"\n=== {case.name}: {(case / 'README').read_text(encoding='utf-8').strip()}")
            for arguments in commands(case, Path(scratch)):
                code, output = run(latest(arguments))
                tracebacks += code == -1
                print(f"  [{code}] eyesight {' '.join(arguments[:1] + [Path(arguments[1]).name])}")
                for line in shown(output):
                    print(f"      {line}")
    print(f"\n{len(cases)} cases, {tracebacks} tracebacks, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
