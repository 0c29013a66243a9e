"""An all-convolutional network: strides replace pooling, averaging replaces dense layers."""

from __future__ import annotations

from eyesight.models.layers import Network, Shape, Stack, initialise


def allconv(
    shape: Shape, classes: int, *, width: float = 1.0, dropout: float = 0.5, normalise: bool = False
) -> Network:
    """All-CNN-C of Springenberg et al. 2014: 1,369,738 parameters on 32×32×3 with ten classes.

    The paper drops .2 of the input and .5 after each strided layer (`dropout`), has no
    normalisation, pads all 3×3 filters but the last ones, which leaves 6×6 positions to average
    over, and puts a ReLU even on the class maps.
    """
    narrow = max(1, round(96 * width))
    wide = max(1, round(192 * width))
    stack = Stack(shape, normalise="before" if normalise else "none")
    stack.dropout(0.4 * dropout)
    for filters in (narrow, wide):
        stack.conv(filters).conv(filters).conv(filters, stride=2)
        stack.dropout(dropout)
    stack.conv(wide, padding="valid").conv(wide, 1)
    head = Stack(stack.shape).conv(classes, 1).average()
    network = Network(shape, stack.build(), head.build())
    initialise(network, "he")
    return network
