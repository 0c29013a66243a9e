"""How well the audit ranks wrong labels, beside cleanlab on the same features; writes
benchmarks/results/audit_labels_NAME.json.

    python -m venv cleanlab-env && cleanlab-env/bin/pip install -r benchmarks/cleanlab/requirements.txt
    python benchmarks/audit_labels.py human DATA.npz TRUE.npz --cleanlab cleanlab-env/bin/python
    python benchmarks/audit_labels.py planted DATA --share 0.05 --cleanlab cleanlab-env/bin/python

human: DATA.npz holds images with labels that people gave, TRUE.npz the right ones in the same order
(y_train); both stay where they are. planted: a share of the labels of DATA is replaced by another
class, drawn anew for each seed.

--limit N takes N images at random, the same ones for every seed.

cleanlab gets the probabilities of five-fold logistic regression on the same standardised features;
the best of its three scores counts. The difference in average precision is paired: both rankings
are resampled together.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from eyesight.auditing import features, labels, noise_share
from eyesight.auditing.material import open_material
from eyesight.system.environment import environment
from eyesight.system.progress import Reporter

HERE = Path(__file__).parent
RESAMPLES = 200


@dataclass(frozen=True)
class Case:
    """Features float16 n,D with the labels that are given and the true ones.

    `seed` also draws the head of the audit.
    """

    values: torch.Tensor
    given: torch.Tensor
    true: np.ndarray
    classes: int
    seed: int


class Printer(Reporter):
    def message(self, text):
        print(text, file=sys.stderr)


def computed_features(where, limit):
    """The material of an audit, of `limit` images unless 0, and its features, all of them."""
    material = open_material(where, 600.0, Printer())
    if limit and limit < len(material.images):
        rows = np.random.default_rng(0).permutation(len(material.images))[:limit]
        material = replace(material, images=material.images.subset(np.sort(rows)))
    backbone = features.backbone_at_hand()
    began = time.process_time()
    computed = features.compute(
        material.images, material.store.key, float("inf"), Printer(), backbone
    )
    return material, computed, time.process_time() - began


def cases(options, material, index):
    """The given and the true labels for each seed, in the order of the features."""
    labels_of_data = material.images.labels[index]
    classes = len(material.images.classes)
    if options.kind == "human":
        with np.load(options.true, allow_pickle=False) as right:
            by_id = dict(zip(material.source.ids, right["y_train"].astype(int), strict=False))
        true = np.array([by_id[material.images.ids[place]] for place in index.tolist()])
        for seed in range(options.seeds):
            yield labels_of_data, true, classes, seed
        return
    for seed in range(options.seeds):
        random = np.random.default_rng(seed)
        true = labels_of_data.numpy()
        wrong = random.random(len(true)) < options.share
        moved = (true + random.integers(1, classes, len(true))) % classes
        yield torch.from_numpy(np.where(wrong, moved, true)), true, classes, seed


def measure(case):
    """The figures of the audit's ranking, and its scores."""
    began = time.process_time()
    suspicion = labels.judge(case.values, case.given, case.classes, case.seed)
    seconds = time.process_time() - began
    bad = case.given.numpy() != case.true
    called = noise_share.wrong_labels(suspicion, case.given).numpy()
    share = noise_share.share_wrong(suspicion, case.given)
    rows = torch.arange(len(case.given))
    methods = {
        "leave-one-out alone": 1 - suspicion.probabilities[rows, case.given].numpy(),
        "margin alone": -suspicion.margin.numpy(),
    }
    return suspicion.score.numpy(), {
        "seed": case.seed,
        "share_of_wrong_labels": float(bad.mean()),
        **figures(bad, suspicion.score.numpy()),
        "called_wrong": int(called.sum()),
        "precision_of_called": float(bad[called].mean()) if called.any() else None,
        "recall_of_called": float(called[bad].mean()),
        "suggested_class_is_right": float(
            (suspicion.suggested.numpy() == case.true)[called & bad].mean()
        ),
        "share_wrong": share.to_dict(),
        "cpu_seconds": round(seconds, 1),
        **{name: figures(bad, scores) for name, scores in methods.items()},
    }


def figures(bad, scores):
    return {
        "average_precision": float(average_precision_score(bad, scores)),
        "auroc": float(roc_auc_score(bad, scores)),
    }


def logistic_probabilities(case):
    """Out-of-fold probabilities n,K of five-fold logistic regression.

    The penalty with the best loss on a part is taken.
    """
    standardise = labels.Standardiser.of(case.values)
    inputs = standardise(case.values).numpy()
    given = case.given.numpy()
    part = np.arange(min(5000, len(given)))
    losses = {}
    for strength in (1e-4, 1e-3, 1e-2):
        trial = cross_val_predict(
            LogisticRegression(C=strength, max_iter=50),
            inputs[part],
            given[part],
            cv=StratifiedKFold(3, shuffle=True, random_state=0),
            method="predict_proba",
        )
        losses[strength] = -np.log(trial[part, given[part]].clip(1e-9)).mean()
    strength = min(losses, key=losses.get)
    folds = StratifiedKFold(5, shuffle=True, random_state=case.seed)
    model = LogisticRegression(C=strength, max_iter=60)
    return cross_val_predict(model, inputs, given, cv=folds, method="predict_proba")


def cleanlab_scores(python, given, probabilities):
    """Suspicion by each of cleanlab's scores, higher is more suspicious."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, labels=given, probabilities=probabilities)
        subprocess.run([python, HERE / "cleanlab" / "rank.py", source, target], check=True)
        with np.load(target, allow_pickle=False) as scores:
            return {name: -scores[name] for name in scores.files}


def against_cleanlab(python, case, ours):
    """cleanlab's figures, and by how much our average precision is larger than its best, with a 95
    % interval.
    """
    bad = case.given.numpy() != case.true
    began = time.process_time()
    probabilities = logistic_probabilities(case)
    seconds = time.process_time() - began
    scores = cleanlab_scores(python, case.given.numpy(), probabilities)
    table = {name: figures(bad, values) for name, values in scores.items()}
    best = max(table, key=lambda name: table[name]["average_precision"])
    random = np.random.default_rng(0)
    differences = []
    for _ in range(RESAMPLES):
        rows = random.integers(0, len(bad), len(bad))
        mine = average_precision_score(bad[rows], ours[rows])
        theirs = average_precision_score(bad[rows], scores[best][rows])
        differences.append(mine - theirs)
    low, high = np.quantile(differences, [0.025, 0.975])
    return {
        "cleanlab": table,
        "cleanlab_best": best,
        "cleanlab_cpu_seconds": round(seconds, 1),
        "difference": {
            "value": float(np.mean(differences)),
            "low": float(low),
            "high": float(high),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("human", "planted"))
    parser.add_argument("data")
    parser.add_argument("true", nargs="?")
    parser.add_argument("--name", default="")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="images; 0: all")
    parser.add_argument("--cleanlab", default="", help="a Python that has cleanlab")
    options = parser.parse_args()
    material, computed, seconds = computed_features(options.data, options.limit)
    results = []
    for given, true, classes, seed in cases(options, material, computed.index):
        case = Case(computed.values, given, true, classes, seed)
        scores, result = measure(case)
        if options.cleanlab and (options.kind == "planted" or seed == 0):
            result |= against_cleanlab(options.cleanlab, case, scores)
        print(json.dumps(result), file=sys.stderr)
        results.append(result)
    name = options.name or Path(options.data).name.partition(".")[0]
    if options.kind == "planted":
        name += f"_planted_{options.share:g}"
    if options.limit:
        name += f"_{options.limit}"
    written = {
        "command": " ".join(["python", "benchmarks/audit_labels.py", *named_arguments(options)]),
        "images": len(material.images),
        "features": computed.source,
        "feature_cpu_seconds": round(seconds, 1),
        "results": results,
        "load": os.getloadavg()[0],
        "environment": environment(threads=torch.get_num_threads(), device="cpu", seed=0),
    }
    file = HERE / "results" / f"audit_labels_{name}.json"
    file.write_text(json.dumps(written, indent=2) + "\n")
    print(file)


def named_arguments(options):
    """The arguments without this machine's folders."""
    shown = [options.kind, Path(options.data).name]
    if options.true:
        shown.append(Path(options.true).name)
    if options.kind == "planted":
        shown.append(f"--share {options.share:g}")
    if options.limit:
        shown.append(f"--limit {options.limit}")
    return [*shown, f"--seeds {options.seeds}", "--cleanlab PYTHON"]


if __name__ == "__main__":
    main()
