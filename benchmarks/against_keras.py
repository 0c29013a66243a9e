"""Our loop against Keras on the same two networks, pictures and batches: one epoch each in turn, several times.

    python -m venv keras-env && keras-env/bin/pip install -r benchmarks/keras/requirements.txt
    python benchmarks/against_keras.py keras-env/bin/python

The pictures are noise, for speed does not depend on what they show; the last line is the ratio of the medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eyesight.environment import environment

HERE = Path(__file__).parent
SHAPES = {"dropout_cnn": ((3, 32, 32), 10), "bottleneck": ((1, 90, 90), 52)}


def pictures(name, count, folder):
    """An .npz file of `count` noise pictures with labels, as the network wants them."""
    shape, classes = SHAPES[name]
    random = np.random.default_rng(0)
    file = Path(folder) / f"{name}.npz"
    np.savez(file, pictures=random.integers(0, 256, (count, *shape), dtype=np.uint8), labels=np.arange(count) % classes)
    return file


def epoch(python, script, name, file):
    """What one epoch in a process of its own said."""
    # The command line sets the same for every training; both sides may use all cores.
    said = subprocess.run(
        [python, script, name, file], check=True, capture_output=True, text=True, env=os.environ | {"GOMP_SPINCOUNT": "20000"}
    )
    return json.loads(said.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keras_python", help="a Python with what benchmarks/keras/requirements.txt names")
    parser.add_argument("--pictures", type=int, default=10_000, help="pictures in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found = {"environment": {key: value for key, value in environment().items() if key in ("cpu", "cores", "python", "versions")}}
    with tempfile.TemporaryDirectory() as folder:
        for name in SHAPES:
            file = pictures(name, given.pictures, folder)
            rows = []
            for _ in range(given.rounds):
                ours = epoch(sys.executable, HERE / "our_epoch.py", name, file)
                theirs = epoch(given.keras_python, HERE / "keras" / "keras_epoch.py", name, file)
                assert ours["parameters"] == theirs["parameters"], (ours, theirs)
                rows.append({"ours": ours, "keras": theirs, "ratio": theirs["seconds"] / ours["seconds"]})
                print(name, f"ours {ours['seconds']:.1f} s ({ours['precision']}), Keras {theirs['seconds']:.1f} s", flush=True)
            medians = {side: statistics.median(row[side]["seconds"] for row in rows) for side in ("ours", "keras")}
            found[name] = {"rounds": rows, "medians": medians, "ratio": medians["keras"] / medians["ours"]}
            print(f"{name}: {found[name]['ratio']:.2f} times as fast as Keras {rows[0]['keras']['keras']}", flush=True)
    (HERE / "results" / "against_keras.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
