"""Networks after Simonyan and Zisserman 2014: blocks of 3×3 convolutions, each followed by pooling."""

from __future__ import annotations

from collections.abc import Sequence

from eyesight.models.layers import Network, Shape, Stack
from eyesight.models.lenet import finish


def blocks(stack: Stack, filters: Sequence[int], depths: Sequence[int]) -> Stack:
    """For each block, `depth` convolutions of that many filters, then 2×2 max pooling."""
    for count, depth in zip(filters, depths, strict=True):
        for _ in range(depth):
            stack.conv(count)
        stack.pool()
    return stack


def small_vgg(shape: Shape, classes: int, *, activation: str = "linear", dropout: float = 0.5) -> Network:
    """Two blocks of two convolutions, FC4096, FC1000; the article wrote it without activations in the convolutions."""
    body = blocks(Stack(shape, act=activation), (64, 128), (2, 2))
    body.dense(4096, act="relu").dropout(dropout).dense(1000, act="relu")
    return finish(shape, body, classes)


def vgg16(
    shape: Shape,
    classes: int,
    *,
    activation: str = "linear",
    normalise: bool = False,
    dropout: float = 0.5,
    initialise: str = "glorot",
) -> Network:
    """Thirteen convolutions in five blocks, FC4096, FC1000.

    The article's version has no activations and no normalisation between its convolutions, and collapses to one class;
    with `activation=relu` and `normalise=True` the same shape trains.
    """
    body = blocks(Stack(shape, act=activation, normalise=normalise), (64, 128, 256, 512, 512), (2, 2, 3, 3, 3))
    body.normalise = False
    body.dense(4096, act="relu").dropout(dropout).dense(1000, act="relu")
    return finish(shape, body, classes, how=initialise)


def mixup_cnn(shape: Shape, classes: int, *, dropout: float = 0.8) -> Network:
    """Four blocks of two normalised convolutions, global average pooling, FC256 with dropout .8."""
    body = blocks(Stack(shape, normalise=True), (64, 128, 256, 512), (2, 2, 2, 2)).average()
    body.dense(256).dropout(dropout)
    return finish(shape, body, classes)


def deep_mixup_cnn(shape: Shape, classes: int, *, dropout: float = 0.5) -> Network:
    """Blocks of three, three, four and four normalised convolutions, global average pooling, FC256, FC64."""
    body = blocks(Stack(shape, normalise=True), (64, 128, 256, 512), (3, 3, 4, 4)).average()
    body.dense(256).dropout(dropout).dense(64).dropout(dropout)
    return finish(shape, body, classes)
