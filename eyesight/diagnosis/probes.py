"""Measurements on a network: what every layer gives for some pictures, which layers are one in truth, what a few steps do.

A network that is probed is left as it was; trials run on copies.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyesight.models.layers import Network
from eyesight.recipe import Recipe
from eyesight.tasks import losses
from eyesight.training import optim

LINEAR = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
TRANSPARENT = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
)  # what stands between two linear layers without parting them
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
RANGES = {
    "sgd": (1e-4, 30.0),
    "muon": (1e-4, 10.0),
    "adagrad": (1e-5, 3.0),
}  # learning rates worth trying; others:
RANGE = (1e-6, 1.0)
OWN_STEPS = 12
RISING_STEPS = 40
BATCH = 64  # pictures in a step of a trial at most


@dataclass(frozen=True)
class Row:
    """One layer's output over all pictures: mean and deviation of its values; `dead` is the share of rectified units that are always 0."""

    name: str
    kind: str
    mean: float
    deviation: float
    dead: float | None


@dataclass(frozen=True, eq=False)
class Probe:
    """`answers` N,K are the raw outputs; `normalised` is (mean, deviation) of what the first real layer sees; `drift` compares a batch
    norm's memory with these pictures: (name, distance of the means in deviations, ratio of the variances), medians over channels.
    """

    layers: tuple[Row, ...]
    answers: Tensor
    normalised: tuple[float, float]
    drift: tuple[str, float, float] | None


@torch.no_grad()
def probe(network: Network, pixels: NDArray, batch: int = 50) -> Probe:  # type: ignore[type-arg]
    """Show the network these uint8 pictures N,C,H,W, in evaluation mode, and note what comes out of every layer."""
    gathered: dict[str, _Gathered] = {}
    norm = next(
        (
            (name, layer)
            for name, layer in network.named_modules()
            if isinstance(layer, nn.BatchNorm2d)
        ),
        None,
    )
    hooks = [
        layer.register_forward_hook(_Noting(gathered, name)) for name, layer in _leaves(network)
    ]
    inputs: list[Tensor] = []
    if norm:
        hooks.append(
            norm[1].register_forward_hook(
                lambda layer, given, output: inputs.append(given[0].float())
            )
        )
    training = network.training
    device = network.normalise.mean.device
    try:
        network.eval()
        answers = [
            network(part.to(device)).float().cpu()
            for part in torch.split(torch.from_numpy(pixels), batch)
        ]
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    rows = tuple(entry.row(name) for name, entry in gathered.items())
    first = gathered.get("normalise")
    seen = (first.row("normalise").mean, first.row("normalise").deviation) if first else (0.0, 1.0)
    return Probe(
        rows,
        torch.cat(answers),
        seen,
        _drift(norm[0], norm[1], torch.cat(inputs)) if norm and inputs else None,
    )


class _Gathered:
    """Running sums over one layer's outputs."""

    def __init__(self, kind: str) -> None:
        self.kind, self.count = kind, 0
        self.sum = self.square = 0.0
        self.dead: Tensor | None = None

    def add(self, output: Tensor) -> None:
        values = output.double()
        self.count += values.numel()
        self.sum += float(values.sum())
        self.square += float(values.square().sum())
        if self.kind == "ReLU":
            silent = (
                (output <= 0).flatten(2).all(2).all(0) if output.ndim > 2 else (output <= 0).all(0)
            )
            self.dead = silent if self.dead is None else self.dead & silent

    def row(self, name: str) -> Row:
        mean = self.sum / max(1, self.count)
        variance = self.square / max(1, self.count) - mean**2
        return Row(
            name,
            self.kind,
            mean,
            math.sqrt(max(0.0, variance)),
            None if self.dead is None else float(self.dead.float().mean()),
        )


class _Noting:
    """A forward hook that adds to what was gathered of its layer, in the order in which pictures pass."""

    def __init__(self, gathered: dict[str, _Gathered], name: str) -> None:
        self.gathered, self.name = gathered, name

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.gathered.setdefault(self.name, _Gathered(type(layer).__name__)).add(output)


def _drift(name: str, layer: nn.BatchNorm2d, inputs: Tensor) -> tuple[str, float, float] | None:
    """How far the pictures are from what this batch norm remembers; None before it has seen 50 batches."""
    if (
        layer.running_mean is None
        or layer.running_var is None
        or layer.num_batches_tracked is None
        or int(layer.num_batches_tracked) < 50
    ):
        return None
    mean = inputs.mean((0, 2, 3))
    variance = inputs.var((0, 2, 3))
    distance = (mean - layer.running_mean).abs() / (layer.running_var + layer.eps).sqrt()
    ratio = (variance + layer.eps) / (layer.running_var + layer.eps)
    return name, float(distance.median()), float(ratio.median())


def _leaves(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, layer)
        for name, layer in network.named_modules()
        if name and not list(layer.children())
    ]


def linear_runs(network: Network) -> tuple[tuple[str, ...], ...]:
    """Linear layers that follow one another with nothing bent in between: each such run could be a single layer.

    Only in networks that are plain successions; in others the order of the layers does not say who feeds whom.
    """
    if any(
        list(layer.children()) and not isinstance(layer, nn.Sequential | Network)
        for layer in network.modules()
    ):
        return ()
    found: list[list[str]] = [[]]
    for name, layer in _leaves(network):
        if isinstance(layer, LINEAR):
            found[-1].append(name)
        elif not isinstance(layer, TRANSPARENT + AVERAGES):
            found.append([])
    return tuple(tuple(names) for names in found if len(names) > 1)


def ends_in_softmax(network: nn.Module) -> bool:
    """Whether the last layer is a softmax."""
    leaves = [layer for _, layer in _leaves(network)]
    return bool(leaves) and isinstance(leaves[-1], nn.Softmax | nn.Softmax2d)


def are_probabilities(answers: Tensor) -> bool:
    """Whether raw outputs N,K are all distributions, which logits never are by chance."""
    enough = len(answers) > 1 and answers.shape[1] > 1 and bool(torch.isfinite(answers).all())
    return enough and bool((answers >= 0).all()) and bool(((answers.sum(1) - 1).abs() < 1e-3).all())


def moved(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: Iterable[str]
) -> dict[str, float]:
    """Of the tensors `names` (or below them), those that differ, with the largest change relative to the largest value."""
    prefixes = tuple(names)
    changes = {}
    for name, tensor in before.items():
        watched = any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
        if watched and name in after and not torch.equal(tensor.cpu(), after[name].cpu()):
            old = tensor.cpu().double()
            new = after[name].cpu().double()
            changes[name] = float((old - new).abs().max() / old.abs().max().clamp_min(1e-12))
    return changes


def frozen(network: nn.Module) -> tuple[str, ...]:
    """Modules and parameters that do not train; a module whose every parameter is frozen counts with its running statistics."""
    names = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    for name, layer in _leaves(network):
        own = list(layer.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class Trial:
    """`own` are the losses of some steps at the recipe's rate, `growth` how many times larger than at first the largest answer became,
    `largest` the answer itself; `best` is the rate at which the loss fell fastest, `breaks` the one at which it blew up.
    """

    own: tuple[float, ...]
    growth: float
    largest: float
    step: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    best: float
    breaks: float | None


def trial(
    network: Network,
    recipe: Recipe,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
    patience: float = 30.0,
) -> Trial:
    """Some steps at the recipe's own rate, then some at rising rates (Smith 2017), each on a copy; about `patience` seconds at most."""
    batches = _Batches(pixels, labels, classes, recipe)
    low, high = RANGES.get(recipe.optim.name, RANGE)
    rising = [low * (high / low) ** (step / (RISING_STEPS - 1)) for step in range(RISING_STEPS)]
    own, growth, largest, step = _walk(
        network, recipe, batches, [recipe.optim.lr] * OWN_STEPS, patience / 3, stop=False
    )
    tried, *_ = _walk(network, recipe, batches, rising, patience * 2 / 3, stop=True)
    smooth = smoothed(tried)
    best, breaks = read_range(rising, smooth)
    return Trial(
        tuple(own), growth, largest, step, tuple(rising[: len(tried)]), tuple(smooth), best, breaks
    )


class _Batches:
    """Batches from a few pictures, over and over, and the recipe's loss on them."""

    def __init__(self, pixels: NDArray, labels: NDArray, classes: int, recipe: Recipe) -> None:  # type: ignore[type-arg]
        known = labels >= 0
        order = torch.randperm(
            int(known.sum()), generator=torch.Generator().manual_seed(recipe.training.seed)
        )
        self.pixels, self.labels = (
            torch.from_numpy(pixels[known])[order],
            torch.from_numpy(labels[known])[order],
        )
        self.classes, self.size = classes, min(BATCH, recipe.training.batch, len(self.labels))
        self.loss = losses.build(recipe.loss, torch.bincount(self.labels, minlength=classes))

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """(pixels, targets N,K) of a step."""
        index = torch.arange(step * self.size, (step + 1) * self.size) % len(self.labels)
        return self.pixels[index].contiguous(memory_format=torch.channels_last), losses.one_hot(
            self.labels[index], self.classes
        )


def _walk(
    network: Network,
    recipe: Recipe,
    batches: _Batches,
    rates: list[float],
    patience: float,
    *,
    stop: bool,
) -> tuple[list[float], float, float, float]:
    """(losses, growth and size of the largest answer, relative size of the first step) along these rates, on a copy."""
    network = copy.deepcopy(network).train()
    optimiser = optim.build(recipe.optim, network)
    found: list[float] = []
    first = last = step = 0.0
    began = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        for number, rate in enumerate(rates):
            optim.set_rate(optimiser, rate)
            pixels, targets = batches(number)
            answers = network(pixels)
            loss = batches.loss(answers, targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optim.clip(network, recipe.optim.clip)
            before = None if number else heaviest(network)
            optimiser.step()
            step = step if before is None else _share(network, before)
            found.append(float(loss.detach()))
            size = float(answers.detach().abs().max())
            first = first or size
            last = max(last, size) if math.isfinite(size) else math.inf
            gone = not math.isfinite(found[-1]) or (stop and found[-1] > 4 * found[0])
            if gone or (time.monotonic() - began > patience and number >= 2):
                break
    return found, last / max(first, 1e-12), last, step


def heaviest(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights (not biases) of the convolutions."""
    return {
        name: weight.detach().clone()
        for name, weight in network.named_parameters()
        if weight.ndim == 4
    }


@torch.no_grad()
def _share(network: nn.Module, before: dict[str, Tensor]) -> float:
    """The median over layers of ‖step‖ / ‖weights‖ in spectral norm: by how much one step may change what a layer passes on."""
    after = dict(network.named_parameters())
    shares = [
        float(_norm(after[name] - old) / _norm(old).clamp_min(1e-12))
        for name, old in before.items()
    ]
    return sorted(shares)[len(shares) // 2] if shares else 0.0


def _norm(weight: Tensor) -> Tensor:
    """The largest singular value of a weight as a matrix, by a few power iterations (exact to a few per cent)."""
    matrix = weight.flatten(1)
    vector = torch.ones(matrix.shape[1]) / math.sqrt(matrix.shape[1])
    for _ in range(12):
        vector = nn.functional.normalize(matrix.T @ (matrix @ vector) + 1e-20, dim=0)
    length: Tensor = torch.linalg.vector_norm(matrix @ vector)
    return length


def smoothed(values: list[float], weight: float = 0.6) -> list[float]:
    """An exponential average without the pull of its start; what is not finite stays so."""
    average = 0.0
    found = []
    for count, value in enumerate(values, 1):
        average = weight * average + (1 - weight) * value
        found.append(average / (1 - weight**count))
    return found


def read_range(rates: list[float], losses: list[float]) -> tuple[float, float | None]:
    """(rate at which the loss fell fastest, rate at which it blew up or None) from losses at rising rates."""
    lowest = min(
        range(len(losses)),
        key=lambda place: losses[place] if math.isfinite(losses[place]) else math.inf,
    )
    after = range(lowest + 1, len(losses))
    breaks = next(
        (rates[place] for place in after if not losses[place] < 1.5 * losses[0] + 1e-9), None
    )
    falls = [
        losses[place - 1] - losses[place] if math.isfinite(losses[place]) else -math.inf
        for place in range(1, lowest + 1)
    ]
    best = rates[1 + falls.index(max(falls))] if falls and max(falls) > 0 else rates[0]
    return best, breaks
