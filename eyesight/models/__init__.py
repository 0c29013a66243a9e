"""Networks by name: `build` makes one for pictures of a shape; each family stands in a file of its own."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

from eyesight.errors import UserError, unknown
from eyesight.models.allconv import allconv
from eyesight.models.bottleneck import bottleneck
from eyesight.models.layers import Network, Shape
from eyesight.models.lenet import lenet5, lenet5_1998
from eyesight.models.plain import baseline_cnn, basic_cnn, dropout_cnn
from eyesight.models.vgg import deep_mixup_cnn, mixup_cnn, small_vgg, vgg16
from eyesight.recipe import Model

MODELS: dict[str, Callable[..., Network]] = {
    "lenet5": lenet5,
    "lenet5_1998": lenet5_1998,
    "dropout_cnn": dropout_cnn,
    "baseline_cnn": baseline_cnn,
    "basic_cnn": basic_cnn,
    "small_vgg": small_vgg,
    "vgg16": vgg16,
    "mixup_cnn": mixup_cnn,
    "deep_mixup_cnn": deep_mixup_cnn,
    "bottleneck": bottleneck,
    "allconv": allconv,
}


def build(model: Model, shape: Shape, classes: int) -> Network:
    """The network for pictures of `shape` (C,H,W); raises UserError for an unknown name or an option it does not have."""
    if model.name not in MODELS:
        raise unknown("model", model.name, MODELS)
    wanted = {key: value for key, value in dataclasses.asdict(model).items() if key != "name" and value is not None}
    accepted = options(model.name)
    for option in wanted:
        if option not in accepted:
            raise UserError(
                f"the model {model.name} has no option {option!r}", f"it takes {', '.join(accepted)}" if accepted else "it takes none"
            )
    return MODELS[model.name](shape, classes, **wanted)


def options(name: str) -> list[str]:
    """What may be set on the model called `name`."""
    return [option for option, part in inspect.signature(MODELS[name]).parameters.items() if part.kind is part.KEYWORD_ONLY]
