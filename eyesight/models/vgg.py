"""Networks after Simonyan and Zisserman 2014: blocks of 3×3 convolutions, each followed by pooling."""

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

    The article wrote it without activations in the convolutions.
    """
    return _vgg(shape, classes, (64, 128), (2, 2), activation, normalise, dropout, initialise)


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

    The article's version has no activations and no normalisation between its convolutions, and collapses to one class;
    with `activation=relu` and `normalise=True` the same shape trains.
    """
    return _vgg(
        shape,
        classes,
        (64, 128, 256, 512, 512),
        (2, 2, 3, 3, 3),
        activation,
        normalise,
        dropout,
        initialise,
    )


def _vgg(
    shape: Shape,
    classes: int,
    filters: Sequence[int],
    depths: Sequence[int],
    act: str,
    normalise: bool,
    dropout: float,
    how: str,
) -> Network:
    body = blocks(
        Stack(shape, act=act, normalise="before" if normalise else "none"), filters, depths
    )
    body.dense(4096, act="relu").dropout(dropout).dense(1000, act="relu")
    return finish(shape, body, classes, how=how)


def mixup_cnn(
    shape: Shape, classes: int, *, dropout: float = 0.8, initialise: str = "glorot"
) -> Network:
    """Four blocks of two convolutions, global average pooling, FC256 with dropout .8: 4,823,114 parameters on 32×32×3.

    Normalisation follows the activation, as the team wrote it.
    """
    body = blocks(Stack(shape, normalise="after"), (64, 128, 256, 512), (2, 2, 2, 2)).average()
    body.dense(256).dropout(dropout)
    return finish(shape, body, classes, how=initialise)


def deep_mixup_cnn(
    shape: Shape, classes: int, *, dropout: float = 0.5, initialise: str = "glorot"
) -> Network:
    """Blocks of three, three, four and four convolutions, global average pooling, FC256, FC64: 10,925,386 parameters."""
    body = blocks(Stack(shape, normalise="after"), (64, 128, 256, 512), (3, 3, 4, 4)).average()
    body.dense(256).dropout(dropout).dense(64).dropout(dropout)
    return finish(shape, body, classes, how=initialise)
