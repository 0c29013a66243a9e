"""Measurements on a network: the output of every layer, linear runs, trials of some steps.

A network that is probed is left as it was; trials run on copies.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
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
# What stands between two linear layers without parting them.
TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
# Learning rates worth trying.
RANGES = {"sgd": (1e-4, 30.0), "muon": (1e-4, 10.0), "adagrad": (1e-5, 3.0)}
RANGE = (1e-6, 1.0)
OWN_STEPS = 12
RISING_STEPS = 40
BATCH = 64  # pictures in a step of a trial at most


@dataclass(frozen=True)
class Row:
    """One layer's output over all pictures: mean and deviation of its values.

    `dead` is the share of rectified units that are always 0.
    """

    name: str
    kind: str
    mean: float
    deviation: float
    dead: float | None


@dataclass(frozen=True, eq=False)
class Probe:
    """`answers` N,K are the raw outputs.

    `normalised` is (mean, deviation) of what the first real layer sees; `drift` compares a batch
    norm's memory with these pictures: (name, distance of the means in deviations, ratio of the
    variances), medians over channels.
    """

    layers: tuple[Row, ...]
    answers: Tensor
    normalised: tuple[float, float]
    drift: tuple[str, float, float] | None


@torch.no_grad()
def probe(network: Network, pixels: NDArray[np.uint8], batch: int = 50) -> Probe:
    """Run uint8 images N,C,H,W through the network and record what comes out of every layer."""
    gathered: dict[str, _Gathered] = {}
    modules = network.named_modules()
    norms = [(name, layer) for name, layer in modules if isinstance(layer, nn.BatchNorm2d)]
    hooks = []
    for name, layer in _leaves(network):
        hooks.append(layer.register_forward_hook(_Noting(gathered, name)))
    inputs: list[Tensor] = []
    if norms:
        hooks.append(norms[0][1].register_forward_hook(_keep_input(inputs)))
    training = network.training
    device = network.normalise.mean.device
    try:
        network.eval()
        answers = []
        for part in torch.split(torch.from_numpy(pixels), batch):
            answers.append(network(part.to(device)).float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    rows = tuple(entry.row(name) for name, entry in gathered.items())
    first = gathered.get("normalise")
    normalised = (0.0, 1.0)
    if first is not None:
        row = first.row("normalise")
        normalised = (row.mean, row.deviation)
    drift = None
    if inputs:
        drift = _drift(*norms[0], torch.cat(inputs))
    return Probe(rows, torch.cat(answers), normalised, drift)


def _keep_input(inputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A forward hook that appends a layer's input to `inputs`."""

    def hook(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs.append(given[0].float())

    return hook


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
            silent = output <= 0
            if output.ndim > 2:
                silent = silent.flatten(2).all(2)
            silent = silent.all(0)
            if self.dead is not None:
                silent &= self.dead
            self.dead = silent

    def row(self, name: str) -> Row:
        mean = self.sum / max(1, self.count)
        variance = self.square / max(1, self.count) - mean**2
        dead = None
        if self.dead is not None:
            dead = float(self.dead.float().mean())
        return Row(name, self.kind, mean, math.sqrt(max(0.0, variance)), dead)


class _Noting:
    """A forward hook that adds to what was gathered of its layer."""

    def __init__(self, gathered: dict[str, _Gathered], name: str) -> None:
        self.gathered, self.name = gathered, name

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.gathered.setdefault(self.name, _Gathered(type(layer).__name__)).add(output)


def _drift(name: str, layer: nn.BatchNorm2d, inputs: Tensor) -> tuple[str, float, float] | None:
    """How far the pictures are from what this batch norm remembers.

    None before it has seen 50 batches.
    """
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
    leaves = []
    for name, layer in network.named_modules():
        if name and not list(layer.children()):
            leaves.append((name, layer))
    return leaves


def linear_runs(network: Network) -> tuple[tuple[str, ...], ...]:
    """Linear layers that follow one another with nothing bent in between.

    Each such run could be a single layer.

    Only in networks that are plain successions; in others the order of the layers does not say who
    feeds whom.
    """
    for layer in network.modules():
        if list(layer.children()) and not isinstance(layer, nn.Sequential | Network):
            return ()
    runs: list[list[str]] = [[]]
    for name, layer in _leaves(network):
        if isinstance(layer, LINEAR):
            runs[-1].append(name)
        elif not isinstance(layer, TRANSPARENT + AVERAGES):
            runs.append([])
    return tuple(tuple(names) for names in runs if len(names) > 1)


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
    """The tensors among `names` (or below them) that differ, with their largest relative change."""
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
    """Modules and parameters that do not train.

    A module whose every parameter is frozen counts with its running statistics.
    """
    names = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    for name, layer in _leaves(network):
        own = list(layer.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class Trial:
    """A trial of some steps: `own` are the losses at the recipe's own rate.

    `growth` how many times larger than at first the largest answer became, `largest` the answer
    itself; `best` is the rate at which the loss fell fastest, `breaks` the one at which it blew up.
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
    """Some steps at the recipe's own rate, then some at rising rates (Smith 2017), each on a copy.

    About `patience` seconds at most.
    """
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

    def __init__(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, recipe: Recipe
    ) -> None:
        labelled = labels >= 0
        generator = torch.Generator().manual_seed(recipe.training.seed)
        order = torch.randperm(int(labelled.sum()), generator=generator)
        self.pixels = torch.from_numpy(pixels[labelled])[order]
        self.labels = torch.from_numpy(labels[labelled])[order]
        self.classes = classes
        self.size = min(BATCH, recipe.training.batch, len(self.labels))
        self.loss = losses.build(recipe.loss, torch.bincount(self.labels, minlength=classes))

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """(pixels, targets N,K) of a step."""
        index = torch.arange(step * self.size, (step + 1) * self.size) % len(self.labels)
        pixels = self.pixels[index].contiguous(memory_format=torch.channels_last)
        return pixels, losses.one_hot(self.labels[index], self.classes)


def _walk(
    network: Network,
    recipe: Recipe,
    batches: _Batches,
    rates: list[float],
    patience: float,
    *,
    stop: bool,
) -> tuple[list[float], float, float, float]:
    """Train a copy along these rates.

    Returns (losses, growth of the largest answer, its size, relative size of the first step).
    """
    network = copy.deepcopy(network).train()
    optimiser = optim.build(recipe.optim, network)
    walked: list[float] = []
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
            if number == 0:
                before = heaviest(network)
                optim.step(optimiser)
                step = _share(network, before)
            else:
                optim.step(optimiser)
            walked.append(float(loss.detach()))
            size = float(answers.detach().abs().max())
            first = first or size
            last = max(last, size)
            if not math.isfinite(size):
                last = math.inf
            gone = not math.isfinite(walked[-1]) or (stop and walked[-1] > 4 * walked[0])
            if gone or (time.monotonic() - began > patience and number >= 2):
                break
    return walked, last / max(first, 1e-12), last, step


def heaviest(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights (not biases) of the convolutions."""
    weights = {}
    for name, weight in network.named_parameters():
        if weight.ndim == 4:
            weights[name] = weight.detach().clone()
    return weights


@torch.no_grad()
def _share(network: nn.Module, before: dict[str, Tensor]) -> float:
    """The median over layers of ‖step‖ / ‖weights‖ in spectral norm."""
    after = dict(network.named_parameters())
    shares = [0.0]
    if before:
        shares = []
    for name, old in before.items():
        shares.append(float(_norm(after[name] - old) / _norm(old).clamp_min(1e-12)))
    return sorted(shares)[len(shares) // 2]


def _norm(weight: Tensor) -> Tensor:
    """The largest singular value of a weight as a matrix, to a few per cent, by power iteration."""
    matrix = weight.flatten(1)
    vector = torch.ones(matrix.shape[1]) / math.sqrt(matrix.shape[1])
    for _ in range(12):
        vector = nn.functional.normalize(matrix.T @ (matrix @ vector) + 1e-20, dim=0)
    length: Tensor = torch.linalg.vector_norm(matrix @ vector)
    return length


def smoothed(values: list[float], weight: float = 0.6) -> list[float]:
    """An exponential average without the pull of its start; what is not finite stays so."""
    average = 0.0
    averages = []
    for count, value in enumerate(values, 1):
        average = weight * average + (1 - weight) * value
        averages.append(average / (1 - weight**count))
    return averages


def read_range(rates: list[float], losses: list[float]) -> tuple[float, float | None]:
    """Where the loss fell fastest, and where it blew up (or None), from losses at rising rates."""
    values = np.array(losses)
    values[~np.isfinite(values)] = np.inf
    lowest = int(values.argmin())
    blown_up = np.flatnonzero(values[lowest + 1 :] >= 1.5 * values[0] + 1e-9)
    breaks = None
    if len(blown_up):
        breaks = rates[lowest + 1 + int(blown_up[0])]
    best = rates[0]
    falls = values[:lowest] - values[1 : lowest + 1]
    falls[np.isnan(falls)] = -np.inf
    if len(falls) and falls.max() > 0:
        best = rates[1 + int(falls.argmax())]
    return best, breaks
