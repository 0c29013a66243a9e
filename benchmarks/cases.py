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
import shutil
import subprocess
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
    if case.name == "near_copies":
        yield ["audit", str(data)]


# Linux counts the memory of the parent in a child's `ru_maxrss`, but not in VmHWM.
PREDICT = """
import atexit, sys
from pathlib import Path
from eyesight.cli.main import main
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    print("peak memory", *[line.split()[1] for line in lines if line.startswith("VmHWM")], "kB")
atexit.register(peak)
sys.argv = ["eyesight", "predict", *sys.argv[1:]]
main()
"""


def thin_pictures(case: Path, scratch: Path) -> Iterator[str]:
    """`predict` on pictures a pixel high, in a process of its own: what it printed, and its peak
    memory. An ordinary picture comes first."""
    train = ["train", "digits", "--data", str(case.parent / "eval_subset" / "data")]
    run([*train, "--out", str(scratch / case.name), *SHORT])
    taught = latest([str(scratch / case.name / "latest")])
    ordinary = next(path for path in (case.parent / "eval_subset").rglob("*.png"))
    for path in (ordinary, *sorted(case.glob("*.png"))):
        command = [sys.executable, "-c", PREDICT, *taught, str(path)]
        began = time.monotonic()
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        yield f"[{child.returncode}] eyesight predict {path.name}: {seconds:.1f} s"
        yield from (f"    {line}" for line in shown(child.stdout + child.stderr))


def replaced_pictures(case: Path, scratch: Path) -> Iterator[str]:
    """The mean grey level of each class in the store and in the files, before and after all pictures
    of the two classes change places, with the same names, sizes and times."""
    import numpy as np
    from PIL import Image

    from eyesight.data.opening import open_source
    from eyesight.data.store import prepare_store
    from eyesight.recipe import Data

    copy = scratch / "replaced"
    shutil.copytree(case / "data", copy)
    cats, dogs = (sorted((copy / name).iterdir()) for name in ("cat", "dog"))
    for moment in ("before", "after"):
        store = prepare_store(open_source(str(copy)), Data(str(copy)))
        pixels, labels = np.asarray(store.pixels), np.asarray(store.labels)
        means = [
            f"{name} {pixels[labels == row].mean():.3f} (files {np.mean([Image.open(path) for path in paths]):.3f})"
            for row, (name, paths) in enumerate(zip(store.classes, (cats, dogs), strict=True))
        ]
        yield f"{moment}: {', '.join(means)}"
        for cat, dog in zip(cats, dogs, strict=True):
            contents, times = (cat.read_bytes(), dog.read_bytes()), (cat.stat(), dog.stat())
            for path, content, kept in zip((cat, dog), reversed(contents), times, strict=True):
                path.write_bytes(content)
                os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


SPECIAL = {"thin_upload": thin_pictures, "stale_cache": replaced_pictures}


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
            if case.name in SPECIAL:
                for line in SPECIAL[case.name](case, Path(scratch)):
                    print(f"  {line}")
    print(f"\n{len(cases)} cases, {tracebacks} tracebacks, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
