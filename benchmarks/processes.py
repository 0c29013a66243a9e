"""Two processes of one thread each against one process with two threads, the same recipe on the
same drawn pictures, in turn.

python benchmarks/processes.py [RECIPE] [ROUNDS]        # under four minutes on two quiet cores
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

RECIPE, ROUNDS = (sys.argv[1:] + ["objects"])[0], int((sys.argv[2:] + ["3"])[0])
COUNT, EPOCHS = 6000, 3


def pictures(file):
    """Noise with a bright corner for its class: what they show does not matter for speed."""
    random = np.random.default_rng(0)
    labels = np.arange(COUNT) % 10
    pixels = random.integers(0, 200, (COUNT, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(COUNT), labels * 3] += 55
    np.savez(file, images=pixels, labels=labels)


def speed(root, processes):
    """Pictures per second of the fastest epoch but the first."""
    environment = {
        **os.environ,
        "EYESIGHT_CACHE": str(root / "cache"),
        "OMP_NUM_THREADS": str(2 // processes),
    }
    settings = [
        f"training.epochs={EPOCHS}",
        "training.precision=float32",
        "training.views=one",
        "training.small=1",
        "training.min_steps=0",
    ]
    command = [
        sys.executable,
        "-m",
        "eyesight",
        "train",
        RECIPE,
        "--data",
        str(root / "pictures.npz"),
        "--out",
        str(root / "runs"),
    ]
    command += [part for setting in settings for part in ("--set", setting)] + [
        "--processes",
        str(processes),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    log = (Path(json.loads(done.stdout)["run"]) / "log.jsonl").read_text().splitlines()
    epochs = [event for event in map(json.loads, log) if event["event"] == "epoch"][1:]
    return max(epoch["pictures"] / epoch["seconds"] for epoch in epochs)


with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    pictures(root / "pictures.npz")
    ratios = []
    for number in range(ROUNDS):
        result = {
            processes: speed(root, processes)
            for processes in ((1, 2) if number % 2 == 0 else (2, 1))
        }
        ratios.append(result[2] / result[1])
        print(
            f"one process {result[1]:7,.0f} images/s   two processes {result[2]:7,.0f} "
            f"images/s   ratio {ratios[-1]:.2f}",
            flush=True,
        )
spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
print(
    f"{RECIPE}: two processes train at {median(ratios):.2f} times the speed of one with two "
    f"threads ({spread})"
)
