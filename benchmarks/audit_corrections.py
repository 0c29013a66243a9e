"""What the corrections that an audit suggests by itself give back; writes
benchmarks/results/audit_corrections_NAME.json.

    python benchmarks/audit_corrections.py DATA.npz TRUE.npz

DATA.npz holds images with labels that people gave, TRUE.npz the right ones in the same order
(y_train). For each seed TRAIN images are audited and TEST others are held out. A head on the
features learns the given labels, the corrected ones and the right ones, and is judged by the right
labels of the held-out images.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from audit_labels import computed_features
from torch import nn
from torch.nn import functional

from eyesight.auditing import labels, noise_share
from eyesight.system.environment import environment

HERE = Path(__file__).parent
EPOCHS = 12


def learnt(inputs, given, weights, test, classes, seed):
    """Predictions of a head with one hidden layer on the test inputs, without what the audit's own
    head does against noise.
    """
    torch.manual_seed(seed)
    head = nn.Sequential(
        nn.Linear(inputs.shape[1], 512), nn.BatchNorm1d(512), nn.GELU(), nn.Linear(512, classes)
    )
    kept = weights.nonzero()[:, 0]
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(kept) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = kept[torch.randperm(len(kept))]
        for rows in torch.split(order[: len(order) // 256 * 256], 256):
            loss = functional.cross_entropy(head(inputs[rows]), given[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.inference_mode():
        return head.eval()(test).argmax(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("true")
    parser.add_argument("--name", default="")
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    material, computed, _ = computed_features(options.data, options.train + options.test)
    with np.load(options.true, allow_pickle=False) as right:
        by_id = dict(zip(material.source.ids, right["y_train"].astype(int), strict=False))
    classes = len(material.images.classes)
    index = computed.index
    true = torch.tensor([by_id[material.images.ids[place]] for place in index.tolist()])
    given = material.images.labels[index]
    results = []
    for seed in range(options.seeds):
        order = torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))
        train, test = order[: options.train], order[-options.test :]
        suspicion = labels.judge(computed.values[train], given[train], classes, seed)
        wrong = noise_share.wrong_labels(suspicion, given[train])
        dropped = ~wrong & (suspicion.score > noise_share.HIGH_SCORE)
        corrected = torch.where(wrong, suspicion.suggested, given[train])
        standardise = labels.Standardiser.of(computed.values[train])
        inputs, judged = standardise(computed.values[train]), standardise(computed.values[test])
        everything = torch.ones(len(train))
        table = {
            "given": (given[train], everything),
            "corrected": (corrected, (~dropped).float()),
            "right": (true[train], everything),
        }
        accuracy = {}
        for name, (targets, weights) in table.items():
            predicted = learnt(inputs, targets, weights, judged, classes, seed)
            accuracy[name] = float((predicted == true[test]).float().mean())
        lost = accuracy["right"] - accuracy["given"]
        result = {
            "seed": seed,
            "wrong_labels": float((given[train] != true[train]).float().mean()),
            "relabelled": int(wrong.sum()),
            "left_out": int(dropped.sum()),
            "accuracy": accuracy,
            "share_given_back": (accuracy["corrected"] - accuracy["given"]) / lost,
        }
        print(json.dumps(result), file=sys.stderr)
        results.append(result)
    name = options.name or Path(options.data).name.partition(".")[0]
    file = HERE / "results" / f"audit_corrections_{name}.json"
    command = (
        f"python benchmarks/audit_corrections.py {Path(options.data).name} "
        f"{Path(options.true).name} --train {options.train} --test {options.test} "
        f"--seeds {options.seeds}"
    )
    written = {
        "command": command,
        "features": computed.source,
        "results": results,
        "environment": environment(threads=torch.get_num_threads(), device="cpu", seed=0),
    }
    file.write_text(json.dumps(written, indent=2) + "\n")
    print(file)


if __name__ == "__main__":
    main()
