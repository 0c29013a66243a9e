"""The health check of pictures with masks: what every class covers, and everything that is wrong with a picture or its mask by name.

Masks are looked at in their own size, before anything is resized, so that pictures of many sizes can be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eyesight.data import scan
from eyesight.data.decode import BadPicture, Problem
from eyesight.data.masks import legend
from eyesight.data.masks import pairs as masks
from eyesight.data.masks.legend import IGNORED, Key
from eyesight.data.masks.pairs import Pairs
from eyesight.data.masks.prepared import GUESSED, in_classes
from eyesight.data.scan import Scan
from eyesight.recipe import Data
from eyesight.system.progress import Talk, silent

Progress = Callable[[int, int], None]
Counts = npt.NDArray[np.int64]
RARE = 0.001  # of the pixels: a class below it is pointed out


@dataclass(frozen=True, eq=False)
class MaskScan:
    """`pixels[c]` and `pictures[c]`: how many pixels class c covers, and in how many pictures; `ignored` pixels count for nothing."""

    pictures_scan: Scan
    classes: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    pictures: npt.NDArray[np.int64]
    ignored: int
    usable: int
    splits: Counter[str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def shares(self) -> npt.NDArray[np.float64]:
        """The part of the counting pixels that each class covers."""
        return self.pixels / max(1, int(self.pixels.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.pictures_scan.to_dict()
        rows = zip(self.classes, self.shares().tolist(), self.pictures.tolist(), strict=True)
        return {
            **{
                key: found[key]
                for key in ("name", "pictures", "sizes", "modes", "formats", "size", "channels")
            },
            "usable": self.usable,
            "splits": dict(self.splits),
            "classes": {name: {"share": share, "pictures": count} for name, share, count in rows},
            "ignored": self.ignored / max(1, self.ignored + int(self.pixels.sum())),
            "notes": list(self.notes),
            "problems": [vars(problem) for problem in self.problems],
        }


def scan_masks(
    data: str | Data, talk: Talk = silent, progress: Progress = lambda done, total: None
) -> MaskScan:
    """Look at every picture and every mask; raises UserError when there are no pairs, or fewer than two classes."""
    wanted = Data(data, target="mask") if isinstance(data, str) else data
    pairs = masks.open_pairs(wanted, talk)
    count = len(pairs.source.ids)
    pictures = scan.scan_any(pairs.source, lambda done, total: progress(done, 3 * count))
    bad: dict[
        int, Problem
    ] = {}  # not the exceptions, which would keep the masks in which they were raised
    seen = np.zeros(1 << 16, dtype=bool)
    rows = np.flatnonzero(pictures.usable).tolist()
    for done, row in enumerate(rows):
        try:
            seen[np.unique(masks.numbers(pairs, row)).clip(0, len(seen) - 1)] = True
        except BadPicture as problem:
            bad[row] = said(pairs, row, problem)
        progress(count + done + 1, 3 * count)
    key = legend.key(pairs.legend, np.flatnonzero(seen), wanted.ignore, pairs.usual)
    left = [row for row in rows if row not in bad]
    pixels, shown = covered(
        pairs, key, left, bad, lambda done: progress(2 * count + done, 3 * count)
    )
    progress(3 * count, 3 * count)
    found = [problem for _, problem in sorted(bad.items())]
    splits = Counter(str(pairs.source.splits[row]) or "unsplit" for row in left if row not in bad)
    known = len(key.classes)
    return MaskScan(
        pictures,
        key.classes,
        pixels[:known],
        shown[:known],
        int(pixels[IGNORED]),
        splits.total(),
        splits,
        (*pictures.problems, *found),
        tuple(_notes(key, pixels[:known])),
    )


def covered(
    pairs: Pairs,
    key: Key,
    rows: Sequence[int],
    bad: dict[int, Problem],
    progress: Callable[[int], None],
) -> tuple[Counts, Counts]:
    """Pixels of every value in all masks together, and the masks that show it, 256 of each; what cannot be used is added to `bad`.

    Summed up as they come: the counts of each of a million masks would take 2 GB.
    """
    pixels, shown = np.zeros((2, 256), dtype=np.int64)
    for done, row in enumerate(rows, 1):
        try:
            counts = np.bincount(in_classes(masks.numbers(pairs, row), key).ravel(), minlength=256)
            if not counts[:IGNORED].any():
                raise BadPicture("mask", "every pixel of its mask is ignored")
            pixels += counts
            shown += counts > 0
        except BadPicture as problem:
            bad[row] = said(pairs, row, problem)
        progress(done)
    return pixels, shown


def said(pairs: Pairs, row: int, problem: BadPicture) -> Problem:
    """What is wrong with a picture's mask, by name."""
    return Problem(pairs.source.ids[row], problem.kind, problem.detail, fatal=True)


def _notes(key: Key, pixels: npt.NDArray[np.int64]) -> list[str]:
    shares = pixels / max(1, int(pixels.sum()))
    absent = [name for name, count in zip(key.classes, pixels, strict=True) if not count]
    rare = [name for name, share in zip(key.classes, shares, strict=True) if 0 < share < RARE]
    notes = [GUESSED] if key.guessed else []
    notes += [f"no mask shows {', '.join(absent)}"] if absent else []
    return notes + (
        [
            f"less than a thousandth of the pixels: {', '.join(rare)} (--set loss.class_weights=balanced)"
        ]
        if rare
        else []
    )


def describe(found: MaskScan) -> str:
    """The health check for a terminal: classes with their pixels, what the pictures are, every problem by name."""
    bad = len({problem.id for problem in found.problems if problem.fatal})
    left = f", {bad:,} left out" if bad else ""
    lines = [
        f"{found.pictures_scan.name}: {found.usable:,} usable pictures with masks of {len(found.classes)} classes{left}"
    ]
    lines.append(", ".join(f"{split} {count:,}" for split, count in found.splits.items()))
    wide = max(len(name) for name in (*found.classes, "class", "ignored"))
    lines += ["", f"{'class':<{wide}}{'pixels':>10}{'in pictures':>14}"]
    for name, share, count in zip(found.classes, found.shares(), found.pictures, strict=True):
        lines.append(f"{name:<{wide}}{share:>10.2%}{count:>14,}")
    lines += [
        f"{'ignored':<{wide}}{found.to_dict()['ignored']:>10.2%}  of all pixels",
        "",
        *scan.kinds(found.pictures_scan),
    ]
    return "\n".join(
        [*lines, *(f"note: {note}" for note in found.notes), *scan.problem_lines(found.problems)]
    )
