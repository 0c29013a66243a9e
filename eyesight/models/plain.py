"""Plain published networks: convolutions, pooling, dropout, dense layers."""

from __future__ import annotations

from eyesight.models.layers import Network, Shape, Stack, finish

SMALLEST_POOLED = 8  # pixels of the shorter side


def dropout_cnn(
    shape: Shape,
    classes: int,
    *,
    dropout: float = 0.5,
    activation: str = "relu",
    initialise: str = "glorot",
    softmax: bool = False,
) -> Network:
    """Two pairs of valid 3×3 convolutions and FC512.

    890,410 parameters on 32×32×3, 594,922 on 28×28×1. The last dropout has the
    rate `dropout`, the two before it half of it; 0 switches them off, to show what they prevent.
    """
    stack = Stack(shape, act=activation, padding="valid")
    stack.conv(32).conv(32).pool().dropout(0.5 * dropout)
    stack.conv(64).conv(64).pool().dropout(0.5 * dropout)
    stack.dense(512).dropout(dropout)
    return finish(shape, stack, classes, softmax, initialise)


def small_cnn(shape: Shape, classes: int, *, dropout: float = 0.2) -> Network:
    """Three 3×3 convolutions and FC128 for images of any size, pooled down to 8 pixels.

    160,554 parameters on 8×8×1 with ten classes.
    """
    stack = Stack(shape)
    stack.conv(32).conv(32)
    for filters in (64, 64, 64):
        if min(stack.shape[1:]) < SMALLEST_POOLED:
            break
        stack.pool().conv(filters)
    stack.dense(128).dropout(dropout)
    return finish(shape, stack, classes)


def baseline_cnn(
    shape: Shape,
    classes: int,
    *,
    activation: str = "linear",
    dropout: float = 0.2,
    initialise: str = "glorot",
) -> Network:
    """Two valid convolutions without activation, pooling of stride 1, FC64 and FC32.

    1,407,178 parameters on 32×32×3.
    """
    stack = Stack(shape, act=activation, padding="valid")
    stack.conv(64).pool(2, 1).conv(32).pool(2, 1)
    stack.dense(64, act="relu").dropout(dropout)
    stack.dense(32, act="relu").dropout(dropout)
    return finish(shape, stack, classes, scheme=initialise)


def basic_cnn(
    shape: Shape,
    classes: int,
    *,
    dropout: float = 0.5,
    activation: str = "relu",
    initialise: str = "glorot",
) -> Network:
    """Three convolutions with pooling and dropout .23, FC1024 with `dropout`.

    549,898 parameters on 32×32×3.
    """
    stack = Stack(shape, act=activation, padding="same")
    for filters in (16, 32, 32):
        stack.conv(filters).pool().dropout(0.23)
    stack.dense(1024).dropout(dropout)
    return finish(shape, stack, classes, scheme=initialise)
