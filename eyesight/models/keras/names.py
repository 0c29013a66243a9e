"""Which layer of Keras Applications holds which tensors of a timm network, by name.

A rule turns the name of a timm module into that of a Keras layer. Layers that Keras merely counts
(`conv2d_17`) are taken in the order of their numbers, which is the order in which both build the
network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from torch import nn

COUNTED = ("conv2d", "batch_normalization")  # kinds of layers that Keras only counts


def places(
    model: nn.Module, family: str, layers: Mapping[str, object]
) -> Iterator[tuple[str, nn.Module, str]]:
    """(timm's name, module, Keras' layer) of every module with tensors of its own."""
    modules = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm):
            modules.append((name, module))
    rule = RULES[family]
    counted = {kind: _counted(layers, kind) for kind in COUNTED}
    taken = dict.fromkeys(COUNTED, 0)
    numbers = _block_numbers([name for name, _ in modules])
    for name, module in modules:
        layer = rule(name, numbers)
        if layer in counted:
            names, place = counted[layer], taken[layer]
            taken[layer] += 1
            layer = names[place] if place < len(names) else f"{layer} number {place + 1}"
        yield name, module, layer


def _counted(layers: Mapping[str, object], stem: str) -> list[str]:
    """The layers that Keras named by a kind and a number, in order."""
    places = {}
    for name in layers:
        match = re.fullmatch(rf"{stem}(?:_(\d+))?", name)
        if match:
            places[name] = int(match[1] or 0)
    return sorted(places, key=places.__getitem__)


def _block_numbers(names: list[str]) -> dict[str, int]:
    """`blocks.2.1` or `features.5` to its place among all blocks, from 0."""
    numbers: dict[str, int] = {}
    for name in names:
        match = re.match(r"blocks\.\d+\.\d+|features\.\d+", name)
        if match:
            numbers.setdefault(match[0], len(numbers))
    return numbers


def _substituted(name: str, pairs: Mapping[str, str]) -> str:
    for pattern, layer in pairs.items():
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(layer)
    return name


def _vgg(name: str, numbers: Mapping[str, int]) -> str:
    ends = {"pre_logits.fc1": "fc1", "pre_logits.fc2": "fc2", "head.fc": "predictions"}
    if name in ends:
        return ends[name]
    block, place, earlier = 1, 0, -2
    for other in numbers:  # a gap of three is a pooling between two convolutions
        index = int(other.removeprefix("features."))
        if index - earlier > 2:
            block, place = block + 1, 0
        place, earlier = place + 1, index
        if other == name:
            break
    return f"block{block}_conv{place}"


def _resnet(name: str, numbers: Mapping[str, int]) -> str:
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(\w+?)(?:\.?(\d))", name)
    if not match:
        return {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}[name]
    stage, block, part, digit = match.groups()
    number, layer = digit, part
    if part == "downsample":
        number, layer = "0", ("conv", "bn")[int(digit)]
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_{layer}"


def _resnet_v2(name: str, numbers: Mapping[str, int]) -> str:
    match = re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.+)", name)
    if not match:
        return {"stem.conv": "conv1_conv", "norm": "post_bn", "head.fc": "predictions"}[name]
    part = _substituted(
        match[3],
        {
            "norm1": "preact_bn",
            "norm2": "1_bn",
            "norm3": "2_bn",
            r"conv(\d)": r"\1_conv",
            r"downsample\.conv": "0_conv",
        },
    )
    return f"conv{int(match[1]) + 2}_block{int(match[2]) + 1}_{part}"


def _densenet(name: str, numbers: Mapping[str, int]) -> str:
    match = re.fullmatch(r"features\.denseblock(\d)\.denselayer(\d+)\.(norm|conv)(\d)", name)
    if match:
        stage, layer, part, digit = match.groups()
        place = f"{int(digit) - 1}_bn" if part == "norm" and digit == "1" else f"1_{_bn(part)}"
        if part == "conv":
            place = f"{digit}_conv"
        return f"conv{int(stage) + 1}_block{layer}_{place}"
    match = re.fullmatch(r"features\.transition(\d)\.(norm|conv)", name)
    if match:
        return f"pool{int(match[1]) + 1}_{_bn(match[2])}"
    return {
        "features.conv0": "conv1_conv",
        "features.norm0": "conv1_bn",
        "features.norm5": "bn",
        "classifier": "predictions",
    }[name]


def _bn(part: str) -> str:
    return "bn" if part == "norm" else part


def _block(name: str, numbers: Mapping[str, int]) -> tuple[int, int, int, str]:
    """Stage, place in it, place among all, and the rest of a name such as blocks.2.1.conv_dw."""
    match = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", name)
    assert match, name
    return int(match[1]), int(match[2]), numbers[name[: match.start(3) - 1]], match[3]


def _mobilenet(name: str, numbers: Mapping[str, int]) -> str:
    ends = {"conv_stem": "conv1", "bn1": "conv1_bn", "classifier": "conv_preds"}
    if name in ends:
        return ends[name]
    *_, number, part = _block(name, numbers)
    layer = {"conv_dw": "dw_{}", "bn1": "dw_{}_bn", "conv_pw": "pw_{}", "bn2": "pw_{}_bn"}[part]
    return "conv_" + layer.format(number + 1)


def _inverted(part: str, first: bool) -> str:
    """A layer of an inverted bottleneck by what it does; the first block does not expand."""
    names = {
        "conv_dw": "depthwise",
        "bn1": "depthwise_bn",
        "conv_pw": "project",
        "bn2": "project_bn",
    }
    if not first:
        names = {
            "conv_pw": "expand",
            "bn1": "expand_bn",
            "conv_dw": "depthwise",
            "bn2": "depthwise_bn",
            "conv_pwl": "project",
            "bn3": "project_bn",
            "se.conv_reduce": "squeeze_excite_conv",
            "se.conv_expand": "squeeze_excite_conv_1",
        }
    return names[part]


def _expanded(name: str, numbers: Mapping[str, int], prefix: str) -> str:
    """A layer of an inverted residual block; the first block has no number."""
    *_, number, part = _block(name, numbers)
    block = f"{prefix}_{number}" if number else "expanded_conv"
    return f"{block}_{_inverted(part, number == 0)}"


def _mobilenet_v2(name: str, numbers: Mapping[str, int]) -> str:
    ends = {
        "conv_stem": "conv1",
        "bn1": "bn_conv1",
        "conv_head": "conv_1",
        "bn2": "conv_1_bn",
        "classifier": "predictions",
    }
    return ends.get(name) or _expanded(name, numbers, "block")


def _mobilenet_v3(name: str, numbers: Mapping[str, int]) -> str:
    ends = {
        "conv_stem": "conv",
        "bn1": "conv_bn",
        "blocks.6.0.conv": "conv_1",
        "blocks.6.0.bn1": "conv_1_bn",
        "conv_head": "conv_2",
        "classifier": "logits",
    }
    return ends.get(name) or _expanded(name, numbers, "expanded_conv")


def _efficientnet(name: str, numbers: Mapping[str, int]) -> str:
    ends = {
        "conv_stem": "stem_conv",
        "bn1": "stem_bn",
        "conv_head": "top_conv",
        "bn2": "top_bn",
        "classifier": "predictions",
    }
    if name in ends:
        return ends[name]
    stage, place, _, part = _block(name, numbers)
    layers = {"conv_dw": "dwconv", "se.conv_reduce": "se_reduce", "se.conv_expand": "se_expand"}
    if stage == 0:
        layers |= {"bn1": "bn", "conv_pw": "project_conv", "bn2": "project_bn"}
    else:
        layers |= {"conv_pw": "expand_conv", "bn1": "expand_bn", "bn2": "bn"}
        layers |= {"conv_pwl": "project_conv", "bn3": "project_bn"}
    return f"block{stage + 1}{chr(ord('a') + place)}_{layers[part]}"


def _xception(name: str, numbers: Mapping[str, int]) -> str:
    match = re.fullmatch(r"block(\d+)\.rep\.(\d+)(\.\w+)?", name)
    if match:
        shift = 0 if match[1] == "1" else -1  # the first block begins without an activation
        place = (int(match[2]) + shift) // 3 + 1
        bn = "" if match[3] else "_bn"
        return f"block{int(match[1]) + 1}_sepconv{place}{bn}"
    return _substituted(
        name,
        {
            r"block\d+\.skip": "conv2d",
            r"block\d+\.skipbn": "batch_normalization",
            r"conv([12])": r"block1_conv\1",
            r"bn([12])": r"block1_conv\1_bn",
            r"conv3\.\w+": "block14_sepconv1",
            "bn3": "block14_sepconv1_bn",
            r"conv4\.\w+": "block14_sepconv2",
            "bn4": "block14_sepconv2_bn",
            "fc": "predictions",
        },
    )


def _inception(name: str, numbers: Mapping[str, int]) -> str:
    if name in ("fc", "classif"):
        return "predictions"
    return "conv2d" if name.endswith(".conv") else "batch_normalization"


def _inception_resnet(name: str, numbers: Mapping[str, int]) -> str:
    match = re.fullmatch(r"(repeat|repeat_1|repeat_2)\.(\d+)\.conv2d", name)
    if match:
        size = {"repeat": 35, "repeat_1": 17, "repeat_2": 8}[match[1]]
        return f"block{size}_{int(match[2]) + 1}_conv"
    ends = {
        "block8.conv2d": "block8_10_conv",
        "conv2d_7b.conv": "conv_7b",
        "conv2d_7b.bn": "conv_7b_bn",
    }
    return ends.get(name) or _inception(name, numbers)


RULES: dict[str, Callable[[str, Mapping[str, int]], str]] = {
    "VGG": _vgg,
    "ResNet": _resnet,
    "ResNetV2": _resnet_v2,
    "MobileNet": _mobilenet,
    "MobileNetV2": _mobilenet_v2,
    "MobileNetV3Large": _mobilenet_v3,
    "DenseNet": _densenet,
    "EfficientNet": _efficientnet,
    "Xception": _xception,
    "InceptionV3": _inception,
    "InceptionResNetV2": _inception_resnet,
}
