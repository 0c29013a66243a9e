"""Digits that are not MNIST, with and without the reader's preparation: `python
benchmarks/reader.py RUN`.

The pictures are the 1,797 grey digits of 43 writers that scikit-learn carries (8×8 here; 16×16 with
--size 16), written as PNG files and
read by `eyesight predict`, as anybody would. Nothing was trained on them and nothing was chosen by
them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eyesight.data.named import bundled_digits
from eyesight.data.prepare import encode_png
from eyesight.reader.mnist_digit import resample

RESULTS = Path(__file__).parent / "results"


def write(folder, size):
    """The digits as PNG files of `size` pixels a side, class/number.png; their names with their
    classes."""
    source = bundled_digits()
    labels = {}
    for number, (picture, label) in enumerate(zip(source.pixels[:, 0], source.labels, strict=True)):
        grown = np.rint(resample(picture.astype(float), size, size)).astype(np.uint8)
        file = folder / source.classes[label] / f"{number:04d}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode_png(grown[None]))
        labels[str(file)] = source.classes[label]
    return labels


def accuracy(model, folder, labels, *options):
    """The share of pictures that `eyesight predict` names rightly; one it cannot read counts as
    wrong."""
    command = [sys.executable, "-m", "eyesight", "predict", model, str(folder), "--json", *options]
    answers = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=False).stdout
    )["predictions"]
    assert len(answers) == len(labels)
    return sum(
        bool(answer.get("top")) and answer["top"][0]["class"] == labels[answer["path"]]
        for answer in answers
    ) / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a digits run or its ONNX file")
    parser.add_argument("--size", type=int, nargs="+", default=[8, 16])
    given = parser.parse_args()
    rows = []
    for size in given.size:
        with tempfile.TemporaryDirectory() as place:
            labels = write(Path(place), size)
            row = {
                "pixels": size,
                "pictures": len(labels),
                "without": accuracy(given.model, place, labels),
            }
            rows.append(
                row
                | {
                    "with --prepare digit": accuracy(
                        given.model, place, labels, "--prepare", "digit"
                    )
                }
            )
        print(
            ", ".join(
                f"{name} {value:.2%}" if isinstance(value, float) else f"{name} {value:,}"
                for name, value in rows[-1].items()
            )
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "reader.json").write_text(
        json.dumps({"command": "python benchmarks/reader.py RUN", "rows": rows}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
