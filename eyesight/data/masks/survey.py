"""What values all masks of a data set hold, and which classes these are.

What cannot be used, by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eyesight.data.decode import BadPicture, Problem
from eyesight.data.masks import legend
from eyesight.data.masks.legend import IGNORED, Key
from eyesight.data.masks.mask_file import Mask, Values, class_numbers
from eyesight.data.masks.pairs import Pairs
from eyesight.errors import UserError

VALUES = 1 << 16
REACH = 20  # grey values around a real one that smoothing or JPEG may give
PEAK = 0.005  # of the pixels that a real value covers at least, to draw its neighbours to it
REAL = 0.5  # of the pixels hold exactly a real value
NEAR = 0.9  # of the pixels must lie that near to real values
SCATTERED = 0.3  # of a rare value's pixels without a neighbour of its value: noise, no region
RARE = 0.01  # of the pixels
MOST_GREYS = 15  # steps of grey; more are numbers


@dataclass
class Survey:
    """The key of the values, and the rows whose mask cannot be used, each with its problem."""

    key: Key
    bad: dict[int, Problem] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Tally:
    """Counts over all masks.

    Pixels of each value, those without a like neighbour, palettes' colours.
    """

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(VALUES, np.int64))
    scattered: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(VALUES, np.int64))
    colour_of: dict[int, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    transparent: int = 0

    def add(self, numbers: Values) -> None:
        """Count the values of one mask."""
        clipped = np.clip(numbers, 0, VALUES - 1).astype(np.int64)
        self.pixels += np.bincount(clipped.ravel(), minlength=VALUES)
        alone = clipped[_without_like_neighbour(clipped)]
        self.scattered += np.bincount(alone, minlength=VALUES)

    def add_palette(self, mask: Mask, name: str) -> None:
        """Hold the colours of a mask's palette against those of the masks before.

        Raises UserError where one number has two colours: then numbers say nothing, and no legend
        says what the colours mean.
        """
        if mask.palette is None:
            return
        for number in np.unique(mask.values).tolist():
            colour = tuple(mask.palette[number].tolist())
            first, first_name = self.colour_of.setdefault(number, (colour, name))
            if first != colour and number != IGNORED:
                raise UserError(
                    f"the palettes of the masks differ: {number} is {first} in the mask of "
                    f"{first_name}, but {colour} in that of {name}",
                    "add a classes.csv with lines such as road,128,64,128 beside the masks to "
                    "read them by colour, or a classes.txt of names to read them by number",
                )


def _count(
    pairs: Pairs, rows: Sequence[int], progress: Callable[[int], None]
) -> tuple[_Tally, dict[int, Problem]]:
    """The values of these masks, and the problems of those that cannot be used."""
    tally = _Tally()
    bad: dict[int, Problem] = {}  # not the exceptions, which would keep the masks in memory
    for place, row in enumerate(rows):
        try:
            mask = pairs.mask(row)
            if pairs.legend is None:
                tally.add_palette(mask, pairs.source.ids[row])
            if mask.transparent is not None:
                tally.transparent += 1
            tally.add(class_numbers(mask, pairs.legend))
        except BadPicture as problem:
            bad[place] = as_problem(pairs, row, problem)
        progress(place + 1)
    return tally, bad


def survey(
    pairs: Pairs,
    rows: Sequence[int],
    ignore: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Survey:
    """Look at the masks of these rows of the source; `bad` counts in places of `rows`.

    Raises UserError where no mask can be used, with the reasons, where fewer than two classes are
    left, and where values are noise that cannot be undone.
    """
    tally, bad = _count(pairs, rows, progress)
    if len(bad) == len(rows):
        raise _none_usable(pairs, bad)
    notes: list[str] = []
    seen = np.flatnonzero(tally.pixels)
    snapped = _snap(tally) if pairs.legend is None else None
    if snapped is not None:
        seen = np.unique(snapped[snapped >= 0])
        notes.append(
            f"the masks have {int((tally.pixels > 0).sum())} values, as after smoothing or "
            f"JPEG; each is rounded to the nearest of {', '.join(map(str, seen.tolist()))}"
        )
    if pairs.legend is None and "255" in ignore.split() and is_grey_scale(seen):
        ignore = " ".join(word for word in ignore.split() if word != "255")
        notes.append(
            f"the masks have only {', '.join(map(str, seen[:-1].tolist()))} and 255, so 255 is "
            "a class and not ignored"
        )
    if tally.transparent:
        notes.append(f"transparent pixels (in {tally.transparent:,} masks) are background")
    key = legend.key(pairs.legend, seen, ignore, pairs.usual)
    if snapped is not None:
        places = np.where(snapped >= 0, key.places[snapped.clip(0)], -1)
        key = replace(key, places=places)
    return Survey(key, bad, notes)


def is_grey_scale(values: npt.NDArray[np.int64]) -> bool:
    """Whether values divide 0 to 255 evenly, as 0 and 255 or 0, 127 and 255 do."""
    steps = len(values) - 1
    if not 1 <= steps <= MOST_GREYS or values[0] != 0 or values[-1] != IGNORED:
        return False
    even = np.arange(steps + 1) * IGNORED / steps
    return bool((np.abs(values - even) <= 1).all())


def as_problem(pairs: Pairs, row: int, problem: BadPicture) -> Problem:
    """What is wrong with an image's mask, by name."""
    return Problem(pairs.source.ids[row], problem.kind, problem.detail, fatal=True)


def in_classes(mask: Mask, pairs: Pairs, key: Key) -> npt.NDArray[np.uint8]:
    """A mask as class numbers H,W, 255 where ignored.

    Raises BadPicture for a value that is no class.
    """
    values = class_numbers(mask, pairs.legend)
    clipped = np.clip(values, 0, len(key.places) - 1).astype(np.int64)
    classes = key.places[clipped]
    wrong = (classes < 0) | (clipped != values)
    if wrong.any():
        strange = np.unique(np.asarray(values)[wrong])
        shown = ", ".join(map(str, strange[:5].tolist()))
        raise BadPicture(
            "mask value",
            f"its mask has {shown}, but there are {len(key.classes)} classes: use --set "
            f"data.ignore={strange[0]} to ignore it",
        )
    if (classes == IGNORED).all():
        raise BadPicture("mask", "every pixel of its mask is ignored")
    return classes.astype(np.uint8)


def _without_like_neighbour(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Pixels that differ from all four neighbours."""
    alike = np.zeros(values.shape, dtype=bool)
    down = values[1:] == values[:-1]
    alike[1:] |= down
    alike[:-1] |= down
    across = values[:, 1:] == values[:, :-1]
    alike[:, 1:] |= across
    alike[:, :-1] |= across
    return ~alike


def _snap(tally: _Tally) -> npt.NDArray[np.int64] | None:
    """Value → the real value it stands for, −1 for values that do not occur; None for clean masks.

    Masks are noisy where rare values are scattered instead of covering regions, as after smoothing,
    resizing or JPEG. Raises UserError for noise without a few real values that stand apart.
    """
    counts = tally.pixels
    total = int(counts.sum())
    rare = (counts > 0) & (counts < RARE * total)
    in_rare = int(counts[rare].sum())
    scattered = int(tally.scattered.sum())
    noisy_throughout = (counts > 0).sum() >= 8 and scattered > SCATTERED * total
    noisy_edges = rare.sum() >= 4 and tally.scattered[rare].sum() > SCATTERED * in_rare
    if not noisy_throughout and not noisy_edges:
        return None
    values = np.flatnonzero(counts)
    peaks = [
        value
        for value in values.tolist()
        if counts[value] >= PEAK * total
        and counts[value] == counts[max(0, value - REACH) : value + REACH + 1].max()
    ]
    real = np.array(peaks, dtype=np.int64)
    if len(real) > 1:
        nearest = real[np.abs(values[:, None] - real[None]).argmin(axis=1)]
        near = int(counts[values[np.abs(values - nearest) <= REACH]].sum())
        stand_apart = counts[real].sum() >= REAL * total
        if stand_apart and near >= NEAR * total:
            snapped = np.full(VALUES, -1, dtype=np.int64)
            snapped[values] = nearest
            return snapped
    raise UserError(
        f"the masks have {len(values)} values from {values[0]} to {values[-1]}, most of them in "
        "scattered pixels, as after smoothing, resizing or JPEG",
        "save the masks as PNG with one number per class, resized with nearest neighbour",
    )


def _none_usable(pairs: Pairs, bad: dict[int, Problem]) -> UserError:
    """The error when no mask can be used, with the reasons and how often each."""
    details = Counter(problem.detail for problem in bad.values())
    reasons = "; ".join(f"{count:,} × {detail}" for detail, count in details.most_common(3))
    return UserError(
        f"no mask of {pairs.source.name} is usable: {reasons}", "`eyesight data` names every file"
    )
