"""The health check of a data set: what it holds, and everything that is wrong with it by name.

Reading, hashing and decoding share one pass with preparing, because reading twice costs as much as the decoding itself.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyesight.data.decode import DEEP
from eyesight.data.duplicates import settle_duplicates
from eyesight.data.prepare import (
    BadPicture,
    Decoded,
    Pixels,
    Preparation,
    Problem,
    from_array,
    quiet,
    read,
    to_pixels,
)
from eyesight.errors import UserError, listed
from eyesight.system.memory import cores

if TYPE_CHECKING:
    from eyesight.data.opening import Source

Progress = Callable[[int, int], None]

SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".gif": "GIF",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
AT_ONCE = 16  # pictures a thread takes at a time: one by one, handing over costs as much as decoding a small picture


@dataclass(frozen=True, eq=False)
class Found:
    """What one picture turned out to be."""

    digest: str
    size: tuple[int, int] = (0, 0)  # width, height, upright
    mode: str = ""
    format: str = ""
    grey: bool = False
    notes: tuple[tuple[str, str], ...] = ()
    bad: BadPicture | None = None
    pixels: Pixels | None = None
    depth: int = 0  # bits that grey samples of 16 bits use


@dataclass(frozen=True, eq=False)
class Scan:
    """What a data set holds, and everything that is wrong with it by name."""

    name: str
    classes: tuple[str, ...]
    counts: dict[
        str, dict[str, int]
    ]  # class → split → usable pictures; "unsplit" where the data does not say
    sizes: Counter[tuple[int, int]]  # (width, height)
    modes: Counter[str]
    formats: Counter[str]
    problems: tuple[Problem, ...]
    usable: NDArray[np.bool_]  # N
    digests: list[str]  # sha256 of the file's bytes, or of shape and pixels
    height: int  # 0 when pictures differ
    width: int
    channels: int  # 1 when every usable picture is grey, else 3
    notes: tuple[str, ...] = ()  # which folders, columns and splits were used

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the digests."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "pictures": len(self.usable),
            "usable": int(self.usable.sum()),
            "counts": self.counts,
            "sizes": {
                f"{width}x{height}": count for (width, height), count in self.sizes.most_common()
            },
            "modes": dict(self.modes.most_common()),
            "formats": dict(self.formats.most_common()),
            "size": [self.height, self.width],
            "channels": self.channels,
            "notes": list(self.notes),
            "problems": [vars(problem) for problem in self.problems],
        }


class Findings:
    """What is known of a source's pictures so far; filled in order, then judged as a whole."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.digests: list[str] = []
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.problems: list[Problem] = list(source.problems)
        self.usable = np.zeros(len(source.ids), dtype=bool)
        self.colour = False
        self.depth = 0  # the most bits that grey samples of 16 bits use; 0 when there are none

    def add(self, found: Found) -> None:
        """The next picture."""
        index, name = len(self.digests), self.source.ids[len(self.digests)]
        self.digests.append(found.digest)
        if found.bad:
            self.problems.append(Problem(name, found.bad.kind, found.bad.detail, fatal=True))
            return
        self.problems += [Problem(name, kind, detail, fatal=False) for kind, detail in found.notes]
        expected = SUFFIXES.get("." + name.rpartition(".")[2].lower(), found.format)
        if found.format and expected != found.format:
            self.problems.append(
                Problem(name, "wrong_extension", f"holds {found.format}", fatal=False)
            )
        self.sizes[found.size] += 1
        self.modes[found.mode] += 1
        self.formats[found.format or "array"] += 1
        self.colour = self.colour or not found.grey
        self.depth = max(self.depth, found.depth)
        self.usable[index] = True

    def add_arrays(self, pixels: Pixels) -> None:
        """The next pictures at once, from N,C,H,W."""
        count, channels, height, width = pixels.shape
        self.usable[len(self.digests) : len(self.digests) + count] = True
        self.digests += array_digests(pixels)
        self.sizes[(width, height)] += count
        self.modes[{1: "L", 4: "RGBA"}.get(channels, "RGB")] += count
        self.formats["array"] += count
        self.colour = channels > 1

    def judged(self) -> Scan:
        """The whole: duplicates settled, pictures counted."""
        source = self.source
        self._say_depth()
        unlabelled = np.flatnonzero(self.usable & (source.labels < 0))
        self.usable[unlabelled] = False
        self.problems += [
            Problem(source.ids[index], "unlabelled", "no class is given", fatal=True)
            for index in unlabelled
        ]
        for index, problem in settle_duplicates(source, self.digests, self.usable):
            self.problems.append(problem)
            self.usable[index] &= not problem.fatal
        width, height = next(iter(self.sizes)) if len(self.sizes) == 1 else (0, 0)
        counts = count(source.classes, source.labels[self.usable], source.splits[self.usable])
        return Scan(
            name=source.name,
            classes=source.classes,
            counts=counts,
            sizes=self.sizes,
            modes=self.modes,
            formats=self.formats,
            problems=tuple(self.problems),
            usable=self.usable,
            digests=self.digests,
            height=height,
            width=width,
            channels=3 if self.colour else 1,
            notes=(*source.notes, *_without_training(counts)),
        )

    def _say_depth(self) -> None:
        """Where samples of 16 bits use fewer in the whole set, the notes say how they are scaled."""
        if self.depth in (0, 16):
            return
        detail = f"{self.depth} of 16 bits a sample are used in this set, and scaled to 8"
        for index, problem in enumerate(self.problems):
            if problem.kind == "deep16" and problem.detail == DEEP:
                self.problems[index] = replace(problem, detail=detail)


def _without_training(counts: dict[str, dict[str, int]]) -> list[str]:
    """A note on classes that occur in held-out parts alone."""
    names = [
        name for name, parts in counts.items() if parts and not parts.keys() & {"train", "unsplit"}
    ]
    if not names:
        return []
    return [f"no training picture of {listed(names, 10)}, which other parts hold"]


def scan(source: Source, progress: Progress = lambda done, total: None) -> Scan:
    """Look at every picture; raises UserError when nothing can be learned from them (no picture, one class)."""
    result = scan_any(source, progress)
    check(result)
    return result


def scan_any(source: Source, progress: Progress = lambda done, total: None) -> Scan:
    """As `scan`, without requiring two non-empty classes."""
    findings = Findings(source)
    if source.pixels is not None:
        findings.add_arrays(source.pixels)
        progress(len(source.ids), len(source.ids))
    for done, found in enumerate(walk(source) if source.pixels is None else (), start=1):
        findings.add(found)
        progress(done, len(source.ids))
    return findings.judged()


def check(scan: Scan) -> None:
    """Raise UserError unless at least two classes have usable pictures."""
    filled = {name: sum(splits.values()) for name, splits in scan.counts.items() if splits}
    if len(filled) > 1:
        return
    bad = Counter(problem.kind for problem in scan.problems if problem.fatal)
    reasons = (
        f" ({', '.join(f'{number} {kind}' for kind, number in bad.most_common())})" if bad else ""
    )
    hint = "put the pictures of each class into a folder of its own, with the class as its name; `eyesight data` lists every file"
    if not filled:
        raise UserError(
            f"{scan.name} holds no usable picture: {len(scan.usable)} found, none can be used{reasons}",
            hint,
        )
    (name, number), *_ = filled.items()
    raise UserError(
        f"{scan.name} holds pictures of one class only: {name!r} with {number}{reasons}; two are needed at least",
        hint,
    )


def count(
    classes: tuple[str, ...], labels: NDArray[np.int64], splits: NDArray[Any]
) -> dict[str, dict[str, int]]:
    """Pictures by class and split, in the order of the classes; splits without pictures are absent."""
    names, codes = np.unique(splits, return_inverse=True)
    table = np.zeros((len(classes), max(1, len(names))), dtype=int)
    np.add.at(table, (labels, codes), 1)
    keys = [str(name) or "unsplit" for name in names]
    return {
        name: {key: int(number) for key, number in zip(keys, row, strict=False) if number}
        for name, row in zip(classes, table, strict=True)
    }


def walk(source: Source, how: Preparation | None = None) -> Iterator[Found]:
    """Every picture in order, prepared as `how` says; threads read ahead by a bounded number of pictures."""
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[list[Found]]] = deque()
    with quiet(), ThreadPoolExecutor(threads) as pool:

        def look(some: range) -> list[Found]:
            return [examine(source, index, how) for index in some]

        try:
            for some in portions(len(source.ids)):
                waiting.append(pool.submit(look, some))
                if len(waiting) > 2 * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def portions(total: int) -> Iterator[range]:
    """Portions of `AT_ONCE`, but the first are smaller, so that the speed of large photographs is known soon."""
    start, size = 0, 1
    while start < total:
        yield range(start, min(start + size, total))
        start, size = start + size, min(2 * size, AT_ONCE)


def examine(source: Source, index: int, how: Preparation | None = None) -> Found:
    """One picture read, hashed, decoded and prepared; under channels 0 a grey picture keeps one channel."""
    try:
        picture = source.read(index)
        return (
            _examine_file(picture, how)
            if isinstance(picture, bytes)
            else _examine_array(picture, how)
        )
    except BadPicture as bad:
        return Found("", bad=bad)
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Found("", bad=BadPicture(kind, error.strerror or str(error)))


def _examine_array(picture: Pixels, how: Preparation | None) -> Found:
    planes = _planes(picture)
    mode = {1: "L", 4: "RGBA"}.get(planes.shape[1], "RGB")
    return _prepared(array_digests(planes)[0], Decoded(from_array(picture), (), "", mode), how)


def _examine_file(data: bytes, how: Preparation | None) -> Found:
    digest = sha256(data).hexdigest()
    try:
        return _prepared(digest, read(data, how.depth if how else 0), how)
    except BadPicture as bad:
        return Found(digest, bad=bad)


def _prepared(digest: str, decoded: Decoded, how: Preparation | None) -> Found:
    """Raises BadPicture of kind size under the policy none."""
    image, grey = decoded.image, decoded.image.mode == "L"
    if how and not how.channels:
        how = replace(how, channels=1 if grey else 3)
    pixels = to_pixels(image, how) if how else None
    return Found(
        digest,
        image.size,
        decoded.mode,
        decoded.format,
        grey,
        decoded.notes,
        pixels=pixels,
        depth=decoded.depth,
    )


def content_digests(source: Source) -> list[str]:
    """The digests that a scan of the source gives, without decoding anything."""
    if source.pixels is not None:
        return array_digests(source.pixels)
    with ThreadPoolExecutor(min(8, cores())) as pool:
        return list(pool.map(lambda index: _content_digest(source, index), range(len(source.ids))))


def _content_digest(source: Source, index: int) -> str:
    try:
        content = source.read(index)
    except (BadPicture, OSError):
        return ""
    if isinstance(content, bytes):
        return sha256(content).hexdigest()
    return array_digests(_planes(content))[0]


def _planes(picture: Pixels) -> Pixels:
    """H,W or H,W,C as 1,C,H,W."""
    return picture[None, None] if picture.ndim == 2 else picture.transpose(2, 0, 1)[None]


def array_digests(pixels: Pixels) -> list[str]:
    """The sha256 of each picture's shape and values, N,…."""
    shape = sha256(repr(pixels.shape[1:]).encode())
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    digests = []
    for row in flat:
        digest = shape.copy()
        digest.update(row.data)
        digests.append(digest.hexdigest())
    return digests


def describe(scan: Scan) -> str:
    """The health check for a terminal of 80 columns: classes, what the pictures are, every problem by name."""
    bad = len({problem.id for problem in scan.problems if problem.fatal})
    lines = [
        f"{scan.name}: {int(scan.usable.sum()):,} usable pictures of {len(scan.classes)} classes"
        + (f", {bad:,} left out" if bad else "")
    ]
    notes = [f"note: {note}" for note in scan.notes]
    tables = [*_class_table(scan), "", *kinds(scan), *notes]
    return "\n".join([*lines, "", *tables, *problem_lines(scan.problems)])


def kinds(scan: Scan) -> list[str]:
    """A line each about sizes, modes and formats."""
    lines = []
    for title, counter in (("sizes", scan.sizes), ("modes", scan.modes), ("formats", scan.formats)):
        named = Counter(
            {
                f"{key[0]}x{key[1]}" if isinstance(key, tuple) else key: number
                for key, number in counter.items()
            }
        )
        more = f", and {len(named) - 5:,} other" if len(named) > 5 else ""
        lines.append(
            f"{title:<8} "
            + ", ".join(f"{key} ({number:,})" for key, number in named.most_common(5))
            + more
        )
    return lines


def _class_table(scan: Scan) -> list[str]:
    columns = [
        name
        for name in ("train", "validation", "test", "unsplit")
        if any(name in row for row in scan.counts.values())
    ]
    rows = [[str(row.get(name, 0)) for name in columns] for row in scan.counts.values()]
    totals = [str(sum(row.get(name, 0) for row in scan.counts.values())) for name in columns]
    titles = ["pictures" if name == "unsplit" and len(columns) == 1 else name for name in columns]
    wide = min(
        80 - 12 * len(columns),
        max((len(name) for name in ("class", "total", *scan.classes)), default=5),
    )
    return [
        _cut(name, wide).ljust(wide) + "".join(f"{value:>12}" for value in values)
        for name, values in (
            ("class", titles),
            *zip(scan.classes, rows, strict=True),
            ("total", totals),
        )
    ]


def problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    """Every problem by kind and name, those that leave a picture out first."""
    lines: list[str] = []
    order = sorted({(not problem.fatal, problem.kind) for problem in problems})
    for harmless, kind in order:
        group = [
            problem for problem in problems if (not problem.fatal, problem.kind) == (harmless, kind)
        ]
        lines += [
            "",
            f"{kind.replace('_', ' ')}: {len(group):,} {'noted' if harmless else 'left out'}",
        ]
        lines += [
            f"  {problem.id}: {problem.detail}" if problem.detail else f"  {problem.id}"
            for problem in group
        ]
    return lines


def _cut(text: str, wide: int) -> str:
    return text if len(text) <= wide else text[: wide - 1] + "…"
