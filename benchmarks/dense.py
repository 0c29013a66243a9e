"""Measures autoencoder and segmentation, each training in a process of its own, and writes
benchmarks/results/NAME.json.

    python benchmarks/dense.py                      both
    python benchmarks/dense.py segment_3m           only this one
    python benchmarks/dense.py street_5m --data DIR street scenes with masks, in CamVid's folders
    (benchmarks/street.py draws some)

Run it on a quiet machine: two threads that wait for others' programs learn a tenth as much in three
minutes.
"""

import argparse
import json
import sys
from pathlib import Path

from run import measured

from eyesight.system.environment import environment

HERE = Path(__file__).parent
CASES = {  # name: (recipe, arguments, claim)
    "autoencoder_3m": (
        "autoencoder",
        ("--data", "mnist", "--budget", "3m"),
        "mse under 0.004 on MNIST with 32 numbers in three minutes",
    ),
    "segment_3m": (
        "segment",
        ("--data", "shapes", "--budget", "3m"),
        "mean IoU of at least .95 on the drawn set in three minutes",
    ),
    "street_5m": (
        "segment",
        ("--budget", "5m"),
        "street scenes of 480×360, 11 classes and void, within 8 GB",
    ),
}
KEPT = ("n", "psnr", "mse", "ssim", "mean_iou", "interval", "pixel_accuracy", "per_class_iou")


def train(name, data):
    """One training: its figures, its seconds, and the peak memory of its process in MB where
    the system tells."""
    recipe, arguments, claim = CASES[name]
    command = [
        sys.executable,
        "-m",
        "eyesight",
        "train",
        recipe,
        *arguments,
        "--out",
        "runs/benchmarks",
        "--json",
    ]
    result, wall, peak = measured(name, [*command, *(("--data", data) if data else ())])
    figures = {key: result["test"][key] for key in KEPT if key in result["test"]}
    return {
        "claim": claim,
        **figures,
        "parts": result["parts"],
        "wall_seconds": wall,
        "peak_megabytes": peak,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--data", help="where the street scenes are")
    given = parser.parse_args()
    machine = {
        key: value
        for key, value in environment().items()
        if key in ("cpu", "cores", "python", "versions")
    }
    for name in given.names or ["autoencoder_3m", "segment_3m"]:
        if name == "street_5m" and not given.data:
            raise SystemExit(
                "street_5m needs --data: a folder with train/ and trainannot/, val/ and "
                "valannot/, test/ and testannot/"
            )
        row = train(name, given.data if name == "street_5m" else None)
        (HERE / "results" / f"{name}.json").write_text(
            json.dumps({**row, "environment": machine}, indent=1) + "\n"
        )
        print(name, row, flush=True)


if __name__ == "__main__":
    main()
