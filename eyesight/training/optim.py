"""Optimisers, their parameter groups, and learning-rate schedules over progress from 0 to 1.

Schedules depend on progress instead of steps, so they work for a number of epochs and for a time
budget.
"""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from eyesight import recipe
from eyesight.training.muon import Muon

MARK = "__dynamo_disable"  # the attribute with what PyTorch calls instead of a marked method


class ParameterGroup(TypedDict, total=False):
    """Parameters with the same weight decay and factor on the learning rate."""

    params: list[nn.Parameter]
    scale: float
    weight_decay: float
    orthogonal: bool  # whether Muon may orthogonalise their steps


def build(optim: recipe.Optim, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the trained parameters; biases and norm parameters have no weight decay."""
    leave_out_compiler()
    groups = [dict(group) for group in parameter_groups(optim, network)]
    lr = optim.lr
    if optim.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr,
            momentum=optim.momentum,
            nesterov=optim.nesterov and optim.momentum > 0,
            fused=True,
        )
    if optim.name == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            lr,
            alpha=optim.rho,
            eps=optim.epsilon,
            momentum=optim.momentum,
            centered=optim.centred,
        )
    if optim.name == "adagrad":
        return torch.optim.Adagrad(
            groups, lr, initial_accumulator_value=optim.accumulator, eps=optim.epsilon
        )
    if optim.name == "muon":
        return Muon(groups, lr, momentum=optim.momentum)
    kind: Any = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    adam: torch.optim.Optimizer = kind(
        groups,
        lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.epsilon,
        amsgrad=optim.amsgrad,
        fused=True,
    )
    return adam


def leave_out_compiler() -> None:
    """Let optimisers run without importing PyTorch's compiler, which takes more than two seconds.

    PyTorch imports it at the first call of some methods, only to mark them as not to be compiled.
    Nothing is compiled here. Where PyTorch has changed, it imports the compiler as before. If the
    compiler is imported already, optimisers are left as they are.
    """
    if "torch._dynamo" in sys.modules:
        return
    for method in vars(torch.optim.Optimizer).values():
        inner = getattr(method, "__wrapped__", None)
        if inner is not None and not hasattr(inner, MARK):
            setattr(inner, MARK, inner)


def step(optimiser: torch.optim.Optimizer) -> None:
    """One update of the parameters: `optimiser.step()` without its hooks and the compiler."""
    with torch.no_grad():
        inspect.unwrap(type(optimiser).step)(optimiser)


def parameter_groups(optim: recipe.Optim, network: nn.Module) -> list[ParameterGroup]:
    """The body's weights, the head's weights, and biases with norm parameters.

    `scale` is each group's factor on the learning rate. With `layer_decay` each stage of a backbone
    is a group.
    """
    head = {id(parameter) for parameter in getattr(network, "head", nn.Module()).parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if parameter.ndim > 1]
    body = [parameter for parameter in weights if id(parameter) not in head]
    groups: list[ParameterGroup] = [
        {"params": body, "scale": 1.0, "weight_decay": optim.weight_decay},
        {
            "params": [p for p in weights if id(p) in head],
            "scale": optim.head_scale,
            "weight_decay": optim.weight_decay,
        },
        {
            "params": [p for p in trained if p.ndim <= 1],
            "scale": optim.bias_scale,
            "weight_decay": 0.0,
        },
    ]
    if optim.name == "muon":
        groups[0]["orthogonal"] = True
    nonempty = [group for group in groups if group["params"]]
    return (
        nonempty
        if optim.layer_decay == 1
        else [part for group in nonempty for part in by_stage(group, optim.layer_decay, network)]
    )


def by_stage(group: ParameterGroup, decay: float, network: nn.Module) -> list[ParameterGroup]:
    """A group divided by the backbone's stages, each with its share of the learning rate."""
    body = getattr(network, "body", nn.Module())
    below = {
        id(p): getattr(unit, "below_head", 0)
        for unit in getattr(body, "units", body).children()
        for p in unit.parameters()
    }
    numbers = sorted({below.get(id(parameter), 0) for parameter in group["params"]})
    groups = []
    for number in numbers:
        part = group.copy()
        part["params"] = [p for p in group["params"] if below.get(id(p), 0) == number]
        part["scale"] = group["scale"] * decay**number
        groups.append(part)
    return groups


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times its scale."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


class Schedule:
    """The factor on `lr` at a progress from 0 to 1."""

    def __init__(self, optim: recipe.Optim, epochs: int) -> None:
        """`epochs` is the length of the training that `step_epochs` counts in."""
        self.optim, self.epochs = optim, epochs
        one_cycle = optim.schedule == "one_cycle"
        self.warmup = optim.warmup
        if one_cycle and not optim.warmup:
            self.warmup = 0.3
        self.start = 0.04 if one_cycle else 0.0
        self.falls = optim.schedule in ("cosine", "one_cycle", "linear")

    def __call__(self, progress: float, passed: float | None = None) -> float:
        """`passed` is the number of epochs so far, if it does not follow from the progress."""
        progress = min(max(progress, 0.0), 1.0)
        if progress < self.warmup:
            return self.start + (1 - self.start) * progress / self.warmup
        left = 1 - progress
        if self.falls and self.warmup < 1:
            left = left / (1 - self.warmup)
        if self.optim.schedule == "step":
            return self._steps((1 - left) * self.epochs if passed is None else passed)
        return self._fall(left) if self.falls else 1.0

    def _steps(self, passed: float) -> float:
        falls = int(passed / max(1, self.optim.step_epochs) + 1e-6)
        return float(self.optim.step_factor**falls)

    def _fall(self, left: float) -> float:
        floor = self.optim.floor
        if self.optim.schedule == "linear":
            return floor + (1 - floor) * left
        return floor + (1 - floor) * (1 - math.cos(math.pi * left)) / 2


class Plateau:
    """A factor that decreases if the monitored loss has not improved for `patience` epochs."""

    def __init__(self, optim: recipe.Optim) -> None:
        self.optim = optim

    def factor(self, losses: list[float]) -> float:
        """The factor after these validation losses, oldest first."""
        if self.optim.schedule != "plateau":
            return 1.0
        best, waited, factor = math.inf, 0, 1.0
        for loss in losses:
            best, waited = (loss, 0) if loss < best - 1e-4 else (best, waited + 1)
            if waited >= self.optim.plateau_patience:
                waited, factor = 0, factor * self.optim.step_factor
        return max(factor, self.optim.floor)


class Average:
    """An exponential moving average of the weights.

    The buffers of normalisation are averaged too.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.tensors = {
            name: tensor.detach().clone() for name, tensor in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the weights of `network`.

        The decay is smaller early in training, to forget the initial weights.
        """
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + 10))
        state = network.state_dict()
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[name] for name in floating], [state[name] for name in floating], weight
        )
        for name, tensor in state.items():
            if not tensor.is_floating_point():
                self.tensors[name].copy_(tensor)


def clip(network: nn.Module, largest: float) -> Tensor | None:
    """Clip the gradients to a norm of at most `largest`; 0 disables clipping."""
    return nn.utils.clip_grad_norm_(network.parameters(), largest) if largest > 0 else None
