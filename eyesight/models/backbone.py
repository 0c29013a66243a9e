"""What a pretrained network is made of: units that can be frozen up to a cut, and a head by description.

A frozen unit stays in evaluation mode while the rest trains: batch normalisation that goes on counting would undo what it knows.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from eyesight.errors import UserError
from eyesight.models.layers import Shape, Stack, initialise

POOLS = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
OWN = "own"  # the head that the backbone was trained with
ONLY = {
    "dogs": range(151, 269)
}  # of ImageNet's thousand: from Chihuahua to Mexican hairless, 118 breeds


class Backbone(nn.Module):
    """Units one after another; those before `cut` are frozen: no gradient, and batch normalisation in evaluation mode."""

    def __init__(self, units: list[tuple[str, nn.Module]], stages: dict[str, int]) -> None:
        super().__init__()
        self.prefixes = tuple(name for name, _ in units)  # as timm names them
        self.stages = stages
        self.units = nn.Sequential(
            OrderedDict((name.replace(".", "_") or "whole", unit) for name, unit in units)
        )
        for place, unit in enumerate(self.units):
            unit.below_head = sum(start > place for start in stages.values()) + 1  # type: ignore[assignment]  # read by the optimiser
        self.cut = 0
        self.keeps = False  # whether batch normalisation above the cut, too, goes by the statistics that came with the weights

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures to features N,C,H,W."""
        features: Tensor = self.units(pictures)
        return features

    def train(self, mode: bool = True) -> Backbone:
        """As any module, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for unit in self.units[: self.cut]:
            unit.eval()
        if self.keeps:
            keep_statistics(self.units[self.cut :])
        return self

    def freeze(self, cut: int) -> None:
        """Freeze the units before `cut`, and no others."""
        self.cut = cut
        for place, unit in enumerate(self.units):
            unit.requires_grad_(place >= cut)
        self.train(self.training)

    def place(self, where: str) -> int:
        """The cut that "all", "none", a stage (conv5, 5) or a unit (layer4.1) names: it is the first that trains; raises UserError."""
        known = {"all": len(self.units), "none": 0, **self.stages}
        known |= {name.removeprefix("conv"): place for name, place in self.stages.items()}
        known |= {name: place for place, name in enumerate(self.prefixes) if name not in known}
        if where not in known:
            hint = f"it has the stages {', '.join(self.stages)}; all freezes the whole backbone, none nothing"
            raise UserError(f"this backbone has no stage {where!r} to freeze up to", hint, code=2)
        return known[where]


def keep_statistics(module: nn.Module) -> None:
    """Put every batch normalisation into evaluation mode; its weight and bias may still train."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


class Whole(nn.Module):
    """A backbone that is no chain: one unit, whose features are the vector that its classifier would get."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.reset_classifier(0)
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        """Features N,C,1,1."""
        features: Tensor = self.model(pictures)
        return features[:, :, None, None]


class Own(nn.Module):
    """The classifier that the backbone was trained with: what is left of a timm network, or the last layer of one that is no chain."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        super().__init__()
        self.model = model
        self.prefix = prefix

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the classes that the backbone was trained on."""
        model: Any = self.model
        logits: Tensor = model(features.flatten(1)) if self.prefix else model.forward_head(features)
        return logits


class Narrowed(nn.Module):
    """Logits of the `chosen` classes, then one of all others together: the probability of that one is the sum of theirs."""

    chosen: Tensor
    others: Tensor

    def __init__(self, chosen: range, classes: int) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.tensor(list(chosen)), persistent=False)
        self.register_buffer(
            "others",
            torch.tensor([one for one in range(classes) if one not in chosen]),
            persistent=False,
        )

    def forward(self, logits: Tensor) -> Tensor:
        """N,K to N,chosen + 1."""
        return torch.cat(
            [
                logits.index_select(1, self.chosen),
                logits.index_select(1, self.others).logsumexp(1, keepdim=True),
            ],
            1,
        )


def new_head(words: list[str], body: Backbone, shape: Shape, classes: int) -> nn.Sequential:
    """Layers for a description such as "average 256 dropout.5": pooling that comes first joins the body, below the freeze point."""
    if words and words[0] in POOLS:
        body.units.add_module("pool", POOLS[words.pop(0)](1))
        body.prefixes = (*body.prefixes, "pool")
        shape = (shape[0], 1, 1)
        words.insert(0, "flatten")
    stack = Stack(shape)
    for word in words:
        _add(stack, word)
    if len(stack.shape) > 1:
        stack.average()
    stack.dense(classes, act="linear")
    head = stack.build()
    initialise(head, "glorot")
    return head


def _add(stack: Stack, word: str) -> None:
    if word in POOLS:
        stack.add(nn.Sequential(POOLS[word](1), nn.Flatten()))
    elif word == "flatten":
        stack.add(nn.Flatten())
    elif word == "norm":
        stack.add(
            nn.BatchNorm2d(stack.shape[0])
            if len(stack.shape) > 1
            else nn.BatchNorm1d(stack.shape[0])
        )
    elif word.isdigit() and int(word) > 0:
        stack.conv(int(word), 1) if len(stack.shape) > 1 else stack.dense(int(word))
    elif re.fullmatch(r"dropout0?\.\d+", word):
        stack.dropout(float(word.removeprefix("dropout")))
    else:
        known = "average, max, flatten, norm, dropout.5 or the number of a dense layer's units, separated by spaces"
        raise UserError(
            f"cannot read {word!r} in the description of a head",
            f"known: {known}; own keeps the backbone's own",
            code=2,
        )
