"""Count parameters and operations of layers given as "256x256x3 conv3x64/2 conv5x128/2"."""

from __future__ import annotations

import re

from torch import nn

from eyesight.errors import UserError
from eyesight.models.layers import PaddingMode, Shape, Stack

INPUT = re.compile(r"(\d+)x(\d+)x(\d+)")
CONVOLUTION = re.compile(r"conv(\d+)x(\d+)(?:/(\d+))?(?:-(valid|replicate))?")
POOL = re.compile(r"(max|average)(\d+)(?:/(\d+))?")
DENSE = re.compile(r"fc(\d+)")
DROPOUT = re.compile(r"dropout(0?\.\d+)")
EXAMPLE = (
    '"256x256x3 conv3x64/2 max2 conv5x128-replicate average2/2 fc10 dropout.5": height, width and '
    "channels, then convolutions of kernel x filters / stride, pools of kernel / stride"
)


def sketch(text: str) -> tuple[nn.Sequential, Shape]:
    """Parse a line into layers and the input shape C,H,W.

    Convolutions are padded with zeros so that stride 1 keeps the size; "-valid" pads nothing,
    "-replicate" repeats the border. Raises UserError for an unknown word.
    """
    words = text.lower().replace("×", "x").split()
    size = INPUT.fullmatch(words[0]) if words else None
    if size is None or len(words) < 2:
        raise UserError(f"cannot read the layers {text!r}", f"write them as {EXAMPLE}", code=2)
    height, width, channels = map(int, size.groups())
    shape = (channels, height, width)
    stack = Stack(shape, act="linear")
    for word in words[1:]:
        _add(stack, word)
    return stack.build(), shape


def _add(stack: Stack, word: str) -> None:
    if match := CONVOLUTION.fullmatch(word):
        kernel, filters, stride, border = match.groups()
        mode: PaddingMode = "replicate" if border == "replicate" else "zeros"
        padding = 0 if border == "valid" else int(kernel) // 2
        stack.conv(
            int(filters),
            int(kernel),
            stride=int(stride or 1),
            padding=padding,
            padding_mode=mode,
        )
    elif match := POOL.fullmatch(word):
        name, kernel, stride = match.groups()
        pool = nn.MaxPool2d if name == "max" else nn.AvgPool2d
        stack.add(pool(int(kernel), int(stride or kernel)))
    elif match := DENSE.fullmatch(word):
        stack.dense(int(match[1]))
    elif match := DROPOUT.fullmatch(word):
        stack.dropout(float(match[1]))
    else:
        raise UserError(f"cannot read the layer {word!r}", f"write layers as {EXAMPLE}", code=2)
