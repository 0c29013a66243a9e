"""timm's networks changed in place to compute what Keras Applications' of the same name compute.

The families agree in every layer but differ in where they stride, how they pad, which convolutions
have a bias, and what batch normalisation adds to the variance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyesight.errors import UserError

HALF = (0.5, 0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean, deviation
CAFFE = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))


@dataclass(frozen=True)
class Family:
    """Networks of Keras Applications that differ from timm's in the same way."""

    name: str
    timm: str  # a pattern of timm's names without the weights' tag
    change: Callable[[nn.Module], None]  # what is different, beside the constant
    constant: float | None  # added to the variance by batch normalisation
    mean: tuple[float, ...] = HALF
    deviation: tuple[float, ...] = HALF
    blue_first: bool = False  # the weights expect the colours in the order blue, green, red
    same_padding: bool = False  # zeros as TensorFlow's "same" places them


class PoolOfZeros(nn.MaxPool2d):
    """Maximum pooling 3×3 with stride 2 over a map with a border of zeros."""

    def forward(self, features: Tensor) -> Tensor:
        """N,C,H,W to N,C,H/2,W/2."""
        return F.max_pool2d(F.pad(features, (1, 1, 1, 1)), 3, 2)


class PoolAsTensorFlow(nn.MaxPool2d):
    """Maximum pooling 3×3 with stride 2, padded at the end first, as TensorFlow's "same"."""

    def forward(self, features: Tensor) -> Tensor:
        """N,C,H,W to N,C,H/2,W/2, rounded up."""
        height, width = features.shape[2:]
        border = (width % 2, 1, height % 2, 1)
        return F.max_pool2d(F.pad(features, border, value=float("-inf")), 3, 2)


def _no_change(model: nn.Module) -> None:
    """Nothing but the constant differs."""


def _residual(model: nn.Module) -> None:
    """ResNet: convolutions have a bias, and a stage strides in the first of its three."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            _add_bias(module)
    for stage in ("layer2", "layer3", "layer4"):
        block = model.get_submodule(f"{stage}.0")
        _stride(block.get_submodule("conv1"), 2)
        _stride(block.get_submodule("conv2"), 1)


def _residual_v2(model: nn.Module) -> None:
    """ResNetV2: a stage shrinks the map in its last block instead of its first."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and re.search(r"stem\.conv|conv3|downsample", name):
            _add_bias(module)
    model.get_submodule("stem.pool").__class__ = PoolOfZeros
    stages = [stage.blocks for stage in model.get_submodule("stages").children()]
    for blocks in stages[1:]:
        assert isinstance(blocks, nn.Sequential)
        for path in ("conv2", "downsample.conv"):
            _stride(blocks[0].get_submodule(path), 1)
    for blocks in stages[:-1]:
        assert isinstance(blocks, nn.Sequential)
        _stride(blocks[-1].get_submodule("conv2"), 2)
        blocks[-1].__class__ = _shrinking(type(blocks[-1]))


def _shrinking(block: type[nn.Module]) -> type[nn.Module]:
    """The residual block of `block` whose shortcut keeps every other pixel."""

    def forward(self: nn.Module, features: Tensor) -> Tensor:
        residual = self.conv1(self.norm1(features))  # type: ignore[operator]
        residual = self.conv2(self.norm2(residual))  # type: ignore[operator]
        residual = self.conv3(self.norm3(residual))  # type: ignore[operator]
        return residual + features[:, :, ::2, ::2]  # type: ignore[no-any-return]

    return type("Shrinking", (block,), {"forward": forward})


def _xception(model: nn.Module) -> None:
    """Xception: pooling pads as TensorFlow does."""
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.__class__ = PoolAsTensorFlow


def _inception(model: nn.Module) -> None:
    """InceptionV3: an average at the border is that of the pixels inside."""
    for module in list(model.modules()):
        branch = getattr(module, "branch_pool", None)
        if isinstance(branch, nn.Module):
            branch.__class__ = _border_counted(type(branch))


def _border_counted(block: type[nn.Module]) -> type[nn.Module]:
    """`block` after an average of 3×3 that counted the zeros around the map."""

    def forward(self: nn.Module, averages: Tensor) -> Tensor:
        inside = torch.ones_like(averages[:1, :1])
        share = F.avg_pool2d(inside, 3, 1, 1)
        return block.forward(self, averages / share)  # type: ignore[no-any-return]

    return type("BorderCounted", (block,), {"forward": forward})


def _stride(layer: nn.Module, stride: int) -> None:
    assert isinstance(layer, nn.Conv2d)
    layer.stride = (stride, stride)


def _add_bias(layer: nn.Conv2d) -> None:
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0, 0, 0]))


FAMILIES = (
    Family("VGG", r"vgg(16|19)", _no_change, None, *CAFFE, blue_first=True),
    Family("ResNet", r"resnet(50|101|152)", _residual, 1.001e-5, *CAFFE, blue_first=True),
    Family("ResNetV2", r"resnetv2_(50|101|152)", _residual_v2, 1.001e-5),
    Family("MobileNet", r"mobilenetv1_100", _no_change, 1e-3, same_padding=True),
    Family("MobileNetV2", r"mobilenetv2_100", _no_change, 1e-3, same_padding=True),
    Family("MobileNetV3Large", r"tf_mobilenetv3_large_100", _no_change, 1e-3),
    Family("DenseNet", r"densenet(121|169|201)", _no_change, 1.001e-5, *IMAGENET),
    Family("EfficientNet", r"tf_efficientnet_b[0-7]", _no_change, 1e-3, *IMAGENET),
    Family("Xception", r"legacy_xception", _xception, 1e-3),
    Family("InceptionV3", r"inception_v3", _inception, 1e-3),
    Family("InceptionResNetV2", r"inception_resnet_v2", _no_change, 1e-3),
)


def family(timm_name: str) -> Family:
    """The family of a timm network; raises UserError for one that Keras does not have."""
    bare = timm_name.split(".")[0]
    for one in FAMILIES:
        if re.fullmatch(one.timm, bare):
            return one
    raise UserError(
        f"Keras weights are not supported for {timm_name}: Keras Applications has no equivalent "
        "network",
        f"supported: {', '.join(one.name for one in FAMILIES)}",
    )


def as_keras(model: nn.Module, timm_name: str) -> None:
    """Change a timm network in place so that it computes what Keras' network computes."""
    kind = family(timm_name)
    kind.change(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and kind.constant:
            module.eps = kind.constant
