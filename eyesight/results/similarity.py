"""How alike two pictures are: PSNR and SSIM, both scikit-image's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
BEST = 100.0  # dB of a picture restored to the last bit, where PSNR would be infinite
WINDOW = 7  # side of the squares in which SSIM compares


def psnr(true: Floats, restored: Floats) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each pair of pictures from 0 to 1, N,C,H,W; at most 100."""
    from skimage.metrics import peak_signal_noise_ratio  # takes a second to import

    with np.errstate(divide="ignore"):
        values = [
            peak_signal_noise_ratio(one, other, data_range=1.0)  # type: ignore[no-untyped-call]
            for one, other in zip(true, restored, strict=True)
        ]
    return np.minimum(np.array(values, dtype=np.float64), BEST)


def ssim(true: Floats, restored: Floats) -> npt.NDArray[np.float64]:
    """Structural similarity, 1 for equal pictures, of each pair from 0 to 1, N,C,H,W (Wang et al. 2004, uniform squares of 7 pixels)."""
    from skimage.metrics import structural_similarity

    side = min(WINDOW, *(length - 1 + length % 2 for length in true.shape[2:]))
    if side < 3:
        return np.full(len(true), np.nan)
    return np.array(
        [
            structural_similarity(one, other, data_range=1.0, channel_axis=0, win_size=side)  # type: ignore[no-untyped-call]
            for one, other in zip(true, restored, strict=True)
        ],
        dtype=np.float64,
    )
