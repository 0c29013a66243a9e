"""Low-quality images: blank, dark, washed out, blurred, framed, tiny content, odd shape.

Every measure is computed per image and compared with a fixed limit. A property of more than a tenth
of the images is not reported: a data set of dark images gives no findings. A blurred image must
also be far from the usual sharpness of the data set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from eyesight.auditing.record import FlawedImage
from eyesight.data.images import Images

SIDE = 64  # at which images are measured
CHUNK = 128  # images at a time
BLANK = 12.0  # grey levels between the darkest and the brightest hundredth
DARK = 64.0  # grey level of the brightest hundredth
WASHED_OUT = 192.0  # grey level of the darkest hundredth
BLURRED = 0.006  # share of the contrast that is finer than a quarter of SIDE
TINY = 0.04  # share of the area that is not background
FRAME = 0.06  # share of the side on both of two opposite edges
FRAMED = 16  # pixels from which on a side may have a frame; a stroke spans smaller images
ODD_SHAPE = 2.5  # times as long as usual, whether upright or across
FLAT = 3.0  # deviation of grey levels along a row that counts as one colour
STEP = 20.0  # grey levels between a frame and the image
STRAIGHT = 0.9  # of the pixels along the end of a frame differ from it
BACKGROUND = 16.0  # grey levels from the colour of the border
CONTENT = 48.0  # grey levels from it, which content reaches somewhere
USUAL = 0.1  # share of a data set that has something, from which on it is no fault of an image
DEVIATIONS = 4.0  # from the median, by quartiles
LEAST = 1e-6  # of a number whose logarithm is taken


def find(
    images: Images,
    shapes: Sequence[tuple[int, int]] | None = None,
    deadline: float = math.inf,
) -> tuple[tuple[FlawedImage, ...], int]:
    """Find low-quality images, by kind, worst first.

    Args:
        images: the prepared images.
        shapes: width and height of each image before it was prepared, or None where all have one.
        deadline: one of time.monotonic(), after which no further images are measured.

    Returns:
        The images, and how many were not measured.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts: list[dict[str, Tensor]] = []
    for rows in torch.split(order, CHUNK):
        if parts and time.monotonic() > deadline:
            break
        parts.append(measure(images.take(rows)))
    measured = sum(len(part["blank"]) for part in parts)
    places, sequence = order[:measured].sort()
    ids = [images.ids[place] for place in places.tolist()]
    columns = {kind: torch.cat([part[kind] for part in parts])[sequence] for kind in LIMITS}
    flaws: list[FlawedImage] = []
    for kind, limit in LIMITS.items():
        flaws += beyond(ids, kind, columns[kind], limit)
    if shapes is not None:
        flaws += odd_shapes(images.ids, shapes)
    return without_echoes(flaws), len(images) - measured


# How far each measure may go: below a positive limit lies a flaw, above a negative one.
LIMITS = {
    "blank": BLANK,
    "dark": DARK,
    "washed out": -WASHED_OUT,
    "blurred": BLURRED,
    "tiny content": TINY,
    "frame": -FRAME,
}


COVERING = ("blank", "dark", "washed out")  # hide the other flaws


def measure(pixels: Tensor) -> dict[str, Tensor]:
    """One value per kind of flaw, from images uint8 n,C,H,W.

    Colours of the same brightness are one grey: where that is blank, the clearest channel is
    measured instead.
    """
    grey = reduced(pixels.float().mean(1, keepdim=True))[:, 0]
    darkest, brightest = ends(grey)
    levels = brightest - darkest
    visible = grey
    blank = levels < BLANK
    if bool(blank.any()):
        visible = grey.clone()
        visible[blank], levels[blank] = clearest(reduced(pixels[blank].float()))
    return {
        "blank": levels,
        "dark": brightest,
        "washed out": darkest,
        "blurred": fineness(visible),
        "tiny content": content(visible),
        "frame": frame(visible),
    }


def reduced(values: Tensor) -> Tensor:
    """Floats n,C,H,W with at most SIDE pixels per side."""
    if values.shape[-1] <= SIDE:
        return values
    return functional.interpolate(values, (SIDE, SIDE), mode="bilinear", antialias=True)


def ends(grey: Tensor) -> Tensor:
    """The grey levels 2,n of the darkest and the brightest hundredth of images n,H,W."""
    return grey.flatten(1).quantile(torch.tensor([0.01, 0.99]), dim=1)


def clearest(colours: Tensor) -> tuple[Tensor, Tensor]:
    """The channel n,H,W of images n,C,H,W with the most levels, and their number n."""
    darkest, brightest = ends(colours.flatten(0, 1))
    levels, channel = (brightest - darkest).reshape(len(colours), -1).max(1)
    return colours[torch.arange(len(colours)), channel], levels


def fineness(grey: Tensor) -> Tensor:
    """The share n of the variance of grey images n,H,W that is lost at a quarter of their side."""
    height, width = grey.shape[1:]
    size = (max(1, height // 4), max(1, width // 4))
    small = functional.adaptive_avg_pool2d(grey[:, None], size)
    coarse = functional.interpolate(small, (height, width), mode="bicubic")[:, 0]
    lost = (grey - coarse).square().mean((1, 2))
    variance: Tensor = grey.flatten(1).var(1)
    return lost / (variance + 1.0)


def content(grey: Tensor) -> Tensor:
    """The share n of the area that the box around everything unlike the border takes.

    1 where the border has more than one colour.
    """
    edge = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)
    colour = edge.median(1).values
    plain = (edge - colour[:, None]).abs().amax(1) < BACKGROUND
    distance = (grey - colour[:, None, None]).abs()
    plain &= distance.amax((1, 2)) >= CONTENT  # else it is faint rather than tiny
    other = distance >= BACKGROUND
    box = extent(other.any(2)) * extent(other.any(1))
    # Nothing at all is blank, which has a name of its own.
    return torch.where(plain & (box > 0), box, torch.ones(len(grey)))


def extent(rows: Tensor) -> Tensor:
    """The share n of a side from the first to the last row that is marked in bool n,H."""
    places = torch.arange(rows.shape[1])
    last = torch.where(rows, places, -1).amax(1)
    first = torch.where(rows, places, rows.shape[1]).amin(1)
    return (last - first + 1).clamp_min(0) / rows.shape[1]


def frame(grey: Tensor) -> Tensor:
    """The share n of the side that bars of one colour take on each of two opposite edges.

    A bar ends at a straight line: across it, most pixels change. What fades into a background of
    the same colour is no bar.
    """
    if min(grey.shape[1:]) < FRAMED:
        return torch.zeros(len(grey))
    upright = torch.minimum(bar(grey), bar(grey.flip(1)))
    turned = grey.transpose(1, 2)
    across = torch.minimum(bar(turned), bar(turned.flip(1)))
    return torch.maximum(upright, across)


def bar(grey: Tensor) -> Tensor:
    """The share n of the height that a bar takes at the top of grey images n,H,W."""
    colour = grey[:, :1].median(2).values
    inside = (grey - colour[:, :, None]).abs().amax(2) < 3 * FLAT
    height = grey.shape[1]
    rows = inside.long().cumprod(1).sum(1)
    below = (rows + 1).clamp_max(height - 1)
    line = grey[torch.arange(len(grey)), below]
    straight = ((line - colour).abs() > STEP).float().mean(1) > STRAIGHT
    return torch.where(straight & (rows < height), rows / height, torch.zeros(len(grey)))


def beyond(ids: Sequence[str], kind: str, values: Tensor, limit: float) -> list[FlawedImage]:
    """The images beyond a limit; empty if too many are."""
    signed = values if limit > 0 else -values
    out = signed < limit
    if float(out.float().mean()) > USUAL:
        return []
    if kind == "blurred":  # a matter of degree, unlike the others
        out &= signed.clamp_min(LEAST).log() < far_below(signed[~out])
    rows = torch.nonzero(out)[:, 0]
    order = rows[signed[rows].argsort(stable=True)]
    return [FlawedImage(ids[row], kind, float(values[row])) for row in order.tolist()]


def far_below(values: Tensor) -> float:
    """DEVIATIONS below the median of the logarithms of positive numbers, by quartiles."""
    logs = values.clamp_min(LEAST).log()
    lower, median = logs.quantile(torch.tensor([0.25, 0.5])).tolist()
    return float(median - DEVIATIONS * (median - lower) / 0.6745)


def odd_shapes(ids: Sequence[str], shapes: Sequence[tuple[int, int]]) -> list[FlawedImage]:
    """Images ODD_SHAPE times as long as is usual in the data set, by their longer side.

    Orientation is ignored.
    """
    ratios = torch.tensor([width / height for width, height in shapes], dtype=torch.float64).log()
    distance = ratios.abs() - ratios.abs().median()
    out = distance > math.log(ODD_SHAPE)
    if float(out.double().mean()) > USUAL:
        return []
    rows = torch.nonzero(out)[:, 0]
    order = rows[distance[rows].argsort(descending=True, stable=True)]
    return [FlawedImage(ids[row], "odd shape", float(ratios[row].exp())) for row in order.tolist()]


def without_echoes(flaws: Sequence[FlawedImage]) -> tuple[FlawedImage, ...]:
    """The flaws without implied ones: a blank image is also dark or blurred."""
    seen: set[str] = set()
    kept = []
    for flaw in flaws:
        if flaw.kind == "odd shape" or flaw.id not in seen:
            kept.append(flaw)
        if flaw.kind in COVERING:
            seen.add(flaw.id)
    return tuple(kept)
