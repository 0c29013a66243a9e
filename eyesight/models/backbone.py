"""Body and head of a pretrained network: units that can be frozen, and heads by description.

Frozen units stay in evaluation mode during training, so that batch normalisation keeps its
pretrained statistics.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

from eyesight.errors import UserError
from eyesight.models.layers import Shape, Stack, initialise

POOLS: dict[str, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveMaxPool2d]] = {
    "average": nn.AdaptiveAvgPool2d,
    "max": nn.AdaptiveMaxPool2d,
}
OWN = "own"  # the head that the backbone was trained with
# Classes of ImageNet by subject: from Chihuahua to Mexican hairless, 118 breeds of dogs.
ONLY = {"dogs": range(151, 269)}
HEAD_WORDS = "average, max, flatten, norm, dropout.5 or the number of a dense layer's units"


class Backbone(nn.Module):
    """Units in sequence; those before `cut` are frozen: no gradient, batch norm in eval mode."""

    def __init__(self, units: list[tuple[str, nn.Module]], stages: dict[str, int]) -> None:
        super().__init__()
        self.prefixes = tuple(name for name, _ in units)  # as timm names them
        self.stages = stages
        named = [(name.replace(".", "_") or "whole", unit) for name, unit in units]
        self.units = nn.Sequential(OrderedDict(named))
        for index, unit in enumerate(self.units):
            later = [start for start in stages.values() if start > index]
            unit.below_head = len(later) + 1  # type: ignore[assignment]  # read by the optimiser
        self.cut = 0
        self.keeps = False  # whether batch norm above the cut keeps its pretrained statistics too

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised images to features N,C,H,W."""
        features: Tensor = self.units(pictures)
        return features

    def train(self, mode: bool = True) -> Backbone:
        """As `nn.Module.train`, except that frozen units stay in evaluation mode."""
        super().train(mode)
        for unit in self.units[: self.cut]:
            unit.eval()
        if self.keeps:
            keep_statistics(self.units[self.cut :])
        return self

    def freeze(self, cut: int) -> None:
        """Freeze the units before `cut`, and no others."""
        self.cut = cut
        for index, unit in enumerate(self.units):
            unit.requires_grad_(index >= cut)
        self.train(self.training)

    def place(self, where: str) -> int:
        """The cut that `where` names: its first unit is the first that trains.

        `where` is "all", "none", a stage (conv5, 5) or a unit (layer4.1); raises UserError for
        anything else.
        """
        cuts = {name: index for index, name in enumerate(self.prefixes)}
        for name, start in self.stages.items():
            cuts[name.removeprefix("conv")] = start
            cuts[name] = start
        cuts["all"] = len(self.units)
        cuts["none"] = 0
        if where not in cuts:
            stages = ", ".join(self.stages)
            raise UserError(
                f"this backbone has no stage {where!r} to freeze up to",
                f"its stages are {stages}; use all to freeze the whole backbone, or none",
                code=2,
            )
        return cuts[where]


def keep_statistics(module: nn.Module) -> None:
    """Put every batch normalisation into eval mode; its weight and bias may still train."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


class Whole(nn.Module):
    """A non-sequential backbone as one unit; its features are its classifier's input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.reset_classifier(0)  # type: ignore[operator]
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised images to features N,C,1,1."""
        features: Tensor = self.model(pictures)
        return features[:, :, None, None]


class Own(nn.Module):
    """The original classifier of the backbone.

    `model` is the rest of a timm network (`prefix` empty), or the last layer of a non-sequential
    one.
    """

    def __init__(self, model: nn.Module, prefix: str) -> None:
        super().__init__()
        self.model = model
        self.prefix = prefix

    def forward(self, features: Tensor) -> Tensor:
        """Features to logits of the classes that the backbone was trained on."""
        if self.prefix:
            logits: Tensor = self.model(features.flatten(1))
        else:
            logits = self.model.forward_head(features)  # type: ignore[operator]
        return logits


class Narrowed(nn.Module):
    """Logits of the `chosen` classes and one for all others, whose probabilities are summed."""

    chosen: Tensor
    others: Tensor

    def __init__(self, chosen: range, classes: int) -> None:
        super().__init__()
        others = [index for index in range(classes) if index not in chosen]
        self.register_buffer("chosen", torch.tensor(list(chosen)), persistent=False)
        self.register_buffer("others", torch.tensor(others), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """N,K to N,chosen + 1."""
        chosen = logits.index_select(1, self.chosen)
        others = logits.index_select(1, self.others).logsumexp(1, keepdim=True)
        return torch.cat([chosen, others], 1)


def new_head(words: list[str], body: Backbone, shape: Shape, classes: int) -> nn.Sequential:
    """Layers for a description such as "average 256 dropout.5", ending in logits.

    Pooling that comes first joins the body, below the freeze point. Raises UserError for a word
    it does not know.
    """
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
    """Append the layer for a word of a head's description."""
    is_map = len(stack.shape) > 1
    channels = stack.shape[0]
    if word in POOLS:
        stack.add(nn.Sequential(POOLS[word](1), nn.Flatten()))
    elif word == "flatten":
        stack.add(nn.Flatten())
    elif word == "norm":
        stack.add(nn.BatchNorm2d(channels) if is_map else nn.BatchNorm1d(channels))
    elif re.fullmatch(r"dropout0?\.\d+", word):
        stack.dropout(float(word.removeprefix("dropout")))
    elif not word.isdigit() or int(word) == 0:
        raise UserError(
            f"unknown word {word!r} in model.head",
            f"expected {HEAD_WORDS}, separated by spaces, or own to keep the original head",
            code=2,
        )
    elif is_map:
        stack.conv(int(word), 1)
    else:
        stack.dense(int(word))
