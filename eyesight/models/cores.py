"""Inference with small batches, each on a core of its own.

The feature maps of a large batch exceed the cache of a processor, and cores that share a batch wait
for each other. Two cores of an AMD EPYC with AVX2 only infer 50 images of 192 pixels a second this
way with EfficientNet-lite0 (80 with batch normalisation folded), and 30 in batches of 64.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from eyesight.models.layers import Network

PART_PIXELS = 1 << 18  # of a part, without channels: 16 images of 128 pixels, …
PART_IMAGES = (8, 64)  # … but from so many images to so many
FEWEST = 2  # images for each core; fewer are inferred by all cores together
# Packages whose layers write nothing that another thread could read differently.
THREAD_SAFE = ("torch", "torchvision", "timm", "eyesight")
AnyNetwork = TypeVar("AnyNetwork", bound=Network)
Out = TypeVar("Out")


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Context manager: so many threads, each of which computes on one core."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def part_count(images: int, height: int, width: int, cores: int) -> int:
    """The number of parts of a batch: small ones, and as many for each core."""
    fewest, most = PART_IMAGES
    size = max(fewest, min(most, PART_PIXELS // (height * width)))
    return cores * max(1, math.ceil(images / (size * cores)))


def on_each_core(compute: Callable[[Tensor], Out], images: Tensor, network: nn.Module) -> list[Out]:
    """`compute`, which runs `network`, of parts of the images N,C,H,W, in order.

    On a processor each core takes parts of its own; a GPU takes all images at once. Modes such as
    `torch.no_grad` belong to a thread, so `compute` enters them itself. Only the main thread
    shares its work with others: a service has threads of its own.
    """
    if images.device.type != "cpu":
        return [compute(images)]
    cores = torch.get_num_threads()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not keeps_nothing(network):
        cores = 1
    if len(images) < FEWEST * cores:
        return [compute(images)]
    height, width = images.shape[2:]
    parts = torch.tensor_split(images, part_count(len(images), height, width, cores))
    if cores == 1:
        return [compute(part) for part in parts]
    with workers(cores) as pool:
        return list(pool.map(compute, parts))


def keeps_nothing(network: nn.Module) -> bool:
    """Whether two threads can run the network at once, because no layer keeps anything in itself.

    This is not known of a person's own layers, and not true of hooks.
    """
    for module in network.modules():
        if type(module).__module__.partition(".")[0] not in THREAD_SAFE:
            return False
        if module._forward_hooks or module._forward_pre_hooks:
            return False
    return True


@torch.no_grad()
def folded(network: AnyNetwork) -> AnyNetwork:
    """A copy of the network with each batch normalisation folded into the convolution before it.

    Returns the network itself if that would change what its body computes, because the layers are
    not executed in order.
    """
    quicker = copy.deepcopy(network)
    for module in quicker.modules():
        if hasattr(module, "without_bias"):
            module.__class__ = type(module).__bases__[0]
    for parent in list(quicker.body.modules()):
        for (_, convolution), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fold(convolution, norm)
                setattr(parent, name, getattr(norm, "act", None) or nn.Identity())
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, *network.shape, generator=random).to(network.normalise.mean.device)
    same = torch.allclose(quicker.body(images), network.body(images), atol=1e-3, rtol=1e-3)
    return quicker if same else network


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give the convolution the weights and bias of both layers."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        bias = bias + convolution.bias * scale
    convolution.weight = nn.Parameter(convolution.weight * scale[:, None, None, None])
    convolution.bias = nn.Parameter(bias)
