"""Networks after Simonyan and Zisserman 2014: blocks of 3×3 convolutions with pooling between."""

from __future__ import annotations

from collections.abc import Sequence

from eyesight.models.layers import Network, Shape, Stack, finish


def blocks(stack: Stack, filters: Sequence[int], depths: Sequence[int]) -> Stack:
    """For each block, `depth` convolutions of that many filters, then 2×2 max pooling."""
    for count, depth in zip(filters, depths, strict=True):
        for _ in range(depth):
            stack.conv(count)
        stack.pool()
    return stack


def small_vgg(
    shape: Shape,
    classes: int,
    *,
    activation: str = "linear",
    normalise: bool = False,
    dropout: float = 0.5,
    initialise: str = "glorot",
) -> Network:
    """Two blocks of two convolutions, FC4096, FC1000: 37,925,698 parameters on 32×32×3.

    The article's version has no activations after its convolutions.
    """
    stack = _stack(shape, activation, normalise)
    blocks(stack, (64, 128), (2, 2))
    return _vgg_head(shape, stack, classes, dropout, initialise)


def vgg16(
    shape: Shape,
    classes: int,
    *,
    activation: str = "linear",
    normalise: bool = False,
    dropout: float = 0.5,
    initialise: str = "glorot",
) -> Network:
    """Thirteen convolutions in five blocks, FC4096, FC1000: 20,922,946 parameters on 32×32×3.

    The article's version has neither activations nor normalisation between its convolutions, and
    collapses to one class; with `activation=relu` and `normalise=True` the same shape trains.
    """
    stack = _stack(shape, activation, normalise)
    blocks(stack, (64, 128, 256, 512, 512), (2, 2, 3, 3, 3))
    return _vgg_head(shape, stack, classes, dropout, initialise)


def _stack(shape: Shape, activation: str, normalise: bool) -> Stack:
    return Stack(shape, act=activation, normalise="before" if normalise else "none")


def _vgg_head(shape: Shape, stack: Stack, classes: int, dropout: float, scheme: str) -> Network:
    stack.dense(4096, act="relu").dropout(dropout).dense(1000, act="relu")
    return finish(shape, stack, classes, scheme=scheme)


def mixup_cnn(
    shape: Shape, classes: int, *, dropout: float = 0.8, initialise: str = "glorot"
) -> Network:
    """Four blocks of two convolutions, global average pooling, FC256 with dropout .8.

    4,823,114 parameters on 32×32×3. Normalisation follows the activation, as the team wrote it.
    """
    stack = Stack(shape, normalise="after")
    blocks(stack, (64, 128, 256, 512), (2, 2, 2, 2)).average()
    stack.dense(256).dropout(dropout)
    return finish(shape, stack, classes, scheme=initialise)


def deep_mixup_cnn(
    shape: Shape, classes: int, *, dropout: float = 0.5, initialise: str = "glorot"
) -> Network:
    """Blocks of three, three, four and four convolutions, global average pooling, FC256, FC64.

    10,925,386 parameters on 32×32×3.
    """
    stack = Stack(shape, normalise="after")
    blocks(stack, (64, 128, 256, 512), (3, 3, 4, 4)).average()
    stack.dense(256).dropout(dropout).dense(64).dropout(dropout)
    return finish(shape, stack, classes, scheme=initialise)
