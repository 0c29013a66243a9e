"""Our loop against Keras on the same two networks, pictures and batches: one epoch each in turn,
several times.

    python -m venv keras-env && keras-env/bin/pip install -r benchmarks/keras/requirements.txt
    python benchmarks/against_keras.py keras-env/bin/python
    python benchmarks/against_keras.py keras-env/bin/python frozen     only this

The pictures are noise, for speed does not depend on what they show; the last line is the ratio of
the medians.

frozen: 20 epochs of a head on a frozen backbone, our lite0 with its features computed once against
EfficientNetB0 (as many multiply-adds)
as people write it in Keras, which computes them in every epoch; ours includes choosing the
arithmetic, validating and saving.
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
import transfer

from eyesight.system.environment import environment

HERE = Path(__file__).parent
SHAPES = {"dropout_cnn": ((3, 32, 32), 10), "bottleneck": ((1, 90, 90), 52)}


def pictures(name, count, folder):
    """An .npz file of `count` noise pictures with labels, as the network wants them."""
    shape, classes = SHAPES[name]
    random = np.random.default_rng(0)
    file = Path(folder) / f"{name}.npz"
    np.savez(
        file,
        pictures=random.integers(0, 256, (count, *shape), dtype=np.uint8),
        labels=np.arange(count) % classes,
    )
    return file


def epoch(python, script, name, file):
    """What one epoch in a process of its own said."""
    # The command line sets the same for every training; both sides may use all cores.
    output = subprocess.run(
        [python, script, name, file],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"GOMP_SPINCOUNT": "20000"},
    )
    return json.loads(output.stdout.strip().splitlines()[-1])


def epochs(keras_python, name, count, rounds):
    """Seconds of an epoch of the network called `name`, both sides in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = pictures(name, count, folder)
        for _ in range(rounds):
            ours = epoch(sys.executable, HERE / "our_epoch.py", name, file)
            theirs = epoch(keras_python, HERE / "keras" / "keras_epoch.py", name, file)
            assert ours["parameters"] == theirs["parameters"], (ours, theirs)
            rows.append(
                {"ours": ours, "keras": theirs, "ratio": theirs["seconds"] / ours["seconds"]}
            )
            print(
                name,
                f"ours {ours['seconds']:.1f} s ({ours['precision']}), Keras "
                f"{theirs['seconds']:.1f} s",
                flush=True,
            )
    medians = {
        side: statistics.median(row[side]["seconds"] for row in rows) for side in ("ours", "keras")
    }
    ratio = medians["keras"] / medians["ours"]
    print(f"{name}: {ratio:.2f} times as fast as Keras {rows[0]['keras']['keras']}", flush=True)
    return {"rounds": rows, "medians": medians, "ratio": ratio}


def frozen(keras_python, count, rounds):
    """Seconds of 20 epochs of a head on a frozen backbone at 128 pixels, both sides in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transfer.privately(folder)
        file = transfer.noise(folder / "noise.npz", count, 128)
        transfer.frozen(
            file, folder, views=1, epochs=1
        )  # prepares the pictures and chooses the arithmetic
        for _ in range(rounds):
            transfer.forget_features(folder)
            ours = transfer.frozen(file, folder, views=1)
            output = subprocess.run(
                [keras_python, HERE / "keras" / "keras_frozen.py", file, "20"],
                check=True,
                capture_output=True,
                text=True,
            )
            theirs = json.loads(output.stdout.strip().splitlines()[-1])
            rows.append(
                {"ours": ours, "keras": theirs, "ratio": theirs["seconds"] / ours["learning"]}
            )
            print(
                "frozen",
                f"ours {ours['learning']:.1f} s, Keras {theirs['seconds']:.1f} s",
                flush=True,
            )
    ratios = sorted(row["ratio"] for row in rows)
    print(
        f"frozen: {statistics.median(ratios):.1f} times as fast as Keras "
        f"{rows[0]['keras']['keras']}",
        flush=True,
    )
    return {
        "pictures": count,
        "epochs": 20,
        "rounds": rows,
        "ratio": statistics.median(ratios),
        "from": ratios[0],
        "to": ratios[-1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "keras_python", help="a Python with what benchmarks/keras/requirements.txt names"
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*SHAPES, 'frozen'])}")
    parser.add_argument("--pictures", type=int, default=10_000, help="pictures in an epoch")
    parser.add_argument("--frozen-pictures", type=int, default=300, help="the same for frozen")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    file = HERE / "results" / "against_keras.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    result["environment"] = {
        key: value
        for key, value in environment().items()
        if key in ("cpu", "cores", "python", "versions")
    }
    for name in given.names or [*SHAPES, "frozen"]:
        if name == "frozen":
            result[name] = frozen(given.keras_python, given.frozen_pictures, given.rounds)
        else:
            result[name] = epochs(given.keras_python, name, given.pictures, given.rounds)
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
