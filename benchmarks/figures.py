"""Draws the measurements that docs/ shows, from benchmarks/results: accuracy against budget.

python benchmarks/figures.py
"""

import json
import statistics
from pathlib import Path

from matplotlib import pyplot

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


if __name__ == "__main__":
    budget_curve()
