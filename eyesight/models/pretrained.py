"""A timm backbone as a sequence of named units, with preprocessing, freeze points and a new head.

A stage comprises all units of one resolution, so `conv5` is the last stage of every family, as in
the ResNet papers.
"""

from __future__ import annotations

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
from eyesight.models import available, zoo
from eyesight.models.backbone import OWN, Backbone, Own, Whole, new_head
from eyesight.models.keras.file import is_keras
from eyesight.models.keras.network import as_keras, family
from eyesight.models.kernels.depthwise import Depthwise, convolve, is_depthwise
from eyesight.models.layers import Network, Shape

HEADS = frozenset(
    ["global_pool", "head", "head_drop", "pre_logits", "fc", "classifier", "classif", "last_linear"]
)
SKIPS = "skips"  # the first word of a head that gives a map
SKIP_FILTERS = 64
# Families known to be sequential; others are tested.
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
    """The preprocessing that a backbone's weights were trained with; `size` in pixels."""

    size: int
    interpolation: Literal["bilinear", "bicubic"]
    crop_fraction: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fixed: bool  # takes no other size


@dataclass(frozen=True)
class Configuration:
    """timm's description of the weights of one name."""

    expects: Expects
    shape: Shape  # C,H,W of the images that they were trained on
    classes: int
    classifier: str  # the name of the last layer
    hub_name: str  # empty where there are no weights


@dataclass(frozen=True)
class Outline:
    """Whether a backbone is sequential, and where its stages start."""

    chain: bool
    stages: tuple[tuple[str, int], ...]


def build(
    name: str, shape: Shape, classes: int, *, weights: str | None = None, head: str = "average"
) -> Network:
    """The backbone called `name` with a new head, its weights drawn at random.

    `weights` is what `eyesight.models.weights` will look for; where it is a file of Keras, the
    network is built as Keras builds it. Raises UserError when the backbone cannot take `shape`.
    """
    expects = expected(name)
    if shape[0] != 3:
        raise UserError(
            f"{name} needs colour images, but these have {shape[0]} channel",
            "use --set data.channels=3 to repeat the grey channel three times",
        )
    if head.startswith(SKIPS):
        network = _mapper(name, shape, classes, head, keras=is_keras(weights))
    else:
        network = _classifier(name, shape, classes, head, keras=is_keras(weights))
    network.normalise.set(torch.tensor(expects.mean), torch.tensor(expects.deviation))
    return network


def _classifier(name: str, shape: Shape, classes: int, head: str, *, keras: bool) -> Network:
    """The backbone with a classification head."""
    outline = _outline(name)
    features = _features(name, shape, keras=keras)
    model = create(name, keras=keras)
    own = _own(model, classes, name) if head == OWN else None
    units: list[tuple[str, nn.Module]] = _units(model) if outline.chain else [("", Whole(model))]
    quicken(model)
    body = Backbone(units, dict(outline.stages))
    network = Network(shape, body, own or new_head(head.split(), body, features, classes))
    if own and outline.chain:
        _leave_head(model)
    return network


def _mapper(name: str, shape: Shape, classes: int, head: str, *, keras: bool) -> Network:
    """The backbone with skip connections and a map per class.

    Raises UserError for a non-sequential backbone and an invalid head.
    """
    from eyesight.models.unet import Tapped, on_backbone

    outline = _outline(name)
    if not outline.chain:
        raise UserError(
            f"{name} is not a sequence of stages, so skip connections cannot be added",
            "choose another, such as ResNet50",
        )
    filters = _skip_filters(head)
    model = create(name, keras=keras)
    quicken(model)
    body = Tapped(_units(model), dict(outline.stages))
    with torch.device("meta"):
        shapes = _shapes(_units(create(name, keras=keras).eval()), torch.zeros(1, *shape))
    depths = [shapes[end][0] for end in body.ends]
    return on_backbone(shape, classes, body, depths, filters)


def _skip_filters(head: str) -> int:
    """The channels in a head's description such as "skips 64"."""
    numbers = head.split()[1:]
    if not numbers:
        return SKIP_FILTERS
    if len(numbers) > 1 or not numbers[0].isdigit() or int(numbers[0]) == 0:
        raise UserError(
            f"cannot read the head {head!r}",
            f'for example "{SKIPS} {SKIP_FILTERS}", which combines the stages in up to '
            f"{SKIP_FILTERS} channels",
            code=2,
        )
    return int(numbers[0])


class DepthwiseSame(Conv2dSame):  # type: ignore[misc, unused-ignore]
    """timm's depthwise convolution with TensorFlow's padding, with faster gradients."""

    without_bias = True  # in contrast to its base class

    def forward(self, pictures: Tensor) -> Tensor:
        """Features N,C,H,W to N,C,h,w."""
        padded = pad_same(pictures, list(self.kernel_size), list(self.stride), list(self.dilation))
        return convolve(padded, self.weight, self.stride, (0, 0), training=self.training)


def quicken(model: nn.Module) -> None:
    """Use faster gradients in depthwise convolutions, in place; parameter names are kept."""
    faster = {nn.Conv2d: Depthwise, Conv2dSame: DepthwiseSame}
    for module in model.modules():
        if type(module) in faster and is_depthwise(module):
            module.__class__ = faster[type(module)]


def parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """The pretrained modules of a network, each with the prefix of timm's tensor names."""
    body = network.body
    assert isinstance(body, Backbone)
    for prefix, unit in zip(body.prefixes, body.units, strict=True):
        if prefix != "pool":
            yield prefix, unit.model if isinstance(unit, Whole) else unit
    if isinstance(network.head, Own):
        yield network.head.prefix, network.head.model


def unknown_network(name: str) -> UserError:
    """The error for a name that is no network's; it may be meant as that of a run."""
    error = unknown("network", name, names())
    if error.hint.startswith("did you mean"):
        return error
    return UserError(
        error.message,
        "`eyesight models` lists pretrained networks; a run is named by its folder, such as "
        "runs/0001-lenet5",
        code=2,
    )


def create(name: str, *, pretrained: bool = False, keras: bool = False) -> nn.Module:
    """Create a timm network, with random weights unless `pretrained`, or as Keras builds it.

    Raises UserError with the closest existing name.
    """
    if not is_known(name):
        raise unknown_network(name)
    full = zoo.timm_name(name)
    if not keras:
        model: nn.Module = timm.create_model(full, pretrained=pretrained)
        return model
    if family(full).same_padding:
        model = timm.create_model(full, pad_type="same")
    else:
        model = timm.create_model(full)
    as_keras(model, full)
    return model


def is_known(name: str) -> bool:
    """Whether timm has this name, with or without a weights tag."""
    return bool(timm.is_model(zoo.timm_name(name).split(".")[0]))


def names() -> list[str]:
    """All accepted names: those of the zoo, then timm's."""
    return [*(entry.name for entry in zoo.ZOO), *timm.list_models()]


def own_classes(name: str) -> int:
    """The number of classes that the weights were trained on."""
    return configuration(name).classes


def stages(network: Network) -> tuple[str, ...]:
    """The names of a backbone's stages, in order."""
    assert isinstance(network.body, Backbone)
    return tuple(network.body.stages)


def version() -> str:
    """The version of timm."""
    return str(timm.__version__)


def configuration(name: str) -> Configuration:
    """timm's configuration of the weights; raises UserError if there is none."""
    full = zoo.timm_name(name)
    if not is_known(name):
        raise unknown_network(name)
    config = timm.get_pretrained_cfg(full)
    if config is None:
        others = ", ".join(timm.list_pretrained(full.split(".")[0] + "*"))
        raise UserError(f"timm has no weights {full!r}", f"it has {others or 'none'}")
    bilinear = config.interpolation == "bilinear"
    expects = Expects(
        size=int(config.input_size[1]),
        interpolation="bilinear" if bilinear else "bicubic",
        crop_fraction=float(config.crop_pct),
        mean=tuple(config.mean),
        deviation=tuple(config.std),
        fixed=bool(config.fixed_input_size),
    )
    return Configuration(
        expects,
        shape=tuple(config.input_size),
        classes=int(config.num_classes),
        classifier=str(config.classifier),
        hub_name=str(config.hf_hub_id or ""),
    )


def expected(name: str) -> Expects:
    """The preprocessing of the weights."""
    return configuration(name).expects


def hub_name(name: str) -> str:
    """The hub's name of the weights, empty if there are none."""
    return configuration(name).hub_name


def in_hub_cache(name: str) -> Path | None:
    """The file of an earlier download from the hub, or None."""
    return available.in_hub_cache(hub_name(name))


def from_hub(name: str) -> dict[str, Tensor]:
    """The tensors of timm's own weights; raises OSError, RuntimeError or ValueError."""
    return dict(create(name, pretrained=True).state_dict())


def imagenet_classes() -> tuple[str, ...]:
    """The thousand class names of ImageNet-1k in the order of the logits.

    The two names that occur twice are followed by their synset.
    """
    info = ImageNetInfo()
    first_names = [info.index_to_description(index).split(",")[0] for index in range(1000)]
    class_names = []
    for index, name in enumerate(first_names):
        if first_names.count(name) > 1:
            name = f"{name} ({info.index_to_label_name(index)})"
        class_names.append(name)
    return tuple(class_names)


def imagenet_places(classes: Sequence[str]) -> dict[int, int]:
    """Map indices in `classes` to ImageNet indices, for classes with an ImageNet name.

    Classes are matched by synset (`n02085620-Chihuahua`) or by any synonym.
    """
    by_name = _imagenet_names()
    places = {}
    for index, name in enumerate(classes):
        matches = by_name.get(_plain(name)) or by_name.get(synset(name), [])
        if len(matches) == 1:
            places[index] = matches[0]
    return places


@lru_cache(maxsize=1)
def _imagenet_names() -> dict[str, list[int]]:
    """Every synonym and synset of ImageNet with its classes."""
    info = ImageNetInfo()
    by_name: dict[str, list[int]] = {}
    for index in range(1000):
        synonyms = {_plain(name) for name in info.index_to_description(index).split(",")}
        for name in synonyms | {info.index_to_label_name(index)}:
            by_name.setdefault(name, []).append(index)
    return by_name


def synset(name: str) -> str:
    """ImageNet's number at the start of a name such as `n02085620-Chihuahua`, else ""."""
    match = re.match(r"n\d{8}(?![^\W_])", name)
    return match[0] if match else ""


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _units(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a timm network up to its head, with sequences flattened."""
    units: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        if name in HEADS:
            break
        units += _opened(name, child)
    return [(name, unit) for name, unit in units if not isinstance(unit, nn.Identity)]


def _opened(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if not plain:
        return [(name, module)]
    units = []
    for inner, child in module.named_children():
        units += _opened(f"{name}.{inner}", child)
    return units


@lru_cache(maxsize=64)
def _outline(name: str) -> Outline:
    """Whether the backbone is sequential, and its stages, at its training size."""
    shape = configuration(name).shape
    with torch.device("meta"):
        model = create(name).eval()
        if not _is_chain(name, model):
            return Outline(False, (("conv1", 0),))
        shapes = _shapes(_units(model), torch.zeros(1, *shape))
    return Outline(True, _stages(shapes, shape))


@lru_cache(maxsize=64)
def _features(name: str, shape: Shape, *, keras: bool = False) -> Shape:
    """The feature shape for images of `shape`, computed on the meta device.

    Raises UserError if it is empty.
    """
    expects = expected(name)
    if expects.fixed and shape[1:] != (expects.size, expects.size):
        raise _wrong_size(name, shape)
    with torch.device("meta"):
        model: Any = create(name, keras=keras).eval()
        images = torch.zeros(1, *shape)
        forward = model.forward_features if _outline(name).chain else Whole(model)
        try:
            features = tuple(forward(images).shape[1:])
        except (RuntimeError, AssertionError):
            raise _wrong_size(name, shape) from None
    if 0 in features:
        raise _wrong_size(name, shape)
    return features


def _shapes(units: list[tuple[str, nn.Module]], features: Tensor) -> list[Shape]:
    shapes = []
    for _, unit in units:
        features = unit(features)
        shapes.append(tuple(features.shape[1:]))
    return shapes


def _is_chain(name: str, model: nn.Module) -> bool:
    """Whether the units in sequence equal the forward pass; tested if the family is unknown."""
    if type(model).__name__ in CHAINS:
        return True
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        trial: Any = create(name).eval()
        features = images = torch.rand(1, *configuration(name).shape)
        try:
            for _, unit in _units(trial):
                features = unit(features)
        except Exception:  # layers may raise any error for unsuitable input
            return False
        whole = trial.forward_features(images)
    return features.ndim == 4 and features.shape == whole.shape and torch.equal(features, whole)


def _stages(shapes: list[Shape], shape: Shape) -> tuple[tuple[str, int], ...]:
    """(name, first unit) of each stage.

    A stage begins with the unit that halves the map, unless nothing follows that unit.
    """
    starts, side = [0], shape[1]
    for index, (_, height, _) in enumerate(shapes):
        if height > 0.6 * side:
            continue
        side = height
        if 0 < index < len(shapes) - 1:
            starts.append(index)
    return tuple((f"conv{number}", start) for number, start in enumerate(starts, 1))


def _wrong_size(name: str, shape: Shape) -> UserError:
    expects = expected(name)
    size = "×".join(map(str, shape[1:]))
    if expects.fixed:
        return UserError(
            f"{name} needs images of {expects.size}×{expects.size}, not {size}",
            f"--set data.size={expects.size}",
        )
    return UserError(
        f"images of {size} are too small for {name}: a feature map would be empty",
        f"it was trained with --set data.size={expects.size}; slightly smaller sizes work too",
    )


def _own(model: nn.Module, classes: int, name: str) -> Own:
    """The original classifier of the backbone."""
    if model.num_classes != classes:
        raise UserError(
            f"the original head of {name} has {model.num_classes} classes, not {classes}",
            "use --set model.head=average for a new head",
        )
    if _outline(name).chain:
        return Own(model, "")
    layer = model.get_classifier()  # type: ignore[operator]
    return Own(layer, configuration(name).classifier)


def _leave_head(model: nn.Module) -> None:
    """Remove the layers that are now part of a body, so that no tensor occurs twice."""
    for name, _ in list(model.named_children()):
        if name in HEADS:
            return
        setattr(model, name, nn.Identity())
