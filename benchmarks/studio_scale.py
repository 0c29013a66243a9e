"""Seconds and memory of the studio with 50 projects, 10,000 pictures in one, and 2,000 dropped files.

python benchmarks/studio_scale.py [--upload 2000]

Draws its pictures into a temporary folder and starts `eyesight studio` there. Pages are asked for
without a browser: cold is the first request after the server has started, warm the median of nine
more; both by the clock and of the server's processor time, which other programs do not change. The
files are then given to the page Collect in Chromium, three of them broken. Memory is the peak of the
server's process. Ends with 1 if a page takes 0.5 processor seconds or more, or a broken file is not
named.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
from PIL import Image, ImageDraw

from eyesight.results.predictions import Predictions
from eyesight.studio import checking, projects
from eyesight.studio.projects import Project
from eyesight.system.environment import environment

RESULTS = Path(__file__).parent / "results" / "studio_scale.json"
BEFORE = Path(__file__).parents[1] / "tests" / "before" / "run"
PROJECTS = 50
LARGE = 10_000  # pictures of the largest project
SMALL = 60  # of every other one
CLASSES = ("disc", "block", "peak", "ring", "bar")
TRAININGS = 20  # of the largest project
HELD_OUT = 2_000  # pictures that its trainings were tested with
FINDINGS = 300  # of each kind in its check
SIDE = 96
WARM = 9
MOST = 0.5  # processor seconds of a page
TICKS = os.sysconf("SC_CLK_TCK")
BROKEN = {
    "text.png": b"this is no picture",
    "empty.png": b"",
    "half.png": b"",  # the first half of a picture
}


@dataclass(frozen=True)
class Page:
    """Seconds of a page, by the clock and of the server's processor."""

    page: str
    cold: float
    warm: float
    cold_processor: float
    warm_processor: float
    kilobytes: float


@dataclass(frozen=True)
class Upload:
    """What became of the dropped files."""

    files: int
    seconds: float
    added: int
    named: Sequence[str]  # the broken ones that the page named
    state_seconds: float  # the slowest of the page's own requests for the state meanwhile


def drawing(name: str, random: np.random.Generator) -> bytes:
    """A shape in two colours as PNG."""
    ground, ink = random.integers(150, 255, 3).tolist(), random.integers(0, 110, 3).tolist()
    picture = Image.new("RGB", (SIDE, SIDE), tuple(ground))
    draw = ImageDraw.Draw(picture)
    x, y = random.integers(32, 64, 2).tolist()
    reach = int(random.integers(16, 28))
    box = (x - reach, y - reach, x + reach, y + reach)
    if name == "disc":
        draw.ellipse(box, fill=tuple(ink))
    if name == "ring":
        draw.ellipse(box, outline=tuple(ink), width=6)
    if name == "block":
        draw.rectangle(box, fill=tuple(ink))
    if name == "bar":
        draw.rectangle((x - 4, y - reach, x + 4, y + reach), fill=tuple(ink))
    if name == "peak":
        draw.polygon([(x, y - reach), (x - reach, y + reach), (x + reach, y + reach)], tuple(ink))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def draw_project(folder: Path, title: str, count: int, random: np.random.Generator) -> Project:
    """A project with `count` pictures in all its classes."""
    project = projects.create_project(folder, title)
    for name in CLASSES:
        project.add_class(name)
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        (project.pictures / name / f"{number:05d}.png").write_bytes(drawing(name, random))
    return project


def image_ids(project: Project) -> list[str]:
    """The ids of all images, one class after the other."""
    ids = []
    for name in project.class_names:
        ids += [f"{name}/{file}" for file in sorted(project.files(name))]
    return ids


def write_trainings(project: Project, random: np.random.Generator) -> None:
    """Finished runs with predictions for pictures of the project."""
    ids = image_ids(project)
    for number in range(1, TRAININGS + 1):
        run = shutil.copytree(BEFORE, project.runs_path / f"{number:04}-folder")
        chosen = random.choice(len(ids), HELD_OUT, replace=False)
        tested = [ids[place] for place in chosen]
        labels = np.array([CLASSES.index(one.partition("/")[0]) for one in tested])
        probabilities = random.dirichlet(np.ones(len(CLASSES)) / 4, HELD_OUT).astype(np.float32)
        right = random.random(HELD_OUT) < 0.9
        probabilities[right] = np.eye(len(CLASSES), dtype=np.float32)[labels[right]]
        predictions = Predictions(tuple(tested), labels, probabilities, CLASSES)
        predictions.save(run / "predictions.npz")


def write_check(project: Project, random: np.random.Generator) -> None:
    """A check with findings of every kind."""
    ids = image_ids(project)

    def some() -> list[str]:
        return [ids[place] for place in random.choice(len(ids), FINDINGS, replace=False)]

    problems = [{"id": one, "kind": "duplicate", "detail": "", "fatal": True} for one in some()]
    labels = []
    for one in some():
        given = one.partition("/")[0]
        suggested = CLASSES[(CLASSES.index(given) + 1) % len(CLASSES)]
        labels.append({"id": one, "given": given, "suggested": suggested, "score": 0.97})
    pairs = zip(some(), some(), strict=True)
    audit = {
        "labels": labels,
        "copies": [[{"id": one, "split": ""}, {"id": other, "split": ""}] for one, other in pairs],
        "unlike": [{"id": one, "score": 0.99} for one in some()],
        "notes": [],
        "shortcuts": [],
    }
    health = {"usable": len(ids), "problems": problems}
    values = {"stamp": checking.pictures_stamp(project), "health": health, "audit": audit}
    (project.path / checking.CHECK).write_text(json.dumps(values), encoding="utf-8")


def draw_studio(folder: Path) -> Project:
    """All projects; returns the largest."""
    random = np.random.default_rng(0)
    for number in range(1, PROJECTS):
        draw_project(folder, f"project {number}", SMALL, random)
    large = draw_project(folder, "large", LARGE, random)
    write_trainings(large, random)
    write_check(large, random)
    return large


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process of a studio, once its own first child has ended."""
    command = [sys.executable, "-m", "eyesight", "studio", "--folder", str(folder)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-open"], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip().removeprefix("listening on "))
        children = Path(f"/proc/{process.pid}/task")
        while any(file.read_text() for file in children.glob("*/children")):
            time.sleep(0.1)
        yield f"{address.scheme}://{address.netloc}", process.pid
    finally:
        process.terminate()
        process.wait(30)


def processor_seconds(pid: int) -> float:
    """What a process has used so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int, field: str) -> float:
    """Megabytes of a process: "VmRSS" now, "VmHWM" at its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError(f"the system does not say {field}")


def fetch(address: str, pid: int) -> tuple[float, float, int]:
    """Seconds by the clock and of the server's processor for an address, and its bytes."""
    began, processor = time.perf_counter(), processor_seconds(pid)
    with urlopen(address) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, processor_seconds(pid) - processor, size


def measure_page(address: str, path: str, pid: int) -> Page:
    """A page cold and warm."""
    cold = fetch(address + path, pid)
    warm = [fetch(address + path, pid) for _ in range(WARM)]
    return Page(
        page=path,
        cold=round(cold[0], 3),
        warm=round(statistics.median(one[0] for one in warm), 3),
        cold_processor=round(cold[1], 2),
        warm_processor=round(sum(one[1] for one in warm) / WARM, 3),
        kilobytes=round(cold[2] / 1000, 1),
    )


def pages_of(project: Project) -> list[str]:
    """The addresses that are measured."""
    here = f"/studio/{project.name}"
    name = CLASSES[0]
    newest = project.files(name)[0]
    steps = [f"{here}/{step}" for step in ("collect", "check", "train", "try", "compare", "take")]
    parts = [f"{here}/state", f"{here}/held", f"{here}/files?of={name}&start=1900"]
    return ["/studio", *steps, *parts, f"{here}/pictures/{name}/{newest}"]


def files_to_drop(folder: Path, count: int) -> list[Path]:
    """`count` drawn files, the last three of them broken."""
    random = np.random.default_rng(1)
    folder.mkdir()
    for number in range(count - len(BROKEN)):
        (folder / f"{number:05d}.png").write_bytes(drawing(CLASSES[0], random))
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    whole = drawing(CLASSES[0], random)
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    return sorted(folder.iterdir())


def drop(address: str, project: Project, files: Sequence[Path]) -> Upload:
    """Give files to a class of the project on the page Collect, in Chromium."""
    from playwright.sync_api import sync_playwright

    times: list[float] = []
    before = len(files_of(project))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("EYESIGHT_CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox"],
        )
        page = browser.new_page(locale="en")
        page.on("requestfinished", lambda request: note_time(request, times))
        page.goto(f"{address}/studio/{project.name}/collect")
        card = page.locator(f'section.card[aria-label="{CLASSES[0]}"]')
        card.locator(".thumbs img").first.wait_for()
        began = time.perf_counter()
        card.locator(".pick").set_input_files(files)
        page.locator("#toast", has_text="added").wait_for(timeout=600_000)
        seconds = time.perf_counter() - began
        lines = page.locator("#broken li").all_text_contents()
        browser.close()
    added = len(files_of(project)) - before
    named = [name for name in BROKEN if any(line.startswith(f"{name}:") for line in lines)]
    return Upload(
        files=len(files),
        seconds=round(seconds, 1),
        added=added,
        named=named,
        state_seconds=round(max(times, default=0), 3),
    )


def files_of(project: Project) -> list[str]:
    """The files in the class that takes the dropped ones."""
    return os.listdir(project.pictures / CLASSES[0])  # noqa: PTH208 - only the names


def note_time(request: object, times: list[float]) -> None:
    """Keep the seconds of a request for the state."""
    if request.url.endswith("/state"):
        timing = request.timing
        times.append((timing["responseEnd"] - timing["requestStart"]) / 1000)


def table(result: dict[str, object]) -> str:
    """The result as Markdown."""
    lines = [
        "| page | cold | warm | processor, cold | processor, warm | size |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["pages"]:
        lines.append(
            f"| {row['page']} | {row['cold']:.3f} s | {row['warm']:.3f} s | "
            f"{row['cold_processor']:.2f} s | {row['warm_processor']:.3f} s | "
            f"{row['kilobytes']:,.1f} kB |"
        )
    dropped = result["upload"]
    named = ", ".join(dropped["named"]) or "none"
    return "\n".join(
        [
            *lines,
            "",
            f"load of the machine: {result['load']:.1f}",
            f"{dropped['files']:,} files dropped: {dropped['seconds']:.1f} s, "
            f"{dropped['added']:,} added, broken ones named: {named}; slowest state meanwhile "
            f"{dropped['state_seconds']:.3f} s",
            f"memory of the server: {result['started_megabytes']:.0f} MB when it has started, "
            f"{result['pages_megabytes']:.0f} MB after the pages, "
            f"{result['peak_megabytes']:.0f} MB at its peak",
        ]
    )


def measure(place: Path, count: int) -> dict[str, object]:
    """Everything, in one server."""
    folder = place / "studio"
    large = draw_studio(folder)
    files = files_to_drop(place / "dropped", count)
    with serving(folder) as (address, pid):
        fetch(f"{address}/static/studio.js", pid)
        started = memory(pid, "VmRSS")
        pages = [measure_page(address, path, pid) for path in pages_of(large)]
        after = memory(pid, "VmRSS")
        upload = drop(address, large, files)
        peak = memory(pid, "VmHWM")
    machine = environment()
    return {
        "projects": PROJECTS,
        "pictures": LARGE,
        "pages": [asdict(page) for page in pages],
        "upload": asdict(upload),
        "started_megabytes": round(started, 1),
        "pages_megabytes": round(after, 1),
        "peak_megabytes": round(peak, 1),
        "load": os.getloadavg()[0],
        "environment": {key: machine[key] for key in ("cpu", "cores", "python", "versions")},
    }


def main() -> None:
    """Measure, write the result, and end with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upload", type=int, default=2000, help="files that are dropped")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = measure(Path(place), given.upload)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(result) + "\n")
    slow = [page for page in result["pages"] if page["cold_processor"] >= MOST]
    if slow or len(result["upload"]["named"]) < len(BROKEN):
        sys.exit(1)


if __name__ == "__main__":
    main()
