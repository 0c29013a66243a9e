"""What 8-bit weights and activations cost: the files of some runs on all of their test images.

    python benchmarks/int8.py RUN...

Writes each run's ONNX file and the one in 8 bits to a temporary folder, whatever the loss, and
prints accuracy, bytes and the paired difference with its 95 % interval. Adds a row for each run to
benchmarks/results/int8.json, under the recipe's name.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from best import paired_scores
from distilling import hits_of_file

from eyesight.exporting import export
from eyesight.runs import Run
from eyesight.system.environment import environment

FILE = Path(__file__).parent / "results" / "int8.json"


def row(run, folder):
    """The files of a run and what they classify correctly."""
    whole = export.export(run, folder / f"{run.name}.onnx")
    small = export.export_int8(run, whole.file, tolerance=1.0)
    before, after = (hits_of_file(run, made.file) for made in (whole, small))
    training = run.recipe.training
    return {
        "data": Path(run.recipe.data.source).name,
        "epochs": training.epochs,
        "budget": training.budget,
        "seed": training.seed,
        "n": len(before),
        "float32": float(before.mean()),
        "int8": float(after.mean()),
        "bytes": [whole.bytes, small.bytes],
        "int8_minus_float32": paired_scores(after, before),
    }


def main():
    """Measure the runs on the command line."""
    rows = json.loads(FILE.read_text())["rows"] if FILE.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sys.argv[1:]:
            run = Run.open(Path(path))
            name = run.recipe.name
            rows[name] = row(run, Path(folder))
            difference = rows[name]["int8_minus_float32"]
            low, high = difference["interval"]
            print(
                f"{name}: {rows[name]['float32']:.2%} → {rows[name]['int8']:.2%} of "
                f"{rows[name]['n']:,} ({difference['points']:+.2f} points, {low:+.2f} to "
                f"{high:+.2f}), {rows[name]['bytes']} bytes"
            )
    written = {
        "command": "python benchmarks/int8.py RUN...",
        "rows": rows,
        "load": os.getloadavg()[0],
        "environment": environment(),
    }
    FILE.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
