"""Choose float32 or bfloat16 by timing, once per network, batch size and machine.

The choice is cached, so that a repeated training uses the same precision.
"""

from __future__ import annotations

import copy
import math
import platform
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from eyesight.models.layers import Network
from eyesight.recipe import Model
from eyesight.system import cache
from eyesight.system.progress import Talk, silent

# A trial of fewer than three steps must do where they take this many times as long as planned.
SLOW = 3
GAIN = 1.15  # bfloat16 is less exact, so a smaller gain is not worth it
PART = 16  # a batch of this fraction is timed first: one whole step may be too long for a budget
PART_SECONDS = 0.05
HOPELESS = 2.0  # bfloat16 that takes this many times as long on the fraction is not tried further


def choose(
    precision: str,
    network: Network,
    model: Model,
    batch: int,
    *,
    trains: bool = True,
    talk: Talk = silent,
    limit: float = math.inf,
) -> str:
    """The precision of the recipe, or for "auto" the faster one for a training step.

    The measurement stops after `limit` seconds with "float32". Without `trains` only a forward pass
    is timed.
    """
    if precision != "auto":
        return precision
    device = network.normalise.mean.device
    facts = [
        platform.node(),
        platform.processor(),
        torch.__version__,
        torch.get_num_threads(),
        str(device),
        repr(model),
        network.shape,
        batch,
        trains,
        sum(parameter.requires_grad for parameter in network.parameters()),
    ]
    remembered = cache.read_note("precision", repr(facts))
    if remembered in ("float32", "bfloat16"):
        return str(remembered)
    talk(
        "measuring whether bfloat16 is faster than float32 "
        f"{('for training' if trains else 'for the frozen part')}"
    )
    part = max(2, batch // PART)
    few = seconds(network, part, "float32", min(PART_SECONDS, limit / 8), trains=trains)
    if 2 * few * batch / part > limit:
        return "float32"  # not cached: next time there may be enough time
    few_rough = seconds(network, part, "bfloat16", min(PART_SECONDS, limit / 8), trains=trains)
    if few_rough > HOPELESS * few:
        cache.write_note("precision", repr(facts), "float32")
        return "float32"
    began = time.perf_counter()
    exact = seconds(network, batch, "float32", min(0.5, limit / 2), trains=trains)
    if time.perf_counter() - began > limit:
        return "float32"
    rough = seconds(network, batch, "bfloat16", min(0.5, limit / 2), trains=trains)
    chosen = "bfloat16" if exact > GAIN * rough else "float32"
    cache.write_note("precision", repr(facts), chosen)
    return chosen


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a network computes with "float32" or "bfloat16"."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def seconds(
    network: Network, batch: int, precision: str, patience: float = 0.5, *, trains: bool = True
) -> float:
    """Seconds of the fastest of several training steps or forward passes on random images.

    Measured for about `patience` seconds, on a copy of the network.
    """
    network = copy.deepcopy(network).train(trains)
    device = network.normalise.mean.device
    pictures = torch.rand(batch, *network.shape, device=device).contiguous(
        memory_format=torch.channels_last
    )
    context = autocast(precision, device)
    times: list[float] = []
    began = time.perf_counter()
    while True:
        start = time.perf_counter()
        with context, torch.set_grad_enabled(trains):
            logits = network(pictures)
        if trains:
            logits.float().square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        spent = time.perf_counter() - began
        if spent > patience and (len(times) >= 3 or spent > SLOW * patience):
            return min(times[1:] or times)  # the first step is slower than all others
