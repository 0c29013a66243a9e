"""The health check of images with masks: what every class covers, and every problem by name.

Masks are checked in their own size, before anything is resized, so that images of many sizes can be
checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eyesight.data import scan
from eyesight.data.decode import BadPicture, Problem, left_out_by_kind
from eyesight.data.masks.legend import IGNORED, Key
from eyesight.data.masks.pairs import Pairs, open_pairs
from eyesight.data.masks.prepared import GUESSED
from eyesight.data.masks.survey import as_problem, in_classes, survey
from eyesight.data.scan import Scan
from eyesight.recipe import Data
from eyesight.system.progress import Talk, silent

Progress = Callable[[int, int], None]
Counts = npt.NDArray[np.int64]
SINGLE_CLASS = 0.1  # of the masks
RARE = 0.001  # of the pixels: a class below it is pointed out


@dataclass(frozen=True, eq=False)
class MaskScan:
    """What the masks of a data set show.

    `pixels[c]` and `shown[c]` are how many pixels class c covers, and in how many masks; `ignored`
    pixels count for nothing.
    """

    images: Scan
    classes: tuple[str, ...]
    pixels: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]
    ignored: int
    usable: int
    splits: Counter[str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def shares(self) -> npt.NDArray[np.float64]:
        """The part of the counting pixels that each class covers."""
        return self.pixels / max(1, int(self.pixels.sum()))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        scan = self.images.to_dict()
        rows = zip(self.classes, self.shares().tolist(), self.shown.tolist(), strict=True)
        return {
            **{
                key: scan[key]
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
    """Look at every image and every mask.

    Raises UserError when there are no pairs, or fewer than two classes.
    """
    if isinstance(data, str):
        data = Data(data, target="mask")
    pairs = open_pairs(data, talk)
    count = len(pairs.source.ids)
    images = scan.scan_any(pairs.source, lambda done, total: progress(done, 3 * count))
    rows = np.flatnonzero(images.usable).tolist()
    surveyed = survey(pairs, rows, data.ignore, lambda done: progress(count + done, 3 * count))
    key = surveyed.key
    bad = {rows[place]: problem for place, problem in surveyed.bad.items()}
    left = [row for row in rows if row not in bad]
    pixels, shown, single_class = count_pixels(
        pairs, key, left, bad, lambda done: progress(2 * count + done, 3 * count)
    )
    progress(3 * count, 3 * count)
    splits = Counter(str(pairs.source.splits[row]) or "unsplit" for row in left if row not in bad)
    class_count = len(key.classes)
    return MaskScan(
        images,
        key.classes,
        pixels[:class_count],
        shown[:class_count],
        int(pixels[IGNORED]),
        splits.total(),
        splits,
        (*images.problems, *(problem for _, problem in sorted(bad.items()))),
        (
            *pairs.source.notes,
            *surveyed.notes,
            *_notes(key, pixels[:class_count], shown[:class_count]),
            *_single_class_masks(single_class, splits.total()),
        ),
    )


def count_pixels(
    pairs: Pairs,
    key: Key,
    rows: Sequence[int],
    bad: dict[int, Problem],
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Counts, Counts, int]:
    """Pixels of every value in all masks together, and the masks that show it, 256 of each.

    The third value counts masks of one class in which the other pixels are ignored.

    What cannot be used is added to `bad`. Summed up as they come: the counts of each of a million
    masks would take 2 GB.
    """
    pixels = np.zeros(256, dtype=np.int64)
    shown = np.zeros(256, dtype=np.int64)
    single_class = 0
    for done, row in enumerate(rows, 1):
        try:
            classes = in_classes(pairs.mask(row), pairs, key)
            counts = np.bincount(classes.ravel(), minlength=256)
            pixels += counts
            shown += counts > 0
            single_class += bool(counts[IGNORED]) and np.count_nonzero(counts) == 2
        except BadPicture as problem:
            bad[row] = as_problem(pairs, row, problem)
        progress(done)
    return pixels, shown, single_class


def _single_class_masks(single_class: int, masks: int) -> list[str]:
    """A note where many masks have one class and ignored pixels alone: 255 may mean a class."""
    if single_class <= SINGLE_CLASS * masks:
        return []
    return [
        f"{single_class:,} of {masks:,} masks have one class only, and all other pixels are "
        "ignored: if 255 is a class in them, save them with the number of the class"
    ]


def _notes(key: Key, pixels: Counts, shown: Counts) -> list[str]:
    """What to know about the classes: guessed names, classes that no mask shows, rare ones."""
    shares = pixels / max(1, int(pixels.sum()))
    absent = [name for name, count in zip(key.classes, pixels, strict=True) if not count]
    rare = [name for name, share in zip(key.classes, shares, strict=True) if 0 < share < RARE]
    notes = []
    if key.guessed:
        notes.append(GUESSED)
    if absent:
        notes.append(f"classes in no mask: {', '.join(absent)}")
    single = [name for name, count in zip(key.classes, shown, strict=True) if count == 1]
    if len(single) > 5 and 2 * len(single) > len(key.classes):
        notes.append(
            f"{len(single):,} of {len(key.classes):,} classes occur in only one mask, as if "
            "every object had its own number; eyesight needs class numbers"
        )
    if rare:
        notes.append(
            f"classes with less than 0.1 % of the pixels: {', '.join(rare)} (use --set "
            "loss.class_weights=balanced, or data.ignore for stray values)"
        )
    return notes


def describe(result: MaskScan) -> str:
    """The check as text: classes with their pixels, what the images are, every problem by name."""
    bad = sum(left_out_by_kind(result.problems).values())
    title = (
        f"{result.images.name}: {result.usable:,} usable images with masks of "
        f"{len(result.classes)} classes"
    )
    if bad:
        title += f", {bad:,} left out"
    width = max(len(name) for name in (*result.classes, "class", "ignored"))
    lines = [
        title,
        ", ".join(f"{split} {count:,}" for split, count in result.splits.items()),
        "",
        f"{'class':<{width}}{'pixels':>10}{'in images':>14}",
    ]
    for name, share, count in zip(result.classes, result.shares(), result.shown, strict=True):
        lines.append(f"{name:<{width}}{share:>10.2%}{count:>14,}")
    ignored = result.ignored / max(1, result.ignored + int(result.pixels.sum()))
    lines.append(f"{'ignored':<{width}}{ignored:>10.2%}  of all pixels")
    lines.append("")
    lines += scan.kinds(result.images)
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join([*lines, *scan.problem_lines(result.problems)])
