"""Measure whether answers can be relied on: calibration, sets with a guarantee, unknown images.

    python benchmarks/unknown_sets.py UNKNOWN
    python benchmarks/trust.py RUN [RUN...] [--unknown letters=UNKNOWN/letters ...] [--out FILE.json]

For each run: ECE with its interval, before and after, and the range of perfect calibration;
coverage and size of the sets at 90, 95 and 99 %; and for each set of unknown images (a folder, or
an .npy file of uint8 N,C,H,W) the area under ROC and the false positives at 95 % true positives, of
`unlike`, of its two parts, and of maximum probability.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from eyesight import classifier
from eyesight.data import dataset
from eyesight.data.opening import list_pictures
from eyesight.results import calibration as calibrating
from eyesight.results import conformal, unlike
from eyesight.runs import Run
from eyesight.system.environment import environment
from eyesight.views import run_view

MOST = 2000  # images of a set of unknown ones, and of the run's test images beside them


def trust(run: Run) -> dict[str, object]:
    predictions = run.predictions().labelled()
    kept = run_view.calibration(run)
    probabilities, labels = predictions.probabilities, predictions.labels
    error = calibrating.calibration_error(probabilities, labels)
    coverages = []
    if kept.sets is not None:
        for level in conformal.LEVELS:
            coverages.append(conformal.coverage(kept.sets, probabilities, labels, level))
    return {
        "run": run.name,
        "n": len(labels),
        "accuracy": float(predictions.scores().mean()),
        "temperature": kept.temperature,
        "fitted_on": kept.images,
        "ece": error.value,
        "ece_interval": error.interval,
        "ece_if_perfect": error.perfect,
        **calibrating.before_and_after(probabilities, labels, kept.temperature),
        "risk_coverage_area": calibrating.risk_coverage(probabilities, labels).area,
        "coverage": coverages,
        "calibrated_on": len(kept.sets) if kept.sets is not None else 0,
    }


def images(loaded: classifier.Classifier, where: str) -> np.ndarray:
    if where.endswith(".npy"):
        return np.load(where)[:MOST]
    paths = list(list_pictures(where))
    chosen = np.random.default_rng(0).permutation(len(paths))[:MOST]
    return np.stack([loaded.prepare(paths[row].read_bytes()) for row in chosen])


def unknown(run: Run, others: dict[str, str]) -> dict[str, object]:
    loaded = classifier.load(run.classifier_path)
    test = dataset.load(run.settled.data).test
    chosen = np.random.default_rng(0).permutation(len(test))[:MOST]
    familiar = scores(loaded, test.subset(chosen).take(torch.arange(len(chosen))).numpy())
    separations = {}
    for name, where in others.items():
        strange = scores(loaded, images(loaded, where))
        separations[name] = {key: separation(familiar[key], strange[key]) for key in familiar}
        separations[name]["n"] = [len(familiar["unlike"]), len(strange["unlike"])]
    return separations


def scores(loaded: classifier.Classifier, pixels: np.ndarray) -> dict[str, np.ndarray]:
    logits, features = loaded.logits_and_features(pixels)
    model = loaded.calibration.unlike
    assert model is not None, "the run has too few validation images"
    directions = unlike.project(features, model.directions)
    return {
        "unlike": model.scores(features, logits),
        "nearest neighbour": unlike.nearest(directions, model.reference),
        "energy": unlike.energy(logits),
        "maximum probability": 1 - calibrating.softmax(logits).max(1),
    }


def separation(familiar: np.ndarray, strange: np.ndarray) -> dict[str, float]:
    labels = np.r_[np.zeros(len(familiar)), np.ones(len(strange))]
    limit = np.quantile(familiar, 0.95)
    return {
        "auroc": float(roc_auc_score(labels, np.r_[familiar, strange])),
        "fpr_at_95_tpr": float((strange <= limit).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--unknown", nargs="*", default=[], metavar="NAME=DATA")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.runs:
        run = Run.open(path)
        row = trust(run)
        if options.unknown:
            row["unknown"] = unknown(run, dict(one.split("=", 1) for one in options.unknown))
        rows.append(row)
    written = {
        "command": "python benchmarks/trust.py " + " ".join(run["run"] for run in rows),
        "unknown": [one.partition("=")[0] for one in options.unknown],
        "runs": rows,
        "environment": environment(threads=torch.get_num_threads(), device="cpu", seed=0),
    }
    text = json.dumps(written, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
