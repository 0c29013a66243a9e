"""Milliseconds a picture of one forward pass of a backbone, in our engine or in timm as people call
it, at several sizes.

    python forward_pass.py ours tf_efficientnet_lite0 128 224
    python forward_pass.py timm tf_efficientnet_lite0 128 224

Random weights: speed does not depend on them. timm gets pictures that are numbers and normalised
already, ours gets pixels.
"""

import json
import statistics
import sys
import time

import timm
import torch

BATCH, PATIENCE = 32, 3.0  # pictures in a batch, seconds at each size


def ours(name, side):
    """Pixels to probabilities in bfloat16, channels last, as features are computed."""
    from eyesight import classifier
    from eyesight.models import registry
    from eyesight.recipe import Model
    from eyesight.system import memory

    memory.keep_freed_memory()
    network = (
        registry.build(Model(name, weights="none", head="own"), (3, side, side), 1000)
        .eval()
        .to(memory_format=torch.channels_last)
    )
    pictures = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8)
    return lambda: classifier.probabilities(network, pictures, "one", "bfloat16")


def timms(name, side):
    """Normalised pictures to logits, float32, in timm's own network as it comes."""
    network = timm.create_model(name).eval()
    pictures = torch.randn(BATCH, 3, side, side)
    return lambda: network(pictures)


@torch.inference_mode()
def milliseconds(passes):
    """The median of several passes, for one picture, after two that warm up."""
    times = []
    began = time.perf_counter()
    while len(times) < 6 or time.perf_counter() - began < PATIENCE:
        start = time.perf_counter()
        passes()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[2:]) / BATCH


def main():
    side, name, *sizes = sys.argv[1:]
    build = {"ours": ours, "timm": timms}[side]
    print(json.dumps({size: round(milliseconds(build(name, int(size))), 3) for size in sizes}))


if __name__ == "__main__":
    main()
