"""How much of the paper's light each pixel is missing: ink, whatever shadow lies on the paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.float64]  # H,W from 0 to 255
Mask = NDArray[np.bool_]  # H,W
BLACK = (
    8.0  # grey levels added on both sides of a ratio: in a dark shadow noise would look like ink
)
FAINTEST = 0.07  # of the paper's light; what takes less is the paper's texture
NOISE = 4.0  # standard deviations above the paper


def absorption(values: Grey, reach: int) -> NDArray[np.float64]:
    """Share of the paper's light that is missing, H,W from 0 to 1.

    The paper's light is a grey closing of `reach` pixels, which must be wider than a stroke. It
    fills strokes in and follows shadows, also those with a sharp edge. Of two closings the darker
    counts: the smoothed one is not lifted by noise, the other keeps to the edge of a shadow.
    """
    sharp = ndimage.gaussian_filter(values, 0.7)
    smooth = ndimage.gaussian_filter(values, 2.0)
    paper = np.minimum(closing(smooth, reach), closing(sharp, reach))
    absorbed: NDArray[np.float64] = np.clip(1 - (sharp + BLACK) / (paper + BLACK), 0, 1)
    return absorbed


def closing(values: Grey, reach: int) -> Grey:
    """Grey closing: dark structures narrower than `reach` pixels are filled in."""
    light: Grey = ndimage.minimum_filter(ndimage.maximum_filter(values, reach), reach)
    return light


def ink_level(absorbed: NDArray[np.float64]) -> float:
    """The absorption above which a pixel may be ink, from the noise of the paper around it."""
    return float(np.median(absorbed)) + max(FAINTEST, NOISE * deviation(absorbed))


def deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation of the noise, from the middle half: ink does not count."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
