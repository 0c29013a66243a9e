"""Milliseconds of one picture through ONNX Runtime and through torch eager, every family of
networks, one thread each, in turns.

python benchmarks/exported.py [NAME...] [--rounds 7]

Weights are random: they do not change the time, and the two answers are compared all the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eyesight.classifier import Classifier
from eyesight.data.prepare import Preparation
from eyesight.exporting import export
from eyesight.inference import onnx_classifier
from eyesight.models import registry
from eyesight.recipe import Model

RESULTS = Path(__file__).parent / "results" / "exported.json"
SHAPES = {
    "lenet5": (1, 28, 28),
    "lenet5_1998": (1, 32, 32),
    "bottleneck": (1, 90, 90),
    "fast_digits": (1, 28, 28),
}
NAMES = tuple(str(number) for number in range(10))
LONG_ENOUGH = 0.1  # seconds of one measurement


def toy_classifier(name: str) -> Classifier:
    torch.manual_seed(0)
    shape = SHAPES.get(name, (3, 32, 32))
    network = (
        registry.build(Model(name), shape, len(NAMES)).eval().to(memory_format=torch.channels_last)
    )
    return Classifier(network, Model(name), NAMES, Preparation(shape[1], shape[2], shape[0]), "one")


def milliseconds(call: Callable[[], Any], times: int) -> float:
    began = (
        time.process_time()
    )  # of all threads, and there is one: other work on the machine does not count
    for _ in range(times):
        call()
    return 1e3 * (time.process_time() - began) / times


def judge(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    classifier = toy_classifier(name)
    file = folder / f"{name}.onnx"
    facts = {
        "eyesight_format": onnx_classifier.FORMAT,
        "classes": classifier.classes,
        "preparation": classifier.preparation.to_dict(),
    }
    export.write(classifier, facts, file)
    session = onnx_classifier.load(file, 1)
    pixels = np.random.default_rng(0).integers(
        0, 256, (1, *classifier.preparation.shape), dtype=np.uint8
    )
    different = float(
        np.abs(classifier.probabilities(pixels) - session.probabilities(pixels)).max()
    )
    calls = {
        "torch": lambda: classifier.probabilities(pixels),
        "onnx": lambda: session.probabilities(pixels),
    }
    times = {
        kind: max(1, int(1e3 * LONG_ENOUGH / milliseconds(call, 3))) for kind, call in calls.items()
    }
    result: dict[str, list[float]] = {kind: [] for kind in calls}
    for _ in range(rounds):
        for kind, call in calls.items():
            result[kind].append(milliseconds(call, times[kind]))
    return {
        "shape": list(classifier.preparation.shape),
        "different": different,
        "bytes": file.stat().st_size,
        **result,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(registry.MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    print(
        "| network | picture | torch | ONNX Runtime | ratio | largest difference "
        "|\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.names:
            result[name] = one = judge(name, Path(folder), asked.rounds)
            eager, runtime = statistics.median(one["torch"]), statistics.median(one["onnx"])
            ratio = statistics.median(
                slow / quick for slow, quick in zip(one["torch"], one["onnx"], strict=True)
            )
            size = "×".join(str(length) for length in one["shape"])
            print(
                f"| {name} | {size} | {eager:.2f} ms | {runtime:.2f} ms | {ratio:.1f} | "
                f"{one['different']:.0e} |",
                flush=True,
            )
    machine = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": 1,
    }
    RESULTS.write_text(
        json.dumps({**machine, "milliseconds": result}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
