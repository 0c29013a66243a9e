"""Train every published network with its published settings, and write docs/published.md.

    python benchmarks/published.py                 all rows, cheapest first; goes on where it ended
    python benchmarks/published.py B1 F3           only these
    python benchmarks/published.py --collect       no training: finished runs become results
    python benchmarks/published.py --page          only the page, from the results that are there
    python benchmarks/published.py D4 --images 6000 --epochs 5
                                                   a part, kept as one until the whole is trained

A row takes minutes to days. Runs lie in runs/published/ROW; a finished row has a file in
benchmarks/results/published/ and is not trained again. Weights that no package holds are given
with --weights ResNet50V2=FILE; without them EfficientNetLite0 stands in, and the row says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from published_page import page

from eyesight.data.opening import open_source
from eyesight.models import weights, zoo
from eyesight.recipes import find
from eyesight.runs import Run, list_runs

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "published"
STAND_IN = "EfficientNetLite0"


@dataclass(frozen=True)
class Row:
    """A published training: its figure in print, where it was measured, and why ours may differ."""

    id: str
    in_print: float | None  # a share from 0 to 1
    measured_on: str = "test"  # or validation
    printed: str = ""  # the figure and its circumstances in words
    backbone: str = ""  # the pretrained network whose weights it needs
    why: str = ""


# Cheapest first: by multiply-adds, training images and epochs.
ROWS = (
    Row("B1", 0.9904, printed="99.04 % after 30 epochs, 99.20 % in the best"),
    Row("D2", None, printed="5 epochs, no figure that can be compared"),
    Row("D6", None, printed="worse than the small networks", backbone="ResNet152V2"),
    Row("O7", 0.656, "validation", ".656 on validation after 10 epochs", "VGG16"),
    Row("O8", 0.823, "validation", ".823 on validation after 10 epochs", "ResNet50V2"),
    Row("O2", 0.73, "validation", ".71 on validation after 20 epochs, .73 after 40"),
    Row("O3", 0.737, printed=".718 after 20 epochs, .737 after 40"),
    Row(
        "F3",
        0.95,
        "validation",
        "95.00 % on validation after 7 epochs",
        why="drawn characters, split by font family: no test font is seen in training",
    ),
    Row("B3", 0.9958, printed="99.58 % after 100 epochs"),
    Row("B2", None, printed="curves over 100 epochs, no figure"),
    Row("B13", None, printed="no figure in the textbook"),
    Row("D5", None, printed="40 epochs, no figure that can be compared", backbone="VGG16"),
    Row("O5", 0.848, printed=".837 after 20 epochs, .848 after 40"),
    Row("D3", None, printed="10 epochs, stopped early, no figure that can be compared"),
    Row("D4", 0.11, printed="0.11 from epoch 5 on"),
    Row("D4-repaired", None, printed="not in the article: the same network, repaired"),
    Row("O9", 0.66, printed=".66 with DenseNet121, .09 to .83", backbone="DenseNet121"),
    Row("O6", 0.8752, printed=".8728 after 20 epochs, .8752 after 40"),
    Row("O10", 0.8918, printed=".8388 after stage 1, .8918 after 2", backbone="ResNet50V2"),
)


@dataclass(frozen=True)
class Part:
    """How much of a row is trained where hours do not suffice; 0 is everything."""

    epochs: int = 0
    images: int = 0

    @property
    def name(self) -> str:
        """The name of its folder, apart from that of the whole."""
        return f"-{self.images or 'all'}x{self.epochs}" if self.epochs or self.images else ""


def settings_of(row: Row, files: dict[str, str]) -> tuple[list[str], str]:
    """The settings beside the recipe's own, and "exact" or what stands in."""
    if not row.backbone:
        return [], "exact"
    if row.backbone in files:
        return [f"model.weights={files[row.backbone]}"], "exact"
    if weights.at_hand(zoo.timm_name(row.backbone)):
        return [], "exact"
    settings = [f"model.name={STAND_IN}"]
    if find(row.id).data.size == 224:
        settings.append("data.size=96")
    return settings, f"{STAND_IN} for {row.backbone}"


def settings_of_part(row: Row, part: Part, out: Path) -> list[str]:
    """The settings that make a training a part; its images are written into the folder `out`."""
    settings = []
    if part.epochs:
        settings.append(f"training.epochs={part.epochs}")
        if find(row.id).transfer.thaw_epochs:
            settings.append(f"transfer.thaw_epochs={part.epochs}")
    if part.images:
        source = find(row.id).data.source
        file = out / f"{source}-{part.images}.npz"
        if not file.is_file():
            write_images(source, part.images, file)
        settings.append(f"data.source={file}")
    return settings


def write_images(name: str, images: int, file: Path) -> None:
    """Write so many images of each split of a named set, evenly spread, as an .npz file."""
    source = open_source(name)
    assert source.pixels is not None, f"{name} has no pixels"
    arrays = {}
    for split in np.unique(source.splits):
        rows = np.flatnonzero(source.splits == split)
        chosen = rows[np.linspace(0, len(rows) - 1, min(images, len(rows))).astype(int)]
        arrays[f"x_{split}"] = source.pixels[chosen]
        arrays[f"y_{split}"] = source.labels[chosen]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays, classes=np.array(source.classes))


def train(row: Row, settings: list[str], out: Path, seed: int) -> None:
    """Train the row in a process of its own, or go on with what an interrupted call left."""
    command = [sys.executable, "-m", "eyesight", "train", row.id, "--out", str(out)]
    command += ["--seed", str(seed), "--json"]
    for setting in settings:
        command += ["--set", setting]
    if any(run.status == "interrupted" for run in list_runs(out)):
        command.append("--resume")
    print(row.id, "trains:", " ".join(command[2:]), file=sys.stderr, flush=True)
    ended = subprocess.run(command, stdout=subprocess.DEVNULL)
    if ended.returncode:
        print(row.id, f"ended with exit code {ended.returncode}", file=sys.stderr, flush=True)


def result(row: Row, run: Run, settings: list[str], kind: str) -> dict[str, object] | None:
    """What a run gave; of an interrupted one, its last epoch on validation, marked as a part."""
    epochs = run.epochs
    if not epochs:
        return None
    done = run.result
    last = epochs[-1]
    if done:
        judged = done[row.measured_on]
        figure = {"here": judged["top1"], "interval": judged["interval"], "n": judged["n"]}
        seconds = done["seconds"]["total"] + done["seconds"].get("before", 0)
        measured_on = row.measured_on
    else:
        held_out = run.data["counts"]["validation"] if "counts" in run.data else None
        figure = {"here": last["validation_top1"], "n": held_out}
        seconds = sum(epoch["seconds"] for epoch in epochs)
        measured_on = "validation"
    names = ("train_loss", "validation_loss", "train_top1", "validation_top1")
    extra = "".join(f" --set {setting}" for setting in settings)
    environment = run.environment
    return {
        "row": row.id,
        "recipe": run.recipe.name,
        "command": f"eyesight train {row.id}{extra}",
        "kind": kind,
        "part": part_of(row, run),
        "image_epochs": images_of(run) * len(epochs),
        "in_print": row.in_print,
        "printed": row.printed,
        "why": row.why,
        "measured_on": measured_on,
        **figure,
        "seeds": 1,
        "seconds": round(seconds),
        "epochs": len(epochs),
        "curves": {name: [epoch.get(name) for epoch in epochs] for name in names},
        "machine": {
            key: environment.get(key) for key in ("commit", "cpu", "cores", "threads", "versions")
        },
    }


def part_of(row: Row, run: Run) -> str:
    """What a run lacks of the published training, in words; empty for the whole."""
    published = find(row.id)
    lacks = []
    stopped_early = run.result and run.recipe.training.epochs == published.training.epochs
    planned = published.training.epochs + published.transfer.thaw_epochs
    if len(run.epochs) < planned and not stopped_early:
        lacks.append(f"{len(run.epochs)} of {planned} epochs")
    if run.recipe.data.source != published.data.source:
        lacks.append(f"{images_of(run):,} images")
    return ", ".join(lacks)


def images_of(run: Run) -> int:
    """The number of images that a run trains on."""
    return int(run.data["counts"]["train"])


def keep(row: Row, runs: list[Run], settings: list[str], kind: str) -> bool:
    """Write the row's file from its runs; whether the training was finished.

    A part never takes the place of a larger one.
    """
    results = []
    for run in runs:
        record = result(row, run, settings, kind)
        if record is not None:
            results.append(record)
    finished = [record for record in results if not record["part"]]
    kept = finished or results[-1:]
    if not kept or not (finished or is_larger(kept[-1], row)):
        return False
    record = dict(kept[-1])
    figures = [each["here"] for each in kept]
    record["seeds"] = len(kept)
    record["here"] = statistics.mean(figures)
    if len(figures) > 1:
        record["spread"] = statistics.stdev(figures)
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{row.id}.json").write_text(text, encoding="utf-8")
    return bool(finished)


def is_larger(record: dict[str, object], row: Row) -> bool:
    """Whether a part saw at least as many images as the one that the row's file holds."""
    file = RESULTS / f"{row.id}.json"
    if not file.is_file():
        return True
    kept = json.loads(file.read_text(encoding="utf-8")).get("image_epochs", 0)
    return int(record["image_epochs"]) >= kept


def is_done(row: Row) -> bool:
    """Whether the row's file holds a whole training."""
    file = RESULTS / f"{row.id}.json"
    return file.is_file() and not json.loads(file.read_text(encoding="utf-8"))["part"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ids = [row.id for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ids)}")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/published"))
    parser.add_argument("--weights", action="append", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--epochs", type=int, default=0, help="a part: only so many epochs")
    parser.add_argument("--images", type=int, default=0, help="a part: so many images a split")
    given = parser.parse_args()
    unknown = sorted(set(given.rows) - set(ids))
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ids)}")
    files = dict(pair.split("=", 1) for pair in given.weights)
    for row in ROWS:
        if given.page or (given.rows and row.id not in given.rows) or is_done(row):
            continue
        settings, kind = settings_of(row, files)
        part = Part(given.epochs, given.images)
        out = given.out / f"{row.id}{part.name}"
        finished = any(run.status == "done" for run in list_runs(out))
        if not given.collect and not finished:
            train(row, settings + settings_of_part(row, part, out), out, given.seed)
        keep(row, list_runs(out), settings, kind)
        page(RESULTS, [row.id for row in ROWS])
    page(RESULTS, [row.id for row in ROWS])


if __name__ == "__main__":
    os.chdir(HERE.parent)
    main()
