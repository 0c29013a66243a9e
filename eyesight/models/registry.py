"""Networks by name; `build` creates one for an image shape."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping

import torch

from eyesight.errors import UserError, unknown
from eyesight.models import wrapped
from eyesight.models.allconv import allconv
from eyesight.models.autoencoder import autoencoder
from eyesight.models.bottleneck import bottleneck
from eyesight.models.fast import fast_digits, fast_glyphs, fast_objects
from eyesight.models.kernels.small_maps import quicken
from eyesight.models.layers import Network, Shape
from eyesight.models.lenet import lenet5, lenet5_1998
from eyesight.models.plain import baseline_cnn, basic_cnn, dropout_cnn, small_cnn
from eyesight.models.unet import skips
from eyesight.models.vgg import deep_mixup_cnn, mixup_cnn, small_vgg, vgg16
from eyesight.recipe import BLEND, Model, is_own
from eyesight.system import memory

# Networks with larger options or sides are measured before they are built.
LARGE = {"width": 4, "depth": 50, "code": 10_000}
LARGE_SIDE, LARGE_LAYER = 1024, 20_000
VALUES = 4  # copies of every parameter: itself, its gradient, two moments of the optimiser

MODELS: dict[str, Callable[..., Network]] = {
    "lenet5": lenet5,
    "lenet5_1998": lenet5_1998,
    "dropout_cnn": dropout_cnn,
    "baseline_cnn": baseline_cnn,
    "basic_cnn": basic_cnn,
    "small_cnn": small_cnn,
    "small_vgg": small_vgg,
    "vgg16": vgg16,
    "mixup_cnn": mixup_cnn,
    "deep_mixup_cnn": deep_mixup_cnn,
    "bottleneck": bottleneck,
    "allconv": allconv,
    "fast_digits": fast_digits,
    "fast_glyphs": fast_glyphs,
    "fast_objects": fast_objects,
    "autoencoder": autoencoder,
    "skips": skips,
}


def build(model: Model, shape: Shape, classes: int, sha256: str | None = None) -> Network:
    """The network for images of `shape` (C,H,W).

    `sha256` is that of a user network's source file at training. Raises UserError for an unknown
    name or option, and for a user network that cannot be used.
    """
    if model.name == BLEND:
        raise UserError(
            "a blend cannot be trained; it combines trained runs",
            "use eyesight blend RUN RUN...",
            code=2,
        )
    if is_own(model.name):
        network = wrapped.build(model, shape, classes, sha256)
    else:
        network = _build_named(model, shape, classes)
    quicken(network)
    return network


def _build_named(model: Model, shape: Shape, classes: int) -> Network:
    make = _backbone(model.name) if is_backbone(model) else MODELS[model.name]
    accepted = _keywords(make)
    options = {}
    for option, value in dataclasses.asdict(model).items():
        if option == "name" or value in (None, ()):
            continue
        if option not in accepted:
            raise UserError(
                f"the model {model.name} has no option {option!r}",
                f"it takes {', '.join(accepted)}" if accepted else "it takes none",
            )
        options[option] = value
    if is_large(options, shape):
        check_memory(lambda: make(shape, classes, **options), model.name)
    network = make(shape, classes, **options)
    if not isinstance(network, Network):
        raise UserError(
            f"the model {model.name} is a {type(network).__name__}, not a Network",
            "for a plain torch.nn.Module use its file: --set model.name=my_net.py:MyNet",
        )
    return network


def is_large(options: Mapping[str, object], shape: Shape) -> bool:
    """Whether a network may be so large that it is measured before it is built, which takes
    seconds.
    """
    head = str(options.get("head", "")).replace(".", " ")
    numbers = [int(word) for word in head.split() if word.isdecimal()]
    for option, most in LARGE.items():
        value = options.get(option, 0)
        if isinstance(value, int | float) and value > most:
            return True
    return max(shape) > LARGE_SIDE or max(numbers, default=0) > LARGE_LAYER


def check_memory(make: Callable[[], Network], name: str) -> None:
    """Raise UserError when the network would not fit in memory with its gradient and two
    moments.
    """
    with torch.device("meta"):
        network = make()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    needed, free = 4 * VALUES * parameters, memory.available()
    if needed > free:
        raise UserError(
            f"training {name} needs {needed / 1000000000.0:,.0f} GB of memory for its "
            f"{parameters:,} parameters, but {free / 1000000000.0:,.0f} GB are free",
            "choose a smaller model.width, model.depth, model.head or data.size",
        )


def outputs(target: str, shape: Shape, classes: int) -> int:
    """Number of outputs per image or pixel: channels for a reconstruction, otherwise classes."""
    return shape[0] if target == "picture" else classes


def is_backbone(model: Model) -> bool:
    """Whether this is a pretrained network.

    Some names, such as vgg16, are both; then `weights` or `head` decide. Raises UserError for a
    name that is neither.
    """
    if is_own(model.name) or model.name == BLEND:
        return False
    chosen = model.weights is not None or model.head is not None
    if chosen and model.name not in MODELS:
        return True
    if model.name in MODELS and not chosen:
        return False
    from eyesight.models import pretrained

    if model.name in MODELS and not pretrained.is_known(model.name):
        raise UserError(
            f"model.weights and model.head apply only to pretrained networks, not to {model.name}",
            "leave them out, or choose another model.name; `eyesight models` lists them",
            code=2,
        )
    if not pretrained.is_known(model.name):
        raise unknown("model", model.name, [*MODELS, *pretrained.names()])
    return True


def options(name: str) -> list[str]:
    """The names of the options of the model called `name`."""
    return _keywords(MODELS[name] if name in MODELS else _backbone(name))


def _backbone(name: str) -> Callable[..., Network]:
    from eyesight.models import pretrained  # timm takes two seconds to import

    return functools.partial(pretrained.build, name)


def _keywords(make: Callable[..., Network]) -> list[str]:
    keywords = []
    for option, parameter in inspect.signature(make).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords.append(option)
    return keywords
