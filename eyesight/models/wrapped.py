"""Wrap a user's `torch.nn.Module` in a `Network`, which normalises its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eyesight.errors import UserError
from eyesight.models import own
from eyesight.models.layers import Network, Shape
from eyesight.recipe import Model

MAKES = "a network must map images N,C,H,W to logits N,K, one per class"


def build(model: Model, shape: Shape, classes: int, sha256: str | None = None) -> Network:
    """The network called `model.name`, wrapped and tested on blank images.

    `sha256` is that of the source file at training. Raises UserError if the code is missing, has
    changed, cannot be called, or returns no suitable network.
    """
    for field in ("initialise", "softmax", "weights", "head", "code"):
        if getattr(model, field) is not None:
            raise UserError(
                f"model.{field} does not apply to your own network {model.name}",
                "set its arguments with model.options=name=value",
                code=2,
            )
    code = own.find(model.name, sha256)
    made = own.call(code, model.name, shape[0], classes, own.options_of(model))
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{model.name} returns a {type(made).__name__}, not a torch.nn.Module", MAKES
        )
    network = Network(shape, made, nn.Identity())
    _try(network, model.name, shape, classes)
    return network


def _try(network: Network, name: str, shape: Shape, classes: int) -> None:
    """Raise UserError unless the network outputs logits N,K for two blank images."""
    size = "×".join(map(str, shape))
    outputs: Any
    try:
        with torch.no_grad():
            outputs = network.eval()(torch.zeros(2, *shape, dtype=torch.uint8))
    except Exception as error:
        raise UserError(
            f"{name} fails on images of {size}: {type(error).__name__}: {error}",
            "correct it, or choose another data.size",
        ) from error
    finally:
        network.train()
    if not isinstance(outputs, Tensor):
        raise UserError(f"{name} returns a {type(outputs).__name__}, not a tensor", MAKES)
    if tuple(outputs.shape) != (2, classes):
        given = "×".join(map(str, outputs.shape))
        raise UserError(f"{name} returns {given} for 2 images and {classes} classes", MAKES)
