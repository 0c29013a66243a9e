"""Draws what docs/ shows: accuracy against budget, from benchmarks/results, and what an audit finds
in drawn images.

python benchmarks/figures.py
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from matplotlib import pyplot
from PIL import Image

HERE = Path(__file__).parent
MINUTES = (1, 2, 5, 10)


def budget_curve():
    """docs/pictures/budget.png: what `objects` reaches in 1, 2, 5 and 10 minutes."""
    result = {}
    for minutes in MINUTES:
        rows = json.loads((HERE / "results" / f"objects_{minutes}m.json").read_text())["runs"]
        result[minutes] = [[100 * row[key] for row in rows] for key in ("top1", "top1_one_view")]
    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    for place, (name, marker) in enumerate((("averaged over views", "o"), ("a single view", "s"))):
        means = [statistics.mean(values[place]) for values in result.values()]
        axes.plot(MINUTES, means, marker=marker, label=name)
    for minutes, (averaged, _) in result.items():
        axes.annotate(
            f"{statistics.mean(averaged):.1f}",
            (minutes, statistics.mean(averaged)),
            (0, 7),
            textcoords="offset points",
            ha="center",
        )
    axes.set(
        xscale="log",
        xlabel="budget in minutes, everything included",
        ylabel="test accuracy, %",
        title="objects on CIFAR-10, two processor cores",
    )
    axes.set_xticks(MINUTES, [str(minutes) for minutes in MINUTES])
    axes.minorticks_off()
    axes.margins(y=0.12)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(HERE.parent / "docs" / "pictures" / "budget.png", dpi=110)


def audit_examples():
    """docs/pictures/audit.png: wrong labels, a series and a shortcut that an audit finds."""
    sys.path.append(str(HERE.parent / "tests"))
    from drawn import SHAPES, folder
    from test_audit import spoilt_folder, stamped
    from test_series import burst_folder

    from eyesight.auditing.audit import audit

    with tempfile.TemporaryDirectory() as place:
        shapes = folder(Path(place) / "shapes", 300, size=32)
        for number in range(200, 206):
            name = f"{number:04d}.png"
            file = shapes / SHAPES[number % 3] / name
            file.rename(shapes / SHAPES[(number + 1) % 3] / name)
        bursts = burst_folder(Path(place) / "bursts", 40)
        stamps = spoilt_folder(Path(place) / "stamps", stamped)
        rows = []
        labels = audit(shapes).labels[:6]
        titles = [f"{one.given}, rather {one.suggested}\n{one.score:.2f}" for one in labels]
        rows.append(("label errors", [shapes / one.id for one in labels], titles))
        result = audit(bursts)
        optimism = result.optimism
        first, second = [group for group in result.series if len(group) >= 3][:2]
        series = [*first[:3], *second[:3]]
        titles = ["series 1", "", "", "series 2", "", ""]
        name = f"series\nrandom split {optimism.random:.0%}\ngrouped {optimism.grouped:.0%}"
        rows.append((name, [bursts / one.id for one in series], titles))
        (alarm,) = (one for one in audit(stamps).shortcuts if one.name == "overlays")
        chosen = sorted(alarm.examples, key=lambda one: one.startswith("one"))
        titles = [one.partition("/")[0] for one in chosen]
        name = f"overlays alone\ntell {alarm.accuracy:.0%}"
        rows.append((name, [stamps / one for one in chosen], titles))
        draw_rows(rows, HERE.parent / "docs" / "pictures" / "audit.png")


def draw_rows(rows, file):
    """Rows of images with a name each and a title above every image."""
    figure, axes = pyplot.subplots(len(rows), 6, figsize=(8, 4.6), layout="constrained")
    for (name, files, titles), line in zip(rows, axes, strict=True):
        for axis, image, title in zip(line, files, titles, strict=True):
            axis.imshow(Image.open(image), cmap="gray")
            axis.set_title(title, fontsize=8)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    budget_curve()
    audit_examples()
