"""Prepared images on disk, written once.

A store is named by the hash of what it was made from: the content of every image, labels, names,
splits and preparation. An index remembers under which fingerprint (paths, inodes, sizes, times) a
source had which content: an unchanged fingerprint saves reading the images; with any other they are
read and hashed, and the content decides.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from eyesight.data import boxes
from eyesight.data.pixel_file import PixelWriter, no_space
from eyesight.data.prepare import Preparation, Problem, fits, prepare_all
from eyesight.data.scan import Findings, Scan, check, content_digests, examine_all
from eyesight.errors import DiskFullError, UserError
from eyesight.recipe import Data
from eyesight.system import cache
from eyesight.system.array_file import ArrayFile
from eyesight.system.digest import sha256
from eyesight.system.json_value import parse_json
from eyesight.system.progress import Progress, no_progress

if TYPE_CHECKING:
    from eyesight.data.opening import Source

FORMAT = 2
KIND = "stores"
SPLITS = ("", "train", "validation", "test")
PORTION = 64 << 20  # bytes prepared at a time where images come as arrays
DAMAGED = (
    OSError, ValueError, KeyError, TypeError, IndexError, EOFError, NotImplementedError, BadZipFile,
    zlib.error,
)  # fmt: skip


class Summary(TypedDict):
    """The health check without its problems."""

    pictures: int
    usable: int
    counts: dict[str, dict[str, int]]
    sizes: dict[str, int]
    modes: dict[str, int]
    formats: dict[str, int]
    size: list[int]
    channels: int


@dataclass(frozen=True, eq=False)
class Store:
    """The usable images of a source, all prepared alike."""

    pixels: ArrayFile  # uint8 N,C,H,W
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    splits: NDArray[np.str_]  # "train", "validation", "test" or "" where the data does not say
    digests: tuple[str, ...]  # SHA-256 of each image's content
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]
    preparation: Preparation
    key: str
    summary: Summary

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Class → split → images; "unsplit" where the data does not say."""
        return dict(self.summary["counts"])


def prepare_store(
    source: Source,
    data: Data,
    *,
    progress: Progress = no_progress,
    strict: bool = False,
    preparation: Preparation | None = None,
) -> Store:
    """The store of a source, from the cache or built now.

    `preparation` overrules what `data` asks for and lets a single class pass, as evaluation needs.
    Raises UserError for bad files under `strict`, for images of several sizes without data.size,
    and DiskFullError.
    """
    asked = preparation or preparation_of(data)
    source = boxes.crop_to_boxes(source) if data.box else source
    store = _recall(source, asked)
    if store is None:
        store = _build(source, asked, progress, training=preparation is None)
        _remember(source, asked, store.key)
        _remember(source, store.preparation, store.key)  # as those ask who have the classifier
    if strict or data.strict:
        refuse_problems(store.problems)
    return store


def preparation_of(data: Data) -> Preparation:
    """The preparation that a recipe's data group describes."""
    return Preparation(
        height=data.size,
        width=data.size,
        channels=data.channels,
        resize=data.resize,
        pad=data.pad,
        padding=data.padding,
        interpolation="bilinear" if data.interpolation == "auto" else data.interpolation,
        crop_fraction=data.crop_fraction or 1.0,
        depth=0,
    )


def refuse_problems(problems: tuple[Problem, ...]) -> None:
    """Raise UserError naming the first files that would be left out."""
    bad = [problem for problem in problems if problem.fatal]
    if not bad:
        return
    first = "; ".join(f"{problem.id} ({problem.kind})" for problem in bad[:5])
    if len(bad) > 5:
        first += "; …"
    count = sum(problem.count or 1 for problem in bad)
    number = "1 bad file" if count == 1 else f"{count:,} bad files"
    raise UserError(
        f"{number}: {first}", "mend or remove them, or leave out --strict to train without them"
    )


def store_folder(key: object) -> Path | None:
    """The folder of the store with this key; None for what is no key, as a file may hold it."""
    if isinstance(key, str) and re.fullmatch("[0-9a-f]{64}", key):
        return cache.entry_path(KIND, key)
    return None


def open_store(folder: Path) -> Store | None:
    """The store in a folder, checked; None when it is absent, damaged or of another format."""
    if not cache.is_whole(folder):
        return None
    try:
        return _read(folder)
    except DAMAGED:
        return None


def _read(folder: Path) -> Store | None:
    about = parse_json((folder / "store.json").read_text("utf-8"))
    if about["format"] != FORMAT:
        return None
    pixels = ArrayFile.from_npy(folder / "pixels.npy")
    with (folder / "pictures.npz").open("rb") as file, np.load(file, allow_pickle=False) as table:
        labels = table["labels"]
        splits = np.array(SPLITS)[table["splits"]]
        names = table["ids"].tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        hexadecimal = table["digests"].tobytes().hex()
    preparation = Preparation.from_dict(about["preparation"])
    digests = [hexadecimal[start : start + 64] for start in range(0, len(hexadecimal), 64)]
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), *preparation.shape):
        return None
    if not len(names) == len(splits) == len(digests) == len(labels):
        return None
    return Store(
        pixels=pixels,
        labels=labels,
        ids=tuple(names),
        splits=splits,
        digests=tuple(digests),
        classes=tuple(about["classes"]),
        problems=tuple(Problem(**problem) for problem in about["problems"]),
        preparation=preparation,
        key=folder.name,
        summary=about["summary"],
    )


def _recall(source: Source, asked: Preparation) -> Store | None:
    """The store of exactly this content.

    Where the fingerprint is new but the same names were prepared before, reading and hashing tells
    whether their content is the same: that is quicker than preparing, at the speed of the disk.
    """
    names = _names_digest(source, asked)
    key = cache.read_note("stores", [names, source.fingerprint]) if source.fingerprint else None
    if key is None and source.fingerprint and cache.read_note("stores", names) is not None:
        key = _content_key(names, content_digests(source))
        store = _open(key)
        if store is not None:
            _remember(source, asked, store.key)
        return store
    return _open(key)


def _open(key: object) -> Store | None:
    folder = store_folder(key)
    if folder is None or cache.recall(KIND, folder.name) is None:
        return None
    return open_store(folder)


def _remember(source: Source, asked: Preparation, key: str) -> None:
    if source.fingerprint:
        names = _names_digest(source, asked)
        cache.write_note("stores", [names, source.fingerprint], key)
        cache.write_note("stores", names, key)


def _names_digest(source: Source, asked: Preparation) -> str:
    """Everything that decides a store except the content of the images."""
    problems = [vars(problem) for problem in source.problems]
    is_official = source.fingerprint.startswith("named:")  # whose copies are kept
    facts = [FORMAT, source.classes, asked.to_dict(), problems, is_official]
    return sha256(
        json.dumps(facts).encode(),
        sha256(_joined(source.ids)).encode(),
        sha256(np.ascontiguousarray(source.labels).data).encode(),
        sha256(_joined(source.splits.tolist())).encode(),
    )


def _content_key(names: str, digests: list[str]) -> str:
    return sha256(names.encode(), *(digest.encode() + b"\0" for digest in digests))


def _build(source: Source, asked: Preparation, progress: Progress, *, training: bool) -> Store:
    """Read, check, prepare and write in one pass."""
    needed = 0
    try:
        with cache.build(KIND) as folder:
            writer = PixelWriter(folder / "pixels.npy", asked, len(source.ids))
            try:
                scan, writer = _fill(source, writer, progress)
                _check(scan, asked, writer, training=training)
                writer.finish(scan.usable[np.array(writer.indices, dtype=np.int64)])
            finally:
                needed = writer.needed
                writer.file.close()
            _write_table(folder, source, scan, writer.preparation)
            key = _content_key(_names_digest(source, asked), scan.digests)
            path = cache.keep(folder, key, source.name)
    except DiskFullError:
        raise no_space(cache.cache_dir() / KIND, needed) from None
    store = open_store(path)
    if store is None:
        raise UserError(
            f"{path} cannot be opened although it was just written",
            "check the disk, or set EYESIGHT_CACHE to a folder on another",
        )
    return store


def _fill(source: Source, writer: PixelWriter, progress: Progress) -> tuple[Scan, PixelWriter]:
    """Write every usable image; what the source holds, and the writer that holds them.

    Where files of 16 bits a sample use fewer, which is known in the end, all are prepared again.
    """
    findings = Findings(source)
    if source.pixels is not None and fits(source.pixels, writer.preparation):
        for start, pixels in _array_portions(source.pixels):
            channels = writer.preparation.channels or pixels.shape[1]
            findings.add_arrays(pixels)
            writer.add(prepare_all(pixels, replace(writer.preparation, channels=channels)), start)
            progress(start + len(pixels), len(source.ids))
        return findings.judged(), writer
    asked = writer.preparation
    for index, examined in enumerate(examine_all(source, asked)):
        findings.add(examined)
        if examined.pixels is not None:
            writer.add(examined.pixels[None], index)
        progress(index + 1, len(source.ids))
    if asked.depth == 0 and findings.depth not in (0, 16):
        writer.file.close()
        again = PixelWriter(writer.path, replace(asked, depth=findings.depth), writer.total)
        return _fill(source, again, progress)
    return findings.judged(), writer


def _array_portions(pixels: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    step = max(1, PORTION // max(1, pixels[:1].nbytes))
    for start in range(0, len(pixels), step):
        yield start, pixels[start : start + step]


def _check(scan: Scan, asked: Preparation, writer: PixelWriter, *, training: bool) -> None:
    """Raise UserError when there is nothing to learn from, or when the sizes differ."""
    odd = [problem for problem in scan.problems if problem.kind == "size"]
    if odd:
        raise UserError(
            f"data.resize is none, but {len(odd):,} images have another size: "
            f"{odd[0].id} is {odd[0].detail}",
            "--set data.resize=squash, crop or letterbox brings every image to one size",
        )
    if writer.sizes_differ:
        raise _sizes_differ(scan)
    if training or not scan.usable.any():
        check(scan)


def _sizes_differ(scan: Scan) -> UserError:
    sizes = scan.sizes.most_common()
    common = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes[:3])
    smallest = min(scan.sizes, key=lambda size: size[0] * size[1])
    suggestion = min(224, *sizes[0][0])
    return UserError(
        f"the images of {scan.name} have {len(sizes):,} sizes: most often {common}; "
        f"the smallest is {smallest[0]}x{smallest[1]}",
        f"choose one size for all, for example --set data.size={suggestion}",
    )


def _write_table(folder: Path, source: Source, scan: Scan, preparation: Preparation) -> None:
    """Everything but the pixels."""
    kept = np.flatnonzero(scan.usable)
    names, codes = np.unique(source.splits[kept], return_inverse=True)
    split_codes = np.array([SPLITS.index(str(name)) for name in names], dtype=np.int8)
    digests = bytes.fromhex("".join(scan.digests[index] for index in kept.tolist()))
    ids = _joined(source.ids[index] for index in kept.tolist())
    with (folder / "pictures.npz").open("wb") as file:
        np.savez(
            file,
            labels=source.labels[kept],
            splits=split_codes[codes],
            ids=np.frombuffer(ids, dtype=np.uint8),
            digests=np.frombuffer(digests, dtype=np.uint8),
        )
    summary = scan.to_dict()
    for name in ("name", "classes", "problems", "notes"):
        del summary[name]
    about = {
        "format": FORMAT,
        "classes": source.classes,
        "preparation": preparation.to_dict(),
        "summary": summary,
        "problems": [vars(problem) for problem in scan.problems],
    }
    (folder / "store.json").write_text(json.dumps(about), "utf-8")


def _joined(names: Iterable[str]) -> bytes:
    return "\0".join((*names, "")).encode("utf-8", "surrogateescape")
