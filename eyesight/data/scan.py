"""The health check of a data set: what it holds, and everything that is wrong with it by name.

Reading, hashing and decoding share one pass with preparing: reading twice costs as much as the
decoding.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyesight.data.decode import DEEP, left_out_by_kind
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
from eyesight.data.source import extension
from eyesight.errors import UserError, listed
from eyesight.system.memory import cores
from eyesight.system.progress import Progress, no_progress

if TYPE_CHECKING:
    from eyesight.data.source import Source

DARKER = 4  # bits below the set's: a sixteenth of its brightness at most
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
MODES = {1: "L", 4: "RGBA"}  # by the number of channels; 3 is RGB
# Images a thread takes at a time: one by one, handing over costs as much as a small image.
AT_ONCE = 16
THREADS = 8  # at most
COMMONEST = 5  # sizes, modes and formats that are listed
TERMINAL = 80  # columns
FEW = 20  # training images of a class; with fewer, neither training nor its accuracy is reliable


@dataclass(frozen=True, eq=False)
class Examined:
    """One image after reading: its digest and, unless it is bad, what it is and its pixels."""

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
    """What a data set holds, and everything that is wrong with it by name.

    `counts` is class → split → usable images, with "unsplit" where the data does not say.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    sizes: Counter[tuple[int, int]]  # (width, height)
    modes: Counter[str]
    formats: Counter[str]
    problems: tuple[Problem, ...]
    usable: NDArray[np.bool_]  # N
    digests: list[str]  # sha256 of the file's bytes, or of shape and pixels
    height: int  # 0 when images differ
    width: int
    channels: int  # 1 when every usable image is grey, else 3
    notes: tuple[str, ...] = ()  # which folders, columns and splits were used
    advice: tuple[str, ...] = ()  # where the classes may be, for the error of a single class

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, without the digests."""
        sizes = {
            f"{width}x{height}": number for (width, height), number in self.sizes.most_common()
        }
        return {
            "name": self.name,
            "classes": list(self.classes),
            "pictures": len(self.usable),
            "usable": int(self.usable.sum()),
            "counts": self.counts,
            "sizes": sizes,
            "modes": dict(self.modes.most_common()),
            "formats": dict(self.formats.most_common()),
            "size": [self.height, self.width],
            "channels": self.channels,
            "notes": list(self.notes),
            "problems": [vars(problem) for problem in self.problems],
        }


class Findings:
    """Facts about a source's images, added in order; `judged` turns them into a Scan."""

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
        self.depths: dict[str, int] = {}  # of the images with such samples

    def add(self, image: Examined) -> None:
        """Add the next image."""
        index = len(self.digests)
        name = self.source.ids[index]
        self.digests.append(image.digest)
        if image.bad:
            self.problems.append(Problem(name, image.bad.kind, image.bad.detail, fatal=True))
            return
        for kind, detail in image.notes:
            self.problems.append(Problem(name, kind, detail, fatal=False))
        expected = SUFFIXES.get(extension(name), image.format)
        if image.format and expected != image.format:
            detail = f"holds {image.format}"
            self.problems.append(Problem(name, "wrong_extension", detail, fatal=False))
        self.sizes[image.size] += 1
        self.modes[image.mode] += 1
        self.formats[image.format or "array"] += 1
        self.colour = self.colour or not image.grey
        self.depth = max(self.depth, image.depth)
        if image.depth:
            self.depths[name] = image.depth
        self.usable[index] = True

    def add_arrays(self, pixels: Pixels) -> None:
        """Add the next images at once, from N,C,H,W."""
        count, channels, height, width = pixels.shape
        start = len(self.digests)
        self.usable[start : start + count] = True
        self.digests += array_digests(pixels)
        self.sizes[(width, height)] += count
        self.modes[MODES.get(channels, "RGB")] += count
        self.formats["array"] += count
        self.colour = channels > 1

    def judged(self) -> Scan:
        """Settle duplicates and count what is usable."""
        source = self.source
        self._name_depth()
        unlabelled = np.flatnonzero(self.usable & (source.labels < 0))
        self.usable[unlabelled] = False
        for index in unlabelled.tolist():
            name = source.ids[index]
            self.problems.append(Problem(name, "unlabelled", "no class is given", fatal=True))
        for index, problem in settle_duplicates(source, self.digests, self.usable):
            self.problems.append(problem)
            self.usable[index] &= not problem.fatal
        width, height = next(iter(self.sizes)) if len(self.sizes) == 1 else (0, 0)
        labels = source.labels[self.usable]
        counts = count_by_class(source.classes, labels, source.splits[self.usable])
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
            notes=(*source.notes, *_without_training(counts), *_few_images(counts)),
            advice=source.advice,
        )

    def _name_depth(self) -> None:
        """Say how samples of 16 bits are scaled where the whole set uses fewer.

        An image that uses far fewer bits than the others of the set is nearly black among them.
        """
        for name, depth in self.depths.items():
            if depth <= self.depth - DARKER:
                detail = f"uses {depth} of the set's {self.depth} bits a sample: nearly black"
                self.problems.append(Problem(name, "dark", detail, fatal=False))
        if self.depth in (0, 16):
            return
        detail = f"{self.depth} of 16 bits a sample are used in this set, and scaled to 8"
        for index, problem in enumerate(self.problems):
            if problem.kind == "deep16" and problem.detail == DEEP:
                self.problems[index] = replace(problem, detail=detail)


def _without_training(counts: dict[str, dict[str, int]]) -> list[str]:
    """A note on classes that occur in held-out parts alone."""
    names = []
    for name, parts in counts.items():
        if parts and not parts.keys() & {"train", "unsplit"}:
            names.append(name)
    if not names:
        return []
    return [f"no training image of {listed(names, 10)}, which other parts hold"]


def _few_images(counts: dict[str, dict[str, int]]) -> list[str]:
    """Notes on classes with too few images to learn them, or to measure how well."""
    none, single, few = [], [], []
    for name, parts in counts.items():
        training = parts.get("train", 0) + parts.get("unsplit", 0)
        if not parts:
            none.append(name)
        elif sum(parts.values()) == 1:
            single.append(name)
        elif 0 < training < FEW:
            few.append(f"{name} ({training})")
    notes = []
    if none:
        notes.append(f"no usable image of {listed(none, 10)}")
    if single:
        notes.append(
            f"only one image of {listed(single, 10)}: it cannot be in both the training set and "
            "the test set"
        )
    if few:
        notes.append(
            f"fewer than {FEW} images to learn {listed(few, 10)} from: the accuracy on so few is "
            "uncertain; add images"
        )
    return notes


def scan(source: Source, progress: Progress = no_progress) -> Scan:
    """Read and decode every image.

    Raises UserError when nothing can be learned from them (no image, one class).
    """
    result = scan_any(source, progress)
    check(result)
    return result


def scan_any(source: Source, progress: Progress = no_progress) -> Scan:
    """As `scan`, without requiring two non-empty classes."""
    findings = Findings(source)
    total = len(source.ids)
    if source.pixels is not None:
        findings.add_arrays(source.pixels)
        progress(total, total)
        return findings.judged()
    for done, image in enumerate(examine_all(source), start=1):
        findings.add(image)
        progress(done, total)
    return findings.judged()


def check(scan: Scan) -> None:
    """Raise UserError unless at least two classes have usable images."""
    filled = {name: sum(splits.values()) for name, splits in scan.counts.items() if splits}
    if len(filled) > 1:
        return
    bad = left_out_by_kind(scan.problems)
    reasons = ""
    if bad:
        counted = [f"{number:,} {kind.replace('_', ' ')}" for kind, number in bad.items()]
        reasons = f" ({', '.join(counted)})"
    hint = (
        "put the images of each class into a folder of its own, with the class as its name; "
        "`eyesight data` lists every file"
    )
    hint = "\n".join([hint, *scan.advice])
    if not filled:
        raise UserError(
            f"{scan.name} holds no usable image: of {sum(bad.values()):,}, none can be used"
            f"{reasons}",
            hint,
        )
    (name, number), *_ = filled.items()
    raise UserError(
        f"{scan.name} holds images of one class only: {name!r} with {number}{reasons}; "
        "two are needed at least",
        hint,
    )


def count_by_class(
    classes: Sequence[str], labels: NDArray[np.int64], splits: NDArray[np.str_]
) -> dict[str, dict[str, int]]:
    """Images by class and split, in the order of the classes; splits without images are absent."""
    names, codes = np.unique(splits, return_inverse=True)
    table = np.zeros((len(classes), max(1, len(names))), dtype=int)
    np.add.at(table, (labels, codes), 1)
    keys = [str(name) or "unsplit" for name in names]
    counts: dict[str, dict[str, int]] = {}
    for name, row in zip(classes, table.tolist(), strict=True):
        counts[name] = {key: number for key, number in zip(keys, row, strict=False) if number}
    return counts


def examine_all(source: Source, preparation: Preparation | None = None) -> Iterator[Examined]:
    """Every image in order, prepared where `preparation` says how.

    Threads read ahead by a bounded number of images.
    """
    threads = min(THREADS, cores())
    waiting: deque[Future[list[Examined]]] = deque()
    with quiet(), ThreadPoolExecutor(threads) as pool:

        def examine_some(rows: range) -> list[Examined]:
            return [examine(source, index, preparation) for index in rows]

        try:
            for rows in chunks(len(source.ids)):
                waiting.append(pool.submit(examine_some, rows))
                if len(waiting) > 2 * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def chunks(total: int) -> Iterator[range]:
    """Ranges of `AT_ONCE` rows; the first are smaller, so that progress begins soon."""
    start = 0
    size = 1
    while start < total:
        yield range(start, min(start + size, total))
        start += size
        size = min(2 * size, AT_ONCE)


def examine(source: Source, index: int, preparation: Preparation | None = None) -> Examined:
    """Read, hash, decode and prepare one image; under channels 0 a grey image keeps one channel."""
    try:
        contents = source.read(index)
        if isinstance(contents, bytes):
            return _examine_file(contents, preparation)
        return _examine_array(contents, preparation)
    except BadPicture as bad:
        return Examined("", bad=bad)
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Examined("", bad=BadPicture(kind, error.strerror or str(error)))


def _examine_array(pixels: Pixels, preparation: Preparation | None) -> Examined:
    planes = _planes(pixels)
    mode = MODES.get(planes.shape[1], "RGB")
    decoded = Decoded(from_array(pixels), (), "", mode)
    return _prepared(array_digests(planes)[0], decoded, preparation)


def _examine_file(data: bytes, preparation: Preparation | None) -> Examined:
    digest = sha256(data).hexdigest()
    depth = preparation.depth if preparation else 0
    try:
        return _prepared(digest, read(data, depth), preparation)
    except BadPicture as bad:
        return Examined(digest, bad=bad)


def _prepared(digest: str, decoded: Decoded, preparation: Preparation | None) -> Examined:
    """The decoded image and its pixels; raises BadPicture of kind size under the policy none."""
    image = decoded.image
    grey = image.mode == "L"
    pixels = None
    if preparation is not None:
        if not preparation.channels:
            preparation = replace(preparation, channels=1 if grey else 3)
        pixels = to_pixels(image, preparation)
    return Examined(
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
    with ThreadPoolExecutor(min(THREADS, cores())) as pool:
        return list(pool.map(lambda index: _content_digest(source, index), range(len(source.ids))))


def _content_digest(source: Source, index: int) -> str:
    try:
        contents = source.read(index)
    except (BadPicture, OSError):
        return ""
    if isinstance(contents, bytes):
        return sha256(contents).hexdigest()
    return array_digests(_planes(contents))[0]


def _planes(pixels: Pixels) -> Pixels:
    """H,W or H,W,C as 1,C,H,W."""
    if pixels.ndim == 2:
        return pixels[None, None]
    return pixels.transpose(2, 0, 1)[None]


def array_digests(pixels: Pixels) -> list[str]:
    """The sha256 of each image's shape and values, N,…."""
    shape = sha256(repr(pixels.shape[1:]).encode())
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    digests = []
    for row in flat:
        digest = shape.copy()
        digest.update(row.data)
        digests.append(digest.hexdigest())
    return digests


def describe(scan: Scan) -> str:
    """The scan as text of 80 columns: classes, what the images are, every problem by name."""
    bad = sum(left_out_by_kind(scan.problems).values())
    title = f"{scan.name}: {int(scan.usable.sum()):,} usable images of {len(scan.classes)} classes"
    if bad:
        title += f", {bad:,} left out"
    lines = [title, "", *_class_table(scan), "", *kinds(scan)]
    for note in scan.notes:
        lines += wrap(f"note: {note}", TERMINAL, subsequent_indent=" " * 6)
    lines += problem_lines(scan.problems)
    return "\n".join(lines)


def kinds(scan: Scan) -> list[str]:
    """A line each about sizes, modes and formats."""
    sizes = Counter({f"{width}x{height}": number for (width, height), number in scan.sizes.items()})
    return [
        _counted("sizes", sizes),
        _counted("modes", scan.modes),
        _counted("formats", scan.formats),
    ]


def _counted(title: str, counter: Counter[str]) -> str:
    shown = [f"{name} ({number:,})" for name, number in counter.most_common(COMMONEST)]
    if len(counter) > COMMONEST:
        shown.append(f"and {len(counter) - COMMONEST:,} other")
    return f"{title:<8} {', '.join(shown)}"


def _class_table(scan: Scan) -> list[str]:
    """Classes with their numbers in each part, and the totals."""
    columns = []
    for part in ("train", "validation", "test", "unsplit"):
        if any(part in row for row in scan.counts.values()):
            columns.append(part)
    titles = list(columns)
    if titles == ["unsplit"]:
        titles = ["images"]
    totals = [sum(row.get(part, 0) for row in scan.counts.values()) for part in columns]
    longest = max((len(name) for name in ("class", "total", *scan.classes)), default=5)
    width = min(TERMINAL - 12 * len(columns), longest)
    lines = [_line("class", titles, width)]
    for name, row in scan.counts.items():
        lines.append(_line(name, [row.get(part, 0) for part in columns], width))
    lines.append(_line("total", totals, width))
    return lines


def _line(name: str, values: Sequence[object], width: int) -> str:
    shown = name if len(name) <= width else name[: width - 1] + "…"
    return shown.ljust(width) + "".join(f"{value!s:>12}" for value in values)


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Every problem by kind and name, those that leave an image out first."""
    groups: dict[tuple[bool, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((not problem.fatal, problem.kind), []).append(problem)
    lines: list[str] = []
    for harmless, kind in sorted(groups):
        group = groups[(harmless, kind)]
        verb = "noted" if harmless else "left out"
        number = sum(problem.count or 1 for problem in group)
        lines += ["", f"{kind.replace('_', ' ')}: {number:,} {verb}"]
        for problem in group:
            detail = f": {problem.detail}" if problem.detail else ""
            lines.append(f"  {problem.id}{detail}")
    return lines
