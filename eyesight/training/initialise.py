"""A recipe's network before its first step."""

from __future__ import annotations

import torch

from eyesight import tasks
from eyesight.data.dataset import Dataset
from eyesight.data.images import Images
from eyesight.models import registry
from eyesight.models.layers import Network
from eyesight.recipe import Recipe, is_own


def ready(recipe: Recipe, data: Dataset, device: torch.device) -> Network:
    """The recipe's network before its first step; see `network_for`."""
    return network_for(recipe, data.train, device)


def network_for(recipe: Recipe, images: Images, device: torch.device) -> Network:
    """The recipe's network for training images: seeded weights and input statistics.

    Raises UserError when the network does not fit the images or the task.
    """
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        network = registry.build(recipe.model, images.shape, tasks.of(recipe).outputs(images))
    tasks.of(recipe).check(recipe, network)
    if recipe.data.scaling == "standard":
        network.normalise.set(*statistics(images))
    if network.needs_data_init:
        network.init_from_data(images.take(spread(len(images), 5000)))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def check(recipe: Recipe, data: Dataset) -> None:
    """Raise UserError if the network does not work on these images, before there is a run.

    A user's network is built whole, ours without memory for their weights. Pretrained networks
    work with images of any size.
    """
    if registry.is_backbone(recipe.model):
        return
    with torch.device("cpu" if is_own(recipe.model.name) else "meta"):
        registry.build(recipe.model, data.train.shape, tasks.of(recipe).outputs(data.train))


def spread(count: int, most: int) -> torch.Tensor:
    """At most `most` indices, evenly spread over `count`."""
    return torch.linspace(0, count - 1, min(most, count)).long()


def statistics(images: Images, most: int = 10_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation per channel of at most `most` images, from 0 to 1."""
    total, squares, count = (
        torch.zeros(images.shape[0]).double(),
        torch.zeros(images.shape[0]).double(),
        0,
    )
    for chosen in torch.split(spread(len(images), most), 256):
        pixels = images.take(chosen).double() / 255
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
        count += pixels[:, 0].numel()
    mean = total / count
    return mean.float(), (squares / count - mean**2).clamp_min(0).sqrt().float()
