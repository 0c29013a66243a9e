"""What each part of tf_efficientnet_lite0 costs, as the tables of docs/transfer.md: the frozen part
by cut and size, a step of what trains.

    python benchmarks/costs.py

Milliseconds a picture on one core, in processor time, so that other programs disturb little; the
best of four. Random weights.
"""

import time

import torch

from eyesight.models import pretrained, registry
from eyesight.recipe import Model
from eyesight.system import memory
from eyesight.training.features import Tail, Trunk
from eyesight.training.precision import autocast

NETWORK = Model("tf_efficientnet_lite0", weights="none", head="average")
CUTS = {"all": "everything", "conv5": "up to the fifth stage", "conv4": "up to the fourth"}
KINDS = ("float32", "bfloat16")


def best(work, batch):
    """Processor time of the fastest of four, a picture, after one that warms up."""
    times = []
    for _ in range(5):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return 1000 * min(times[1:]) / batch


def built(side, where):
    """The network for pictures of a side, frozen up to a cut."""
    network = registry.build(NETWORK, (3, side, side), 10).to(memory_format=torch.channels_last)
    network.body.freeze(network.body.place(where))
    return network


def frozen(side, where, batch=32):
    """Of the part below the cut, in both kinds of arithmetic."""
    network = built(side, where)
    trunk = Trunk(
        network, list(network.body.units[: network.body.cut]), (3, side, side), pictures=True
    ).eval()
    pictures = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    result = []
    for kind in KINDS:
        with torch.inference_mode(), autocast(kind, torch.device("cpu")):
            result.append(best(lambda: trunk(pictures), batch))
    return result


def step(where, *, quick, side=96, batch=64):
    """Of a training step of the part above the cut; `quick` with our way to the gradients of
    depthwise filters."""
    usual = pretrained.quicken
    if not quick:
        pretrained.quicken = lambda model: None
    try:
        network = built(side, where)
    finally:
        pretrained.quicken = usual
    units, cut = list(network.body.units), network.body.cut
    below = Trunk(network, units[:cut], (3, side, side), pictures=True).eval()
    with torch.inference_mode():
        shape = tuple(below(torch.zeros(1, 3, side, side)).shape[1:])
    result = []
    for kind in KINDS:
        tail = Tail(
            network, units[cut:], shape, torch.bfloat16 if kind == "bfloat16" else torch.float32
        ).train()
        features = torch.rand(batch, *shape).contiguous(memory_format=torch.channels_last)

        def work(tail=tail, features=features, kind=kind):
            with autocast(kind, torch.device("cpu")):
                loss = tail(features).square().mean()
            loss.backward()

        result.append(best(work, batch))
    return result


def main():
    torch.set_num_threads(1)
    memory.keep_freed_memory()
    print("| side | " + " | ".join(CUTS.values()) + " |\n|---|" + "---|" * len(CUTS))
    for side in (96, 128, 160, 224):
        cells = [" / ".join(f"{value:.1f}" for value in frozen(side, where)) for where in CUTS]
        print(f"| {side} | {' | '.join(cells)} |", flush=True)
    print(
        "\n| from | PyTorch float32 | PyTorch bfloat16 | ours float32 | ours bfloat16 "
        "|\n|---|---|---|---|---|"
    )
    for where, name in (("conv5", "the fifth stage on"), ("conv4", "the fourth on")):
        cells = [f"{value:.1f}" for quick in (False, True) for value in step(where, quick=quick)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
