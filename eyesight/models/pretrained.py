"""A timm backbone as a chain of named units, its own preprocessing, its freeze points and a head by description.

A stage is whatever works at one resolution, so `conv5` is the last stage of every family, as in the papers on residual networks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.data.imagenet_info import ImageNetInfo
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from eyesight.errors import UserError, unknown
from eyesight.models import zoo
from eyesight.models.backbone import OWN, Backbone, Own, Whole, new_head
from eyesight.models.kernels.depthwise import Depthwise, convolve, is_depthwise
from eyesight.models.layers import Network, Shape

HEADS = frozenset(
    ["global_pool", "head", "head_drop", "pre_logits", "fc", "classifier", "classif", "last_linear"]
)
SKIPS = "skips"  # the first word of a head that gives a map
# Families whose units, one after another, are known to be their forward pass; of any other this is found out by trying.
CHAINS = frozenset(
    [
        "ResNet",
        "ResNetV2",
        "VGG",
        "Xception",
        "InceptionV3",
        "InceptionResnetV2",
        "EfficientNet",
        "MobileNetV3",
        "DenseNet",
    ]
)


@dataclass(frozen=True)
class Expects:
    """What a backbone's weights were trained to see: `size` is the side in pixels."""

    size: int
    interpolation: Literal["bilinear", "bicubic"]
    crop_fraction: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fixed: bool  # takes no other size


@dataclass(frozen=True)
class Outline:
    """Whether a backbone's units make a chain, and where its stages begin."""

    chain: bool
    stages: tuple[tuple[str, int], ...]


def build(
    name: str, shape: Shape, classes: int, *, weights: str | None = None, head: str = "average"
) -> Network:
    """The backbone called `name` with a new head, its weights drawn at random; raises UserError when it cannot take `shape`.

    `weights` is what `eyesight.models.weights` will look for; here it changes nothing.
    """
    expects = expected(name)
    if shape[0] != 3:
        raise UserError(
            f"{name} sees colour, and these pictures have {shape[0]} channel",
            "--set data.channels=3 repeats grey three times",
        )
    if head.startswith(SKIPS):
        return _mapper(name, shape, classes, head)
    outline = _outline(name)
    after = _features(name, shape)
    model = create(name)
    own = _own(model, classes, name) if head == OWN else None
    units: list[tuple[str, nn.Module]] = _units(model) if outline.chain else [("", Whole(model))]
    quicken(model)
    body = Backbone(units, dict(outline.stages))
    network = Network(shape, body, own or new_head(head.split(), body, after, classes))
    if own and outline.chain:
        _leave_head(model)
    network.normalise.set(torch.tensor(expects.mean), torch.tensor(expects.deviation))
    return network


def _mapper(name: str, shape: Shape, classes: int, head: str) -> Network:
    """The backbone with skip connections behind it and a map for each class at the end; raises UserError for one that is no chain."""
    from eyesight.models.unet import Tapped, on_backbone

    outline, words, expects = _outline(name), head.split(), expected(name)
    if not outline.chain:
        raise UserError(
            f"{name} is no chain of stages, so nothing can be joined to their ends",
            "choose another, such as ResNet50",
        )
    if words[1:] and not (len(words) == 2 and words[1].isdigit() and int(words[1]) > 0):
        raise UserError(
            f"cannot read {head!r} as the description of a head",
            f'"{SKIPS} 64" joins the stages in up to 64 channels',
            code=2,
        )
    model = create(name)
    quicken(model)
    body = Tapped(_units(model), dict(outline.stages))
    with torch.device("meta"):
        shapes = _shapes(_units(create(name).eval()), torch.zeros(1, *shape))
    network = on_backbone(
        shape,
        classes,
        body,
        [shapes[end][0] for end in body.ends],
        int(words[1]) if words[1:] else 64,
    )
    network.normalise.set(torch.tensor(expects.mean), torch.tensor(expects.deviation))
    return network


class DepthwiseSame(Conv2dSame):  # type: ignore[misc, unused-ignore]
    """timm's convolution that pads as TensorFlow does, where each channel has its own filters."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Features N,C,H,W to N,C,h,w."""
        padded = pad_same(pictures, list(self.kernel_size), list(self.stride), list(self.dilation))
        return convolve(padded, self.weight, self.stride, (0, 0), training=self.training)


def quicken(model: nn.Module) -> None:
    """Let the depthwise convolutions of a network learn as fast as they can; tensors and names stay."""
    quicker = {nn.Conv2d: Depthwise, Conv2dSame: DepthwiseSame}
    for module in model.modules():
        if type(module) in quicker and is_depthwise(module):
            module.__class__ = quicker[type(module)]


def parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """What of a network has pretrained weights: (prefix of the names that timm gives its tensors, module)."""
    body = network.body
    assert isinstance(body, Backbone)
    for prefix, unit in zip(body.prefixes, body.units, strict=True):
        if prefix != "pool":
            yield prefix, unit.model if isinstance(unit, Whole) else unit
    if isinstance(network.head, Own):
        yield network.head.prefix, network.head.model


def create(name: str, **options: Any) -> nn.Module:
    """timm's own network, with random weights unless the options say otherwise; raises UserError naming the nearest known one."""
    full = zoo.timm_name(name)
    if not is_known(name):
        raise unknown("network", name, names())
    model: nn.Module = timm.create_model(full, **options)
    return model


def is_known(name: str) -> bool:
    """Whether the name, with or without the weights' tag, is one of timm's."""
    return bool(timm.is_model(zoo.timm_name(name).split(".")[0]))


def names() -> list[str]:
    """What people may write: the known names, then timm's."""
    return [*(entry.name for entry in zoo.ZOO), *timm.list_models()]


def own_classes(name: str) -> int:
    """How many classes the weights tell apart."""
    return int(configuration(name)["num_classes"])


def stages(network: Network) -> tuple[str, ...]:
    """The names of a backbone's stages, in order."""
    assert isinstance(network.body, Backbone)
    return tuple(network.body.stages)


def version() -> str:
    """timm's."""
    return str(timm.__version__)


def configuration(name: str) -> dict[str, Any]:
    """What timm says about the weights of this name."""
    full = zoo.timm_name(name)
    if not is_known(name):
        raise unknown("network", name, names())
    found = timm.get_pretrained_cfg(full)
    if found is None:
        others = timm.list_pretrained(full.split(".")[0] + "*")
        raise UserError(
            f"timm knows no weights {full!r}", f"it knows {', '.join(others) or 'none'}"
        )
    return dataclasses.asdict(found)


def expected(name: str) -> Expects:
    """The preprocessing that belongs to the weights."""
    found = configuration(name)
    interpolation: Literal["bilinear", "bicubic"] = (
        "bilinear" if found["interpolation"] == "bilinear" else "bicubic"
    )
    size, fixed = int(found["input_size"][1]), bool(found.get("fixed_input_size"))
    return Expects(
        size,
        interpolation,
        float(found["crop_pct"]),
        tuple(found["mean"]),
        tuple(found["std"]),
        fixed,
    )


def hub_name(name: str) -> str:
    """The hub's name of the weights, empty where there are none."""
    return str(configuration(name)["hf_hub_id"] or "")


def in_hub_cache(name: str) -> Path | None:
    """The file that an earlier look into the hub left on this machine."""
    from huggingface_hub import (
        try_to_load_from_cache,
    )  # part of timm; half a second that most commands need not wait

    found = try_to_load_from_cache(hub_name(name), "model.safetensors") if hub_name(name) else None
    return Path(found) if isinstance(found, str) else None


def from_hub(name: str) -> dict[str, Tensor]:
    """The tensors of timm's own weights; raises OSError, RuntimeError or ValueError when they cannot be had."""
    return dict(create(name, pretrained=True).state_dict())


def imagenet_classes() -> tuple[str, ...]:
    """The thousand names of ImageNet-1k in the order of the logits; the two that occur twice carry their synset."""
    known = ImageNetInfo()
    names = [known.index_to_description(place).split(",")[0] for place in range(1000)]
    return tuple(
        f"{name} ({known.index_to_label_name(place)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    )


def imagenet_places(classes: Sequence[str]) -> dict[int, int]:
    """Which of these names are ImageNet's, by synset (`n02085620-Chihuahua`) or any synonym: place here to place there."""
    known, names = ImageNetInfo(), dict[str, list[int]]()
    for place in range(1000):
        for name in {_plain(one) for one in known.index_to_description(place).split(",")} | {
            known.index_to_label_name(place)
        }:
            names.setdefault(name, []).append(place)
    found = {
        here: names.get(_plain(name)) or names.get(synset(name), [])
        for here, name in enumerate(classes)
    }
    return {here: places[0] for here, places in found.items() if len(places) == 1}


def synset(name: str) -> str:
    """The number of ImageNet's that a folder's name begins with, as in `n02085620-Chihuahua`; "" for any other name."""
    found = re.match(r"n\d{8}(?![^\W_])", name)
    return found[0] if found else ""


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _units(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a timm network up to its head, plain sequences opened, in order."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        if name in HEADS:
            break
        found += _opened(name, child)
    return [(name, unit) for name, unit in found if not isinstance(unit, nn.Identity)]


def _opened(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return [
            pair
            for inner, child in module.named_children()
            for pair in _opened(f"{name}.{inner}", child)
        ]
    return [(name, module)]


@lru_cache(maxsize=64)
def _outline(name: str) -> Outline:
    """Whether the backbone is a chain, and its stages, both at the size it was trained with."""
    shape = tuple(configuration(name)["input_size"])
    with torch.device("meta"):
        model = create(name).eval()
        if not _is_chain(name, model):
            return Outline(False, (("conv1", 0),))
        return Outline(True, _stages(_shapes(_units(model), torch.zeros(1, *shape)), shape))


@lru_cache(maxsize=64)
def _features(name: str, shape: Shape) -> Shape:
    """The shape of the features of pictures of `shape`, found without computing anything; raises UserError when nothing is left."""
    expects = expected(name)
    if expects.fixed and shape[1:] != (expects.size, expects.size):
        raise _wrong_size(name, shape)
    with torch.device("meta"):
        model: Any = create(name).eval()
        pictures = torch.zeros(1, *shape)
        try:
            after = tuple(
                (
                    model.forward_features(pictures)
                    if _outline(name).chain
                    else Whole(model)(pictures)
                ).shape[1:]
            )
        except (RuntimeError, AssertionError):
            raise _wrong_size(name, shape) from None
    if 0 in after:
        raise _wrong_size(name, shape)
    return after


def _shapes(units: list[tuple[str, nn.Module]], features: Tensor) -> list[Shape]:
    shapes = []
    for _, unit in units:
        features = unit(features)
        shapes.append(tuple(features.shape[1:]))
    return shapes


def _is_chain(name: str, model: nn.Module) -> bool:
    """Whether the units in order are the forward pass: known of some families, tried on numbers for the others."""
    if type(model).__name__ in CHAINS:
        return True
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        trial: Any = create(name).eval()
        features = pictures = torch.rand(1, *configuration(name)["input_size"])
        try:
            for _, unit in _units(trial):
                features = unit(features)
        except Exception:  # whatever a layer says to what was never meant for it
            return False
        whole = trial.forward_features(pictures)
    return features.ndim == 4 and features.shape == whole.shape and torch.equal(features, whole)


def _stages(shapes: list[Shape], shape: Shape) -> tuple[tuple[str, int], ...]:
    """(name, first unit) of each stage: a new one begins with the unit that halves the picture, unless nothing follows it."""
    starts, side = [0], shape[1]
    for place, (_, height, _) in enumerate(shapes):
        if height <= 0.6 * side:
            if place > 0 and place + 1 < len(shapes):
                starts.append(place)
            side = height
    return tuple((f"conv{number}", start) for number, start in enumerate(starts, 1))


def _wrong_size(name: str, shape: Shape) -> UserError:
    expects = expected(name)
    found = "×".join(map(str, shape[1:]))
    if expects.fixed:
        return UserError(
            f"{name} takes pictures of {expects.size}×{expects.size} only, not {found}",
            f"--set data.size={expects.size}",
        )
    return UserError(
        f"pictures of {found} are too small for {name}: they shrink to nothing on the way",
        f"--set data.size={expects.size} gives it what it was trained on; a little less will do",
    )


def _own(model: Any, classes: int, name: str) -> Own:
    """The classifier that came with the backbone."""
    if model.num_classes != classes:
        raise UserError(
            f"the own head of {name} tells {model.num_classes} classes apart, not {classes}",
            "--set model.head=average makes a new one",
        )
    if _outline(name).chain:
        return Own(model, "")
    layer, prefix = model.get_classifier(), str(configuration(name)["classifier"])
    return Own(layer, prefix)


def _leave_head(model: nn.Module) -> None:
    """Take out of the network what has become part of a body, so that no tensor is there twice."""
    for name, _ in list(model.named_children()):
        if name in HEADS:
            return
        setattr(model, name, nn.Identity())
