"""The font network: stacks of 1×1, 3×3, 1×1 convolutions without shortcuts."""

from __future__ import annotations

from eyesight.models.layers import Network, Shape, Stack, finish


def bottleneck(
    shape: Shape,
    classes: int,
    *,
    dropout: float = 0.5,
    initialise: str = "he",
    softmax: bool = False,
) -> Network:
    """The term project's network: 2,636,148 parameters on 90×90×1 with 52 classes.

    Every convolution has a bias and is batch-normalised. The first dropout has the rate
    `dropout`, the second .6 of it. `softmax` restores the original error, which kept the loss above
    ln(e+51)−1.
    """
    stack = Stack(shape, normalise="before")
    stack.conv(16, 7, padding=3).pool(3, 2, 1)
    for narrow, wide in ((16, 32), (32, 128), (128, 256), (256, 512)):
        for _ in range(2):
            stack.conv(narrow, 1).conv(narrow, 3).conv(wide, 1)
        if wide < 512:
            stack.pool()
        else:
            stack.average(2)
    stack.dropout(dropout).dense(256, normalise=True).dropout(0.6 * dropout)
    return finish(shape, stack, classes, softmax, initialise)
