"""Measures what the README claims, each training in a process of its own, and writes
benchmarks/results/NAME.json and .md.

    python benchmarks/run.py                 everything
    python benchmarks/run.py lenet5 digits   only these

Run it on a quiet machine. A measurement that is already in its file with all its seeds is not
repeated unless --again is given.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from eyesight.system.environment import environment

HERE = Path(__file__).parent
CIFAR10 = os.environ.get(
    "EYESIGHT_CIFAR10"
)  # a folder or archive of it; without, the named set is fetched
DOGS = os.environ.get(
    "EYESIGHT_DOGS"
)  # photographs in the folders of Stanford Dogs; what needs them is left out without
LONG = ("training.epochs=18", "model.depth=3")


@dataclass(frozen=True)
class Case:
    """One claim: a recipe with settings, trained with several seeds."""

    name: str
    recipe: str
    seeds: int
    settings: tuple[str, ...] = ()
    data: str | None = None
    budget: str | None = None
    claim: str = ""


CASES = {
    case.name: case
    for case in (
        Case("lenet5", "lenet5", 3, claim="at least 99.0 % within 60 s of training and evaluation"),
        Case(
            "digits",
            "digits",
            5,
            claim="at least 99.5 %, mean of five seeds, within 30 s of training and evaluation",
        ),
        Case(
            "digits_long",
            "digits",
            3,
            LONG,
            claim="at least 99.65 % within 150 s of training and evaluation",
        ),
        Case(
            "objects_1m",
            "objects",
            1,
            budget="1m",
            data=CIFAR10,
            claim="the curve of accuracy against budget",
        ),
        Case(
            "objects_2m",
            "objects",
            1,
            budget="2m",
            data=CIFAR10,
            claim="the curve of accuracy against budget",
        ),
        Case(
            "objects_5m",
            "objects",
            1,
            budget="5m",
            data=CIFAR10,
            claim="the curve of accuracy against budget",
        ),
        Case(
            "objects_10m",
            "objects",
            3,
            budget="10m",
            data=CIFAR10,
            claim="at least 91 % in ten minutes",
        ),
        Case(
            "objects_lite0_5m",
            "objects_lite0",
            3,
            budget="5m",
            data=CIFAR10,
            claim="pretrained: at least 89.18 % in five minutes",
        ),
        Case(
            "objects_lite0_10m",
            "objects_lite0",
            3,
            budget="10m",
            data=CIFAR10,
            claim="pretrained: at least 91.5 % in ten minutes",
        ),
        Case(
            "dogs_5m",
            "dogs",
            3,
            budget="5m",
            data=DOGS,
            claim="at least 93 % of ten breeds in five minutes",
        ),
        Case(
            "folder_dogs_3m",
            "folder",
            3,
            budget="3m",
            data=DOGS,
            claim="the same photographs as somebody's folder, in three minutes",
        ),
        Case(
            "glyphs_10m",
            "glyphs",
            3,
            budget="10m",
            claim="at least 95 % on families never seen, in ten minutes",
        ),
        Case(
            "bottleneck_10m",
            "bottleneck",
            1,
            budget="10m",
            claim="the network that glyphs is compared with, same time",
        ),
    )
}


def measured(name, command):
    """What a command of its own process printed as JSON, its seconds, and its peak memory in MB
    where the system tells."""
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True) as process,
    ):
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0) if hasattr(os, "wait4") else (0, None, None)
        output.seek(0)
        last = output.read().strip().rpartition("\n")[2]
    try:
        figures = json.loads(text)
    except ValueError:
        code = "" if status is None else f" with exit code {os.waitstatus_to_exitcode(status)}"
        raise SystemExit(
            f"{name}: the process died{code} and gave no result; its last words: {last or 'none'}"
        ) from None
    if "error" in figures:
        raise SystemExit(f"{name}: {figures['error']} ({figures['hint']})")
    peak = (
        round(usage.ru_maxrss / (1024 if platform.system() == "Linux" else 1024**2))
        if usage
        else None
    )
    return figures, round(time.monotonic() - began, 2), peak


def train(case, seed):
    """One training: its JSON, and the peak memory of its process in MB where the system tells."""
    command = [
        sys.executable,
        "-m",
        "eyesight",
        "train",
        case.recipe,
        "--seed",
        str(seed),
        "--out",
        "runs/benchmarks",
        "--json",
    ]
    command += [part for setting in case.settings for part in ("--set", setting)]
    command += ["--data", case.data] if case.data else []
    command += ["--budget", case.budget] if case.budget else []
    figures, wall, peak = measured(case.name, command)
    return {
        "seed": seed,
        "top1": figures["test"]["top1"],
        "top1_one_view": figures.get("test_one_view", figures["test"])["top1"],
        "top1_ignoring_case": figures["test"].get("top1_ignoring_case"),
        "n": figures["test"]["n"],
        "parts": figures["parts"],
        "wall_seconds": wall,
        "peak_megabytes": peak,
    }


def start_up():
    """Seconds to import the package and to print the help, median of nine, each in a new
    process."""

    def median(*command):
        times = []
        for _ in range(10):
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.monotonic() - began)
        return round(statistics.median(times[1:]), 3)

    bare = median(sys.executable, "-c", "pass")
    return {
        "python_alone": bare,
        "import_eyesight": round(median(sys.executable, "-c", "import eyesight") - bare, 3),
        "help": median(sys.executable, "-m", "eyesight", "--help"),
    }


def opening():
    """Milliseconds to open the prepared MNIST, median of nine."""
    code = (
        "import statistics, time\n"
        "from eyesight.data.opening import open_source\nfrom eyesight.data.store import "
        "prepare_store\nfrom eyesight.recipe import Data\n"
        "source, times = open_source('mnist'), []\n"
        "for _ in range(10):\n"
        "    began = time.perf_counter(); prepare_store(source, Data('mnist')); "
        "times.append(time.perf_counter() - began)\n"
        "print(round(1000 * statistics.median(times[1:]), 1))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return {"milliseconds": float(output)}


def summary(case, rows):
    """A line of Markdown: mean, spread and time."""
    top1 = [row["top1"] for row in rows]
    seconds = [row["parts"]["training"] + row["parts"]["evaluation"] for row in rows]
    spread = f" ± {statistics.stdev(top1):.2%}" if len(top1) > 1 else ""
    peak = max((row["peak_megabytes"] or 0) for row in rows)
    plain = [
        row["top1_one_view"] for row in rows if row.get("top1_one_view", row["top1"]) != row["top1"]
    ]
    return (
        f"| {case.name} | {statistics.mean(top1):.2%}{spread} | "
        f"{f'{statistics.mean(plain):.2%}' if plain else ''} | {len(rows)} "
        f"| {statistics.mean(seconds):.1f} s (most {max(seconds):.1f} s) "
        f"| {statistics.mean(row['wall_seconds'] for row in rows):.1f} s | "
        f"{f'{peak} MB' if peak else ''} | {case.claim} |"
    )


def table():
    """All stored results as one Markdown file."""
    lines = [
        "# Measurements",
        "",
        "`make bench` wrote these; each row's machine and single runs are in its JSON file.",
        "",
    ]
    lines += [
        "| name | test top-1 | by a single view | seeds | training + evaluation | whole "
        "process | peak memory | claim |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES.values():
        file = HERE / "results" / f"{case.name}.json"
        if file.exists():
            lines.append(summary(case, json.loads(file.read_text())["runs"]))
    quick = HERE / "results" / "start_up.json"
    if quick.exists():
        figures = json.loads(quick.read_text())
        start, alone = figures["import_eyesight"], figures["python_alone"]
        lines += [
            "",
            f"`import eyesight` {start} s beyond Python's own {alone} s; `eyesight --help` "
            f"{figures['help']} s; opening the prepared MNIST {figures['milliseconds']} ms.",
        ]
    (HERE / "results" / "README.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(['start_up', *CASES])}")
    parser.add_argument("--again", action="store_true")
    parser.add_argument(
        "--seeds", type=int, default=9, help="at most so many of a measurement's seeds"
    )
    given = parser.parse_args()
    machine = {
        key: value
        for key, value in environment().items()
        if key in ("cpu", "cores", "python", "versions")
    }
    for name in given.names or ["start_up", *CASES]:
        file = HERE / "results" / f"{name}.json"
        if name == "start_up":
            file.write_text(
                json.dumps({**start_up(), **opening(), "environment": machine}, indent=1) + "\n"
            )
            continue
        case = CASES[name]
        if case.recipe in ("dogs", "folder") and not case.data:
            print(f"{name} is left out: EYESIGHT_DOGS names no photographs", flush=True)
            continue
        rows = json.loads(file.read_text())["runs"] if file.exists() and not given.again else []
        for seed in range(len(rows), min(case.seeds, given.seeds)):
            rows.append(train(case, seed))
            print(name, rows[-1], flush=True)
            record = {
                "claim": case.claim,
                "recipe": case.recipe,
                "settings": case.settings,
                "budget": case.budget,
            }
            file.write_text(
                json.dumps({**record, "runs": rows, "environment": machine}, indent=1) + "\n"
            )
    table()
    print((HERE / "results" / "README.md").read_text())


if __name__ == "__main__":
    main()
